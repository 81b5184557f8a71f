// Package dispatch sends messages between the services of an app, and receives them.
//
// A team declares once which service sends what to whom. The declaration, not a flag at the call, decides how a
// message travels:
//
//   - [NewTask]: one receiver, later. Cloud Tasks.
//   - [NewEvent] and [Event.To]: many receivers, later, each with its own copy. Pub/Sub push.
//   - [NewCall]: one receiver, now, with a reply. HTTP with an ID token.
//
// # Usage
//
// Declare the contracts in a package that every service imports. [Open] a [Dispatcher] for the service that the process
// is. Send with [Send] and [Request]; receive with [Handle] and [Answer], and serve the Dispatcher, which is an http.Handler.
// The package example is a whole app.
//
// # Delivery
//
// [Send] returns when Google has accepted the message. From then on it is delivered at least once to each receiver, until
// a handler returns nil. A handler that fails is run again after the route's backoff. A message goes to the route's
// dead-letter topic when the handler returns [Permanent], when it cannot be decoded, and when its last attempt fails; only
// when the topic has accepted it is it acknowledged. waybill.dev/dispatch/dead lists dead letters and sends them again. What else ends a message: Cloud Tasks keeps a task for 31 days, Pub/Sub a
// message for 7 days, and what the next paragraph says.
//
// Both transports count every delivery as an attempt, also one that finds nobody. A task nevertheless waits until a handler
// has run: if that was the last attempt or later, and it fails, the task is a dead letter. A message of an event Pub/Sub moves to the
// same dead-letter topic by itself five deliveries after [Retry].MaxAttempts, even if no handler ever saw it: with the
// defaults, after an outage of about an hour.
//
// Handlers must bear duplicates; a message has the same [Message].ID each time. A task with a [Key] is accepted once.
// An event with [OrderBy] is delivered in the order of sending within its key.
//
// [Request] runs the handler at most once, unless the declaration has [Retry], which says that repeating does no harm, or the
// handler itself asks to be called again: by [RetryAfter], or by answering 429.
//
// # Deadlines
//
// A route's [Deadline] ends its handler's context, 5 seconds before Cloud Tasks or Pub/Sub stop waiting. A message with [Expires]
// is dropped once it is stale. What a caller has left crosses with [Request], so its receiver stops when nobody waits any more; it
// never shortens what a handler sends, only the time in which it must be accepted.
//
// # Pressure
//
//	too many at once for a handler, or a process    [Concurrency], [Config].Concurrency: 429 with Retry-After
//	too many a second for a receiver                [Rate]: its queues dispatch no faster
//	more than one queue of Cloud Tasks takes        [Rate]: several queues, by key
//	more events than Pub/Sub accepts in time        Send waits for room: 10,000 messages or 100 MB are outstanding at most
//	a receiver of calls that fails                  at most one retry for each ten requests, beyond a small reserve
//
// # Life of a process
//
// [Dispatcher.ListenAndServe] ends in order, within [Config].ShutdownGrace: [ReadyPath] turns to 503; after [Config].DrainDelay new messages are
// answered 503 and come again; handlers finish; what [Dispatcher.Background] runs is told, and may still send; what waits to be published is
// flushed; connections close. A second signal ends the process at once.
//
// # Middleware
//
// [Middleware] wraps handlers and [SendMiddleware] wraps sends, in net/http's manner, the first outermost.
//
// # Change over time
//
// Services are rolled out one by one, and messages are in flight for days. A route that is renamed receives by its [Alias] too. A message
// whose schema changes beyond what decoding bears has a [Version], and receivers accept older ones; what is newer than a receiver is
// tried again. A changed [Rate] takes effect for the keys that come after it. An event keeps its name: renaming one is declaring another.
//
// # Identity
//
// Every message carries an OIDC ID token for the receiver's audience: a task's and a call's of the sender's own service
// account, an event's of the app's push account. The receiver verifies it before it reads the body and refuses whoever
// the contracts do not name: 401 without a valid token, 403 with one of somebody else's. See waybill.dev/auth.
//
// # On the wire
//
// CloudEvents 1.0 in binary mode, W3C trace context, and the codec's content type: HTTP headers on tasks and calls,
// message attributes on Pub/Sub. Endpoints are /_waybill/tasks/NAME, /_waybill/events/SUBSCRIPTION and /_waybill/calls/NAME.
//
//	POST only                                    405 otherwise
//	204  done, or safely among the dead letters  (a call: 200 and the reply)
//	400  the body stopped half-way
//	401  no valid token                          403  a valid token of somebody not declared
//	404  no such route
//	422  a call's Permanent
//	429  the handler's Concurrency, or the process's, is used up
//	500  the handler failed or panicked
//	503  no handler yet, shutting down, the dead letter could not be kept, the issuer's keys are unavailable, RetryAfter
//
// # Environment
//
// The same program runs on Google Cloud and on a laptop. [Discover] says how it finds out where it is.
//
// # Concurrency
//
// Everything may be used by several goroutines at once. Declare before opening, register handlers before serving.
// [Dispatcher.Shutdown] blocks until every goroutine that the Dispatcher started has ended, or its context does.
//
// # Testing
//
// Contracts: call [App.Validate] in a test. Services: waybill.dev/dispatch/dispatchtest is a bench for one service or several, in memory, on
// a clock that the test moves, with everything real but Google's services and the network. With those: start
// waybill.dev/emulator in the test (its package emulatortest), create what the contracts need with waybill.dev/dispatch/deploy, and open the
// service with a [Config] that names the emulator. A handler alone: call it, with [ContextWithMessage].
package dispatch
