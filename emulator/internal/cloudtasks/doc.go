// Package cloudtasks emulates Cloud Tasks: queues, tasks, and their delivery over HTTP. What it does of each method and
// field, and where it differs from the real service, is in docs/emulator-cloud-tasks.md, whose completeness a test checks.
//
// The parts, from the inside out:
//
//	backoff.go, bucket.go    the retry delay and the token bucket: arithmetic
//	task.go, queue.go        a queue and its tasks: a state machine that is told the time and does no I/O
//	journal.go, load.go      what outlives the process, on a store
//	engine.go, deliver.go    the queues, one clock timer for each that waits, one goroutine per request in flight
//	httptarget.go, url.go    what a queue changes in the requests of its tasks
//	appengine.go             the other kind of target
//	queueconfig.go, mask.go  a queue as a client sent it, checked and completed; updates of a part
//	taskspec.go, view.go     a task as a client sent it, and as it is returned
//	page.go, filter.go       lists
//	operations.go            batches that are done
//	service_*.go             google.cloud.tasks.v2.CloudTasks over gRPC, with the real service's errors, and what it
//	                         mixes in: google.cloud.location.Locations, google.longrunning.Operations
//	buffertask.go            the method that exists over REST alone
//
// What a queue does next depends on three times, the latest of which counts: when its first task is
// due, when its bucket has a token, and until when a receiver has asked for quiet. A task leaves
// the queue's heap only in the step that takes its token and sends it; so whatever happens before (a
// purge, a pause, a deletion) wins, and there is no state in between.
//
// A task exists before it is sent, and is sent by the clock that the emulator's user may advance. The
// deadline of a request that is on the wire is the wall clock's.
package cloudtasks
