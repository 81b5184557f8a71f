// Package dispatchtest is a bench for tests of services: their real handlers, codecs and signed tokens, in memory, on a clock
// that the test moves.
//
// # Usage
//
//	bench := dispatchtest.New(t, contracts.App)
//	login := bench.Open(contracts.Login)
//	mailer := bench.Open(contracts.Mailer)
//	dispatch.Handle(mailer, contracts.SendWelcome, sendWelcome)
//
//	dispatch.Send(ctx, login, contracts.SendWelcome, contracts.Welcome{To: "ann"})
//	bench.Run()                // delivers what is due
//	bench.Advance(time.Minute) // and what becomes due within a minute, such as a retry
//
//	dispatchtest.Sent(bench, contracts.SendWelcome)      // []Welcome
//	dispatchtest.Delivered(bench, contracts.SendWelcome) // []Welcome, whose handler returned nil
//	dispatchtest.Dead(bench, contracts.SendWelcome)      // []DeadLetter[Welcome], each with its cause
//	bench.Attempts(contracts.SendWelcome)                // when, which, how it ended
//
// A service is tested alone, or several together. A service that is not open is not there yet: its messages wait for it, and
// [Sent] shows them. [Deliver] hands a message to a service as its declared sender would, without the sender.
//
// # What is real
//
// Services are opened by dispatch.Open, with a dispatch.Transport in memory. Declarations, options and sizes are checked, messages
// encoded, calls retried, tokens signed (RS256) and verified, handlers bounded by their deadlines, failures made dead letters by
// the same code as in production. In the place of Google's services the bench has what their receivers can see of them:
//
//   - A message is delivered until it is answered 2xx, with the route's backoff: tasks without end, events until Pub/Sub's own dead-lettering.
//   - A task with a Key is accepted once, until an hour after it has ended; After and At are kept.
//   - 429 or 503 with Retry-After, as RetryAfter answers, holds a task's whole queue, an hour at most.
//   - Each subscription gets a copy; copies with one ordering key come one at a time, in the order of their sending.
//
// It has no rates, no retention and no jitter, and delivers one message at a time. For those, and for the wire, there is
// waybill.dev/emulator; a test of this package compares the two.
//
// # Time
//
// Inside a bubble of testing/synctest the bench follows the bubble's time: Advance sleeps from one delivery to the next, deadlines and
// the waits of a call's retries take no real time, and a handler that hangs ends at its deadline.
//
// Outside it has a clock of its own, which starts at the present time and which only Advance moves. A handler whose work takes time
// calls Advance itself; if that passes its deadline, its context ends. Whatever else waits there waits in real time: a handler that
// hangs, and the pauses between the attempts at a call, which are a tenth of a second or so.
//
// # Faults
//
//	bench.Fail(route, 2, 503)            the next 2 attempts are answered 503, and the service does not see them
//	bench.LoseAnswer(route, 1)           the handler runs, and its answer is lost
//	bench.Duplicate(route, 1)            the next attempt arrives twice
//	bench.Forge(route, 1, Token{...})    the next attempt carries another token
//	bench.FailSend(route, 1, err)        the next Send gets this error
//	up := bench.Down(service)            nobody is there, until up()
//
// # Errors
//
// What a test got wrong, such as a service that cannot be opened, ends it by t.Fatalf with the mend. What the services do never
// fails a test by itself; [Bench.RequireNoDead] is there for who expects no dead letters. The services' log is shown if the test fails.
//
// # Concurrency
//
// Everything may be used by several goroutines at once. Run and Advance deliver in the goroutine that calls them, so a test with
// one goroutine is deterministic. A handler may send, request, and call Run or Advance.
package dispatchtest
