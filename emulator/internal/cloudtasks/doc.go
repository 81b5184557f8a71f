// Package cloudtasks emulates Cloud Tasks: queues, tasks, and their delivery over HTTP.
//
// The parts, from the inside out:
//
//	backoff.go, bucket.go    the retry delay and the token bucket: arithmetic
//	task.go, queue.go        a queue and its tasks: a state machine that is told the time and does no I/O
//	store.go                 what a durable emulator would keep
//	engine.go, deliver.go    the queues, one clock timer for each that waits, one goroutine per request in flight
//	service_*.go             google.cloud.tasks.v2.CloudTasks over gRPC, with the real service's errors
//
// What a queue does next depends on three times, the latest of which counts: when its first task is
// due, when its bucket has a token, and until when a receiver has asked for quiet. A task leaves
// the queue's heap only in the step that takes its token and sends it; so whatever happens before (a
// purge, a pause, a deletion) wins, and there is no state in between.
//
// A task exists before it is sent, and is sent by the clock that the emulator's user may advance. The
// deadline of a request that is on the wire is the wall clock's.
package cloudtasks
