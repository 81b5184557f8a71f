// Package pubsub is the emulator's Pub/Sub: google.pubsub.v1's Publisher, Subscriber and
// SchemaService and google.iam.v1's IAMPolicy, in memory or kept in a store, with push that is signed.
// docs/emulator-pubsub.md has every method and field with the tests that cover it.
//
// # Usage
//
//	service := pubsub.New(pubsub.Config{Clock: clock, Signer: issuer})
//	defer service.Close(ctx)
//	server := grpc.NewServer(grpc.MaxRecvMsgSize(pubsub.MaxRequestBytes))
//	service.Register(server)
//
// The methods of [Service] are those of the four gRPC services, so a REST front end may call them
// directly. Messages passed to Publish belong to the Service from then on; what it returns is
// shared and must not be changed.
//
// # Structure
//
// A [Service] holds topics and subscriptions. Each subscription is driven by one type and decided
// by another: backlog is a state machine without goroutines, transport or time, guarded by the
// lock of its subscription, which tells it the time, wakes those who wait and sets one timer.
// Nothing polls. Consumers of a backlog are a pull, a stream or a pusher; they differ only in how
// much they may hold. What a message costs does not depend on the size of the backlog: O(1), and
// O(log n) in the leases and delays for its timer.
//
// What is published is a publication, which a topic's subscriptions, snapshots and history share.
// Its number rises with each message of a topic and is the same everywhere. A topic keeps a history
// only while it has a retention or snapshots; a snapshot is the list of what was unacknowledged, and
// the number from which on everything belongs to it. A seek is one operation of the backlog: it is
// told what is wanted, and given what it may have forgotten.
//
// An admission is what a topic asks of a publish (its schema, its transforms), looked up without a
// lock. A schemaResource holds compiled revisions; topics point to it, so that one that is deleted
// and created again is another.
//
// Locks are taken in the order Service.changes, Service.mu, topic.mu, subscription.mu,
// schemaResource.mu, batch.mu. Dead letters are published after all of them are released, since their topic
// may be any topic.
//
// # Data
//
// With Config.Store, what a method has acknowledged is there after a kill -9 or a loss of power, once [Service.Load] and
// [Service.Start] have run: topics, subscriptions, snapshots, schemas with their revisions, policies; messages with
// their ids, times and order; acknowledgements, seeks, and what retention keeps of acknowledged messages. Ids go on
// to rise, also when the clock is behind.
//
// A journal tells the store of changes. One publish request is one record, a batch, whatever the number of messages
// and subscriptions: a subscription has what was published since its creation, less what is noted in its part of the
// batch. A part has a bit for each message that is done, the attempts that count for a dead letter, and what a seek
// has brought back. Backlogs, snapshots and histories hold the batches that they have messages of, and the last to let
// go deletes the record.
//
// What is answered is safe: Publish, Acknowledge, Seek and all changes of resources return when they are on the disk,
// and so does a confirmation under exactly-once delivery. Acknowledgements of a stream without it, successful pushes
// and nacks are written within milliseconds, and nobody waits for them. A dead letter is written before its source is
// done.
//
// Leases and delays end with the process: whatever is unacknowledged is deliverable at once in the next one, and ack
// ids of before count there as of leases that are over. Of an ordering key an acknowledged message stays behind an
// earlier one that is not, and comes again with it, as after a deadline; under exactly-once delivery it does not.
// Attempts that have ended count on where there is a dead-letter policy; one that was under way does not count. Not
// kept are a push endpoint's pause and window. A subscription's last activity is known to within an hour.
//
// When the disk cannot be written, methods that change something fail, streams confirm as failed for the time being,
// and deliveries go on.
//
// # What it does
//
// Sources: [P] the comments of cloud.google.com/go/pubsub/v2/apiv1/pubsubpb; [D] Google's
// documentation; [R] recorded from the real service; [W] Waybill's own choice where nothing is known.
//
//   - Topics and subscriptions: create, get, list, update by mask, delete, detach; names, limits,
//     defaults, codes and messages as the service has them [R]. A deleted topic leaves its
//     subscriptions with the topic "_deleted-topic_" [P].
//   - Publish: up to 1000 messages and 10 MB, ids of 17 digits, times in milliseconds [R].
//   - Pull holds for up to 20 s [R]. StreamingPull honours max_outstanding_messages and
//     max_outstanding_bytes, answers keepalives, and confirms acks under exactly-once delivery [P].
//   - A late ack counts unless the message is ordered or delivery is exactly-once. Under the
//     latter it is refused with the service's ErrorInfo [R].
//   - Ordering: while a consumer holds messages of a key, only it gets the next ones. A nack or an
//     expired deadline takes back every later message of the key, those that were acknowledged
//     behind it included [D], and blocks no other key. Push sends one message of a key at a time [D].
//   - Retry policy: its minimum doubles with each failure up to its maximum; none means at once [P].
//   - Dead letters: after max_delivery_attempts, with the CloudPubSubDeadLetter attributes [D]; the
//     source is acknowledged only when the copy was published, otherwise it is delivered again.
//   - Filters: the whole grammar, see parseFilter. What does not match never enters the backlog.
//   - Seek to a time or to a snapshot. Acknowledged messages come back where the subscription, its
//     topic or the snapshot retains them [P].
//   - Retention: unacknowledged messages are dropped when message_retention_duration is over;
//     those that a seek brought back from the topic or a snapshot count from the seek [W].
//   - Snapshots live for seven days less the age of their oldest message, at least an hour [P].
//   - Subscriptions expire by their policy; what counts as activity is in type activity [P][W].
//   - Schemas with up to 20 revisions [D]; a publish is validated against the topic's range of them,
//     from the newest to the oldest, and the message says by which it was accepted; see package schema.
//   - IAM policies with etags; see package iam.
//
// Push: wrapped bodies with both spellings of ids and times, deliveryAttempt with a dead-letter
// policy only [D], the recorded headers [R]; or unwrapped, with metadata and attributes as headers
// where asked for, except those that would break the request or forge its identity [W]. Exactly
// 102, 200, 201, 202 and 204 acknowledge [D]; redirects are not followed. The ack deadline is the
// request's timeout and runs on the wall clock [W]. Tokens are for the subscription's account and
// audience, by default the endpoint [P], and are used for a minute [W]. An endpoint that fails
// gets a pause of 100 ms that doubles up to 60 s, and fewer requests at a time; one that succeeds
// gets more, up to MaxPushRequests [D, curves W]. A changed endpoint takes over at once; requests
// under way to the old one still count [W].
//
// # What it does not do
//
// Message transforms, exports to BigQuery, Cloud Storage and Bigtable, and ingestion are checked,
// kept and returned, but not done. Nothing passes untransformed: a topic with an enabled transform
// refuses publishes, a subscription with one delivers nothing and refuses pulls, both with
// FAILED_PRECONDITION and a sentence; exports gather their messages; each says so once in the log.
// KMS keys and storage policies have no effect. Policies refuse nobody. Quotas and rates, such as
// an ordering key's 1 MB/s, are not enforced.
//
// # Errors
//
// Every error is a gRPC status. NOT_FOUND and ALREADY_EXISTS name the resource; INVALID_ARGUMENT
// says what was sent and what is allowed; UNAVAILABLE means that the Service is closing, or, as it then says, that
// the Store cannot be written and nothing was changed; INTERNAL, that the Store could not be written and the change may be
// there or not after a restart.
// Pushes and dead letters that fail are logged once per subscription and reason, and again after a
// success; see package deliverylog. Payloads, tokens and the query of an endpoint are never logged.
//
// # Testing
//
// The state machine is tested by hand-written cases and by random walks beside a model (TestModel);
// the Service by 2,000 random walks under testing/synctest beside another one (TestServiceModel),
// which does whatever a client may do, seeks and snapshots included, and by walks with
// crashes in between (TestDurableModel); -seed N repeats a walk of any. Each call to the disk fails once in
// TestEveryCallToTheDiskFails, and package crashtest kills a process. Timed behaviour is tested under testing/synctest with a fake transport; the wire with the
// official client, with real HTTP servers, and with endpoints that are slow, dead or lie.
package pubsub
