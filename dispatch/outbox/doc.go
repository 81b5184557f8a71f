// Package outbox sends messages with a database transaction: all of them if it commits, and none if it does not.
//
// A process can die between its commit and its send. So the message is written into the same database by the same transaction, and a relay
// sends it afterwards, as often as it takes.
//
// # Usage
//
//	box, err := outbox.New(d, db, outbox.Config{Dialect: outbox.PostgreSQL})
//	err = box.Migrate(ctx)                 // creates its table; safe at every start
//	d.Background("outbox relay", box.Run)  // sends, until d shuts down
//
//	tx, err := db.BeginTx(ctx, nil)
//	_, err = tx.ExecContext(ctx, `INSERT INTO users (id) VALUES ($1)`, id)
//	receipt, err := dispatch.Send(ctx, box.In(tx), contracts.SignedUp, contracts.UserSignedUp{UserID: id})
//	err = tx.Commit()
//
// The verb, the routes, the options and the checks are those of every Send. The receipt's ID is the delivered one.
//
// # Where processes sleep between requests
//
// Cloud Run gives a service with throttled CPU no time outside requests, so a relay in the background would stand still. There, call
// [Outbox.Flush] after the commit, and let a Cloud Scheduler job call [Outbox.Handler] each minute for what a crash or an outage leaves behind:
//
//	scheduler, err := d.Verifier("shop-scheduler@my-project.iam.gserviceaccount.com")
//	d.Mount("/_waybill/outbox", box.Handler(scheduler))
//
// # What is promised
//
//   - A message of a committed transaction is sent at least once, whatever dies when. One of a transaction that was rolled back never is.
//   - A relay that dies between a send and its mark leads to a second send under the same ID. A task is named by its ID, so Cloud Tasks drops the second, for at
//     least an hour after the first has ended, and a lease is a minute. The second copy of an event is absorbed by waybill.dev/dispatch/inbox.
//   - Events with dispatch.OrderBy are sent in the order of their Sends within each key, if their transactions do not overlap. Transactions that
//     do have no order: lock the row that the key stands for before sending, as an UPDATE of it does.
//   - A message that cannot be sent holds back later ones of its own key, and no others.
//   - No message is dropped. One that is refused again and again for a reason of its own is parked after [Config.MaxAttempts]: it is reported, stays
//     where it is and holds its key until [Outbox.Retry] or [Outbox.Discard]. What fails on the way, in an outage or for want of a
//     permission, is tried for as long as it takes.
//
// # What is not
//
// When: a message leaves within milliseconds of its commit if the relay of its own process runs, within [Config.PollInterval] otherwise, and later if a
// send fails or the relay that leased it dies. [Outbox.Stats] tells the lag, and Run logs it.
//
// Order between keys, between routes, and among messages without a key.
//
// Duplicates beyond these: a sender that repeats a whole transaction sends again. Give such a message a dispatch.Key.
//
// # Several relays
//
// Any number of processes may relay from one table. Each leases rows for a time and sends them; what it does not mark in that time is due again for others.
// There is no position that is remembered, since transactions do not commit in the order of their sequence numbers. Whose turn it is goes by the
// database's clock.
//
// A relay checks each message against the contracts of its own build. While a new version is rolled out, an old relay may meet a route that it does not
// know: it tries again later, and a newer one sends it.
//
// # Cost
//
// One INSERT beyond the bare transaction for each message. Each batch takes a transaction to lease and one to mark.
//
// # Databases
//
// PostgreSQL (tested with 15) and SQLite 3.38 or newer, by any driver of database/sql.
//
// # Concurrency
//
// An Outbox may be used by several goroutines at once. The Sender that In returns is as safe as its transaction.
//
// # Testing
//
// Run the relay against waybill.dev/emulator, or call Flush where the test wants the messages to leave.
package outbox
