// Package emulator runs Cloud Tasks, Pub/Sub and a token issuer in this process, on one port,
// with nothing to install. Google's own clients use it unmodified.
//
// # Usage
//
//	e, err := emulator.Start(ctx, emulator.Config{Listen: "127.0.0.1:0"})
//	if err != nil {
//		return err
//	}
//	defer e.Close()
//
// Everything is at [Emulator.Addr], over gRPC and HTTP. [Emulator.Environ] has the variables that point
// clients at it. Google's Go client for Cloud Tasks reads none of them: give it the address as its
// endpoint, an insecure connection and no authentication. Tests use [waybill.dev/emulator/emulatortest], which cleans up.
//
// What there is from the start, and again after each [Emulator.Reset], is in Config.Resources, which [ReadResources] reads from
// a file. Everything else is created by the services' own methods.
//
// Receivers verify tokens with the keys at [Emulator.KeysURL], by the same code as in production, or with what the
// discovery document at [Emulator.URL] names. [Emulator.RotateKeys] shows how they take a new key, and the end of an
// old one.
//
// # Who a service is
//
// Each service of a local run gets its own service account, in one of these ways:
//   - A key file: write [Emulator.KeyFile] to a file, and name that in the service's GOOGLE_APPLICATION_CREDENTIALS.
//   - A metadata server: give the service the address that [Emulator.Metadata] returns for its account as its
//     GCE_METADATA_HOST. This is how it works on Cloud Run, and every client understands it. Google's for Go takes
//     HOST:PORT/_emulator/metadata/EMAIL as well, which is known before the emulator runs; that for Node cuts the
//     path off.
//   - generateIdToken and generateAccessToken of the IAM Credentials API, for impersonation.
//
// The metadata server on the emulator's own port has one default account, and knows any other by its email address.
//
// # Behind Cloud Run
//
// [Emulator.Gate] puts in front of a container what Cloud Run puts there: a listener that verifies the token, asks
// whether the caller may invoke the service, and forwards the request without the token's signature.
//
//	g, err := e.Gate(ctx, emulator.GateConfig{
//		Service:  "user-profiles",
//		Target:   "http://127.0.0.1:8080", // where the container listens
//		Invokers: []string{"serviceAccount:login@shop.iam.gserviceaccount.com"},
//	})
//	// g.URL() is the service's: for its callers, its tasks and pushes, and the audience of their tokens.
//
// The token is the one in X-Serverless-Authorization, if that is there, or else the one in Authorization. Without a
// token, or for an account that does not hold roles/run.invoker, the answer is 403; for a token that is not good, 401.
// Who holds the role is changed by [Gate.SetInvokers], or over HTTP as with Cloud Run's Admin API, at
// /v2/projects/P/locations/L/services/S:setIamPolicy. A service that allUsers may invoke is open, and nothing is
// checked or changed on the way. [Signature] chooses how Google's documentation is read; a receiver should work with
// each reading.
//
// # Guarantees
//
// A task exists from the moment that CreateTask returns, and is deleted after an answer of 200 to 299, by
// its retry limits, after 31 days, or on demand. It is delivered at least once, in no promised
// order. Rates, concurrency, backoff, dispatch deadlines and delivery headers are the real
// service's. A message of Pub/Sub goes to every subscription that exists when it is published. Everything
// is in memory and ends with the process, unless Config.Data is set.
//
// An idle emulator does nothing: no polling, no goroutine per queue or task.
//
// # Data
//
// With Config.Data, what a call has acknowledged is synced to the disk, and there after a kill -9 or a loss of power: queues with
// their state, tasks, the attempts that have ended, names that are still taken, and what the clock was advanced by. A start
// goes on from there: what has become due meanwhile is delivered, and attempts that were in flight are made again with
// the same retry count. Not kept are a receiver's Retry-After and the state of a queue's token bucket, which starts full.
//
// Of Pub/Sub there are topics, subscriptions, snapshots, schemas and policies; messages with their ids and their order,
// acknowledgements, seeks, and the attempts that count for a dead letter. Leases and delays end with the process: what is
// not acknowledged is delivered again at once, under new ack ids.
//
// The end of a delivery is written within milliseconds, and nobody waits for that: of a task, of a push, and of messages
// whose acknowledgement is not confirmed. So a crash may repeat a delivery that
// had succeeded just before, and so may one between the first delivery and the answer to CreateTask. Nothing else is
// repeated by a crash.
//
// When the disk cannot be written, calls that change something fail, with UNAVAILABLE if nothing was changed, and with
// INTERNAL if the change may be there or not after a restart; they succeed again once the disk can be written. A
// directory that is damaged, is not an emulator's or is in use is an error of [Start], and is not touched.
//
// # Time
//
// The emulator lives by the wall clock plus what [Emulator.Advance] has added. Schedules, retries,
// rates, leases and the time for which names stay taken follow that clock. ID tokens do not: iat and exp
// are the wall clock's, since those who verify them live by it. Neither do the deadlines of requests
// that are on the wire.
//
// [Emulator.Skip] goes to the next delivery or retry. It waits first until the deliveries in flight have ended, so a test
// needs not know when the emulator has seen an answer.
//
// # Faults
//
// [Emulator.AddFault] makes deliveries go wrong, of a queue, a subscription, a target, or all: late, answered by the emulator
// in the receiver's place, cut off before the receiver sees them or after it has answered, or twice. A fault acts a number of
// times or until it is removed, always or with a probability whose outcome a seed decides.
//
//	f, err := e.AddFault(emulator.Fault{Queue: "mails", Drop: emulator.DropAnswer, Times: 1})
//
// # The end
//
// [Emulator.Shutdown] starts no more deliveries, and waits for those in flight as long as its context allows. What does not end
// is broken off, counts as not attempted, and stays queued. [Emulator.Leftovers] says how many of each there were, and how
// many tasks and messages were not done; they are there at the next start with Config.Data, and lost without.
// /_emulator/ready answers 503 from the first moment on.
//
// # Errors
//
// [Start] reports every problem of its [Config] at once, each with its mend; a port in use matches
// [syscall.EADDRINUSE]. The services answer with the codes of the real ones and, where these are
// known, their words. A receiver that cannot be reached and a refusal are logged once per target and
// reason, and again after a success; bodies, tokens and query strings never are.
//
// # Security
//
// The emulator gives a token for any account to whoever asks, and sends requests to wherever a task
// says. So it listens on loopback unless Config.AllowNonLoopback is set, refuses HTTP requests under
// a Host that is not its own (a web page that rebinds its name), and refuses a browser's posts from
// other origins. Key files are good for this emulator alone, and all of them hold the same private key.
//
// # Concurrency
//
// An [Emulator] may be used by any number of goroutines. [Emulator.Close] and [Emulator.Shutdown] may
// be called twice and return when every goroutine has ended. Any number of emulators may run in one process.
//
// # Control over HTTP
//
// All of this is there for other languages and for scripts too: GET / lists it, and docs/emulator.md has each parameter. The
// most used:
//
//	GET    /_emulator/ready                             200 once it accepts, 503 once it stops
//	POST   /_emulator/reset                             Reset
//	POST   /_emulator/skip[?within=1h]                  Skip; the answer is the new time, 404 if nothing is due
//	POST   /_emulator/advance?by=10m                    Advance; the answer is the new time
//	GET    /_emulator/clock                             Now and NextDelivery, as JSON
//	POST   /_emulator/faults?queue=mails&status=503     AddFault; the answer is its id
//	GET    /_emulator/faults                            Faults, as JSON
//	DELETE /_emulator/faults[/ID]                       ClearFaults, or one
//	GET    /_emulator/keys/ACCOUNT                      a key file
//	POST   /_emulator/rotate-keys[?old=withdraw]        RotateKeys; the answer is the new key's id
//	POST   /_emulator/metadata?account=EMAIL            Metadata; the answer is the address
//	POST   /_emulator/gates?service=S&target=URL&...    Gate; the answer is its URL
//
// The parameters of a gate are those of [GateConfig]: service, target, listen, and any number of invoker and audience;
// signature is removed, removed-from-serverless or kept. Such a gate stays until the emulator stops.
//
// # Where it differs from the real services
//
// Identity:
//   - Nothing is authorized but the invokers of a gate: every caller may do everything, every account exists, no account
//     needs the right to act as another. Other IAM policies are kept and have no effect.
//   - Keys are new at every start, unless Config.Keys keeps them, and cached for a minute, not for hours. They change on
//     command alone. Access tokens ("ya29.") are not checked anywhere.
//   - The metadata server has the paths that clients read at start, and no more. It puts the email into
//     tokens of format=standard too, as Cloud Run's does. format=full adds google.compute_engine of an instance that
//     there is not.
//   - Nobody signs in with a browser: the discovery document names no endpoints for it that answer.
//
// Gates:
//   - They speak HTTP/1 without TLS, and X-Forwarded-Proto says http. Bodies of any size pass, where Cloud Run stops at
//     32 MiB by HTTP/1. There is no limit on concurrency, and no ingress setting.
//   - The service's URL is an audience with and without a slash at its end, custom ones are compared exactly. Paths in
//     audiences and Cloud Run's second URL are not known: list them as GateConfig.Audiences.
//   - A token needs a verified email: one of generateIdToken without includeEmail is refused.
//   - roles/run.invoker and roles/run.admin on the service count, not what a project or an organization grants.
//     Conditions are refused, and groups have no members.
//   - A change of the policy is effective at once. On Cloud Run it can take minutes.
//   - Of the Admin API there are getIamPolicy and setIamPolicy, and only for services that have a gate.
//   - On a public service the headers stay as they are. Whether Cloud Run does so with tokens of Google's is not
//     documented; that it does with those of others is how Firebase works behind it.
//   - What a container that does not answer looks like, 503 and 504 in plain text, is our own choice of words.
//
// Cloud Tasks, of which docs/emulator-cloud-tasks.md has every method and field:
//   - An http URL may carry a token, and of any account, unless Config.StrictTokens is set; the real service
//     refuses an Authorization header on one, and accounts of other projects.
//   - A deleted queue can be created again at once, unless Config.QueueTombstone says otherwise.
//   - Changes are effective at once. The real service takes up to a minute for a purge or a new queue.
//   - Names stay taken for one hour, the least that may be relied on, or Config.TaskTombstone. Only names that the client
//     gave: a finished task that was not named answers NOT_FOUND in other words.
//   - max_burst_size is one second's worth of the rate.
//   - 429 and 503 with Retry-After quieten the queue for as long, at most an hour. Without it, the
//     rate is halved, down to one a second, and doubles with each other answer. The real service does not
//     say what it does. It heeds high error rates too, and sends slowly from a new queue; the emulator does neither.
//   - If only one of max_attempts and max_retry_duration is set, that one ends a task. If both
//     are, both must be reached, as documented.
//   - A receiver that gives no answer counts as 503 in X-CloudTasks-TaskPreviousResponse, and one
//     that exceeds the deadline as 504. What the real service shows for the first is not documented.
//   - Redirects are not followed, unless Config.FollowRedirects is set: a 3xx is a failed attempt.
//   - RunTask returns when the attempt is on its way, a batch when it is done.
//   - App Engine targets go to the one address of Config.AppEngine; without it they are refused.
//   - IAM policies and CMEK configurations are kept and have no effect. Every location may have queues.
//
// Pub/Sub, of which docs/emulator-pubsub.md has every method and field:
//   - Subscriptions to BigQuery, Cloud Storage and Bigtable, ingestion and message transforms are checked and kept, and not
//     carried out.
//   - KMS keys, storage policies, labels and tags are kept and have no effect.
//   - How fast pushes to a failing endpoint slow down, and speed up again, is our own choice.
//   - The deadline of a push runs on the wall clock.
//
// REST: an unknown path answers with a JSON error where Google sends a page; the fields parameter is
// accepted, and the whole answer is sent.
//
// What is said here of the real services is from the comments of their API definitions
// (https://github.com/googleapis/googleapis/tree/master/google/cloud/tasks/v2 and google/pubsub/v1), their
// documentation (https://cloud.google.com/tasks/docs, https://cloud.google.com/pubsub/docs), or was
// observed and published by others. The package's own documents say which.
package emulator
