// Package crashtest kills a sender, a receiver and the emulator between them, again and again, and counts what came of it.
//
// All three are processes: the test binary, started anew in one of three roles. The sender commits orders to its database, and in the same
// transaction sends a task and an event through its outbox; it rolls some back. The receiver writes one row for each, through its inbox.
// The emulator keeps its data. Each gets SIGKILL at random moments of its own, some while it starts, and starts again at once. Then nothing is
// killed any more until everything has been delivered, and:
//
//   - Each committed order has exactly one effect of its task and one of its event.
//   - There is no effect of an order that was not committed.
//   - The effects of the events of a key are in the order of the orders.
//
// No constraint of the receiver's table forbids a second effect: the inbox alone does. A second test puts proxies between the three, which
// delay, cut, reset and half-close their connections.
//
// Where PostgreSQL is installed it is the receiver's database in the first test and the sender's in the second; the other one, and both where it is
// not, are files of SQLite.
//
// Full numbers, 100 lives of each process and 50 behind proxies, run with WAYBILL_REQUIRE=all and take about two minutes. Otherwise each
// process lives five times, and two with -short. WAYBILL_SEED repeats the decisions of a run that printed its seed: who is killed when, counted from
// its start, and what becomes of which connection. The processes' own timing is not repeated.
package crashtest
