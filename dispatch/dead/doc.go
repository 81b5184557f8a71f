// Package dead reads a route's dead letters and sends them again.
//
// A dead letter is a message that its receiver gave up: its handler returned dispatch.Permanent, it could not be decoded, or
// its last attempt failed. It waits for 31 days in the pull subscription that waybill.dev/dispatch/deploy creates for each route.
//
// # Usage
//
//	letters, err := dead.Open(ctx, contracts.App, dead.Config{})
//	defer letters.Close()
//
//	listing, err := letters.List(ctx, dead.Query{Route: "send-welcome"})
//	results, err := letters.Replay(ctx, dead.Query{Match: func(l dead.Letter) bool { return l.Died.After(outage) }})
//	err = letters.Discard(ctx, "send-welcome", id)
//
// The command `waybill dead` does the same without the contracts: [OpenDeployed] finds what a replay must know in the labels
// that deploy has set.
//
// # What is promised
//
// Looking consumes nothing. What List reads is leased, and the leases are given back before it returns; if the process dies
// first, they end by themselves after a minute. Two that look at the same time share what they see.
//
// A replay goes to the route that the letter came from, with the same ID, headers, body and ordering key, and its attempts
// start anew. The letter is acknowledged only once Google has accepted the message; if anything fails before, it stays.
//
//   - A task goes into the route's queue, sent as the service that sent it first, under a name made of its ID and the number of the
//     replay. Replaying the same letter again, after an answer or an acknowledgement was lost, is dropped by Cloud Tasks for an hour
//     or longer.
//   - An event is published to its topic for one subscription alone: the receivers of the others acknowledge it without running
//     their handlers. A subscription that was not made by Waybill gets it too, unless its filter is
//     NOT attributes:waybill-replay-to.
//
// A replayed message does not expire (see dispatch.Expires). The number of the replay travels in the header waybill-replay, so
// a second death can be replayed as well.
//
// # What is not
//
// A replay is a delivery, at least once. A handler behind waybill.dev/dispatch/inbox runs if its effect was rolled back, and does
// not run if it was committed, as long as the inbox remembers.
//
// Neither Cloud Tasks nor Pub/Sub tells a receiver when the first attempt was, so a letter says when it was sent, when its last
// attempt arrived and when it died.
//
// # Two kinds of letters
//
// Waybill's receivers put a message among the dead letters themselves, with its cause. Behind them stands Pub/Sub's own
// dead-lettering, for receivers that never answer: its letters are recognised ([Letter.ByPlatform]) and have no cause. Where both
// put the same message there, it is listed once: by its route and ID. A message that somebody published without a ce-id loses its
// ID in Pub/Sub's own dead-lettering.
//
// # Permissions
//
// On Google Cloud the caller's own credentials are used. Looking needs roles/pubsub.subscriber and roles/pubsub.viewer on the
// dead-letter subscriptions (OpenDeployed: roles/pubsub.viewer in the project). A replay needs roles/pubsub.publisher on the event's
// topic, or roles/cloudtasks.enqueuer on the queue and roles/iam.serviceAccountUser on the sender's account. What a dead
// letter says decides neither whose token its replay carries nor whom that reaches: both must be in the contracts.
//
// # Concurrency
//
// A Client may be used by several goroutines at once.
package dead
