// Package differential has no code of its own: its tests run random sequences of operations on Waybill's Pub/Sub emulator and
// on Google's, by the generated stubs of the official client, and compare the answers.
//
// A sequence is a list of operations that need no waiting: resources are created, changed, listed and deleted; messages are
// published, pulled, acknowledged, given back and sought. Its seed decides it. After the first answer that differs the
// sequence ends, and the test prints the seed and all that was asked and answered:
//
//	go test ./emulator/internal/pubsub/differential -run Differential -seed 17
//
// Ids and times are normalized. Errors are compared by their code; by their words only where both sides have the real
// service's. Where Google's emulator is known to differ from the real service, allowed_test.go says in what, and by which
// source. Behaviour that takes time has a short table of its own in timed_test.go.
package differential
