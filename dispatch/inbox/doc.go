// Package inbox makes a handler's effect happen once: it runs the handler in a database transaction that also remembers the
// message.
//
// # Usage
//
//	box, err := inbox.New(db, inbox.Config{Dialect: inbox.PostgreSQL})
//	err = box.Migrate(ctx) // creates its table; safe at every start
//
//	dispatch.Handle(d, contracts.SendWelcome, inbox.Once(box, func(ctx context.Context, tx *sql.Tx, w contracts.Welcome) error {
//		_, err := tx.ExecContext(ctx, `INSERT INTO welcomes ("to") VALUES ($1)`, w.To)
//		return err
//	}))
//	d.Background("inbox", box.Run) // forgets old messages
//
// The handler does its work through tx and returns an error, as always. It neither commits nor rolls back.
//
// # What is promised
//
// What a handler does through tx happens at most once for each message ID and receiving route, and exactly once if the message is
// delivered until the handler returns nil, as Cloud Tasks and Pub/Sub do:
//
//   - The message is written down first, then the handler runs, then both are committed together.
//   - A duplicate that comes later finds the row and is answered as done, without running the handler.
//   - A duplicate that comes at the same moment waits for the first to end: if it committed, the duplicate is done; if it
//     rolled back, the duplicate runs.
//   - An error, a panic and the end of the handler's deadline roll back, so that the next attempt runs. So does the end of the
//     process: the database does it.
//
// # What is not
//
// What a handler does elsewhere, such as a mail or a call, is not undone by a rollback and can happen again. Give such calls
// Message.ID as their idempotency key, or send a message from within the transaction by waybill.dev/dispatch/outbox.
//
// A message is forgotten after [Config.Retention]. A duplicate that comes later runs again.
//
// A message that somebody sent twice, without a dispatch.Key, is two messages with two IDs.
//
// # Cost
//
// One INSERT beyond the bare transaction. The table has about 150 bytes for each message of the retention.
//
// # Databases
//
// PostgreSQL (tested with 15) and SQLite 3.35 or newer, by any driver of database/sql. SQLite has one writer at a time: set the
// driver's busy timeout, since it is how long a duplicate waits; a duplicate that has waited longer fails and is delivered again.
//
// # Errors
//
// The handler's own error is returned as it is, so that dispatch.Permanent and dispatch.RetryAfter work. The database's come
// wrapped, and the message is delivered again. A commit whose answer is lost is also an error; if the commit had happened, the next delivery finds the row.
//
// # Concurrency
//
// An Inbox may be used by several goroutines, and its table by several processes, at once.
package inbox
