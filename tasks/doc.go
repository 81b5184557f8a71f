// Package tasks sends messages by Cloud Tasks and receives them: a queue
// client that puts an OIDC token on every task, and an http.Handler that
// verifies it.
//
// # Usage
//
// The sender:
//
//	client, err := tasks.NewClient(ctx, tasks.Config{ServiceAccount: "login@shop.iam.gserviceaccount.com"}, tasks.ClientOptions()...)
//	receipt, err := client.Enqueue(ctx, tasks.Task{
//		Queue:    "projects/shop/locations/europe-west1/queues/send-welcome",
//		URL:      "https://mailer.example.com/welcome",
//		Audience: "https://mailer.example.com",
//		Body:     body,
//		Key:      "welcome:" + userID,
//	})
//
// The receiver:
//
//	handler, err := tasks.NewHandler(tasks.HandlerConfig{Verifier: verifier, MaxAttempts: 8, DeadLetter: keep},
//		func(ctx context.Context, d *tasks.Delivery) error { return mail(ctx, d.Body) })
//
// # Delivery
//
// A task is delivered at least once: a handler may see one again after it
// succeeded, if its answer was lost. Cloud Tasks deletes a task at its last
// attempt whether or not any handler saw it, an outage included. So create
// queues with unlimited attempts (MaxAttempts -1) and let
// [HandlerConfig.MaxAttempts] count: only a handler that ran can give a task up.
// Cloud Tasks keeps a task for 31 days at most.
//
// A handler's outcome is the error that it returns:
//
//	nil                    204, done
//	[Permanent]            the dead letter, then 204
//	[RetryAfter]           503 with Retry-After, which slows the whole queue
//	any other, or a panic  500, repeated with the queue's backoff; at the last
//	                       of MaxAttempts the dead letter, then 204
//
// A task is acknowledged only once [HandlerConfig.DeadLetter] has returned nil;
// if it fails the answer is 503 and the task comes back. Without a DeadLetter
// function a task that failed for good is logged at error level, acknowledged
// and so lost.
//
// An attempt far beyond MaxAttempts (above ten times as many, and above 100)
// goes to the dead letter without running: what comes back so often without
// having failed here ends its process each time.
//
// The other answers: 405 if not POST, 401 and 403 if the caller is not who it
// must be, 503 if the keys to verify it cannot be had, 400 if the body stops
// half-way, 413 if it is above MaxBody. All of them leave the task in its queue.
//
// # Identity
//
// Who sent a task is [Delivery.Caller], from the verified token, and nothing
// else. The X-CloudTasks-* headers are information: whoever may call the
// endpoint may set them. The token is verified before the body is read.
//
// # Keys
//
// A task with a [Task.Key] is named by the key's SHA-256, so a second one with
// the same key in the same queue is dropped: [Receipt.Duplicate]. Count on one
// hour of this after the task has ended; Cloud Tasks may remember a name for up
// to 24 hours. Named tasks cost the service a little latency.
//
// # Errors
//
// [Client.Enqueue] repeats by itself what is safe to repeat: a task with a key,
// and any task that was refused before it was sent (no connection). When a task
// without a key may or may not have arrived, the error wraps [ErrAmbiguous].
// [ErrTooLarge], [ErrSchedule] and [ErrClosed] are found by errors.Is, gRPC's
// status by status.FromError.
//
// # Concurrency
//
// A [Client] and a handler may be used by many goroutines. A client starts none
// of its own that outlive [Client.Close].
//
// # Testing
//
// Set CLOUD_TASKS_EMULATOR_HOST to HOST:PORT and pass [ClientOptions], or pass
// [EmulatorOptions]. Google's client reads no variable by itself.
//
// # Sources
//
// Limits and behaviour of the service: the comments of
// cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb and
// https://cloud.google.com/tasks/docs/quotas; delivery headers:
// https://cloud.google.com/tasks/docs/creating-http-target-tasks#handler.
package tasks
