// Package pubsub sends messages by Pub/Sub and receives them by push: a
// publisher that waits for acceptance, the creation of push subscriptions with
// an OIDC token, and an http.Handler that verifies it.
//
// # Usage
//
// The publisher:
//
//	client, err := pubsub.NewClient(ctx, pubsub.Config{Project: "shop"})
//	defer client.Close()
//	id, err := client.Publish(ctx, "user-signed-up", pubsub.Message{Data: data, OrderingKey: userID})
//
// The receiver:
//
//	handler, err := pubsub.NewHandler(pubsub.HandlerConfig{
//		Verifier:     verifier,
//		Subscription: "projects/shop/subscriptions/index-user",
//	}, func(ctx context.Context, d *pubsub.Delivery) error { return index(ctx, d.Data) })
//
// # Delivery
//
// A message is delivered at least once to each subscription: a handler may see
// one again after it succeeded. Pub/Sub gives an answer the subscription's ack
// deadline to arrive and delivers again after it, even while the handler still
// works: set the ack deadline at least 5 s above the handler's deadline.
//
// A handler's outcome is the error that it returns:
//
//	nil                    204, acknowledged
//	[Permanent]            the dead letter, then 204
//	[RetryAfter]           503: a nack; the subscription's retry policy says when
//	any other, or a panic  500: a nack; at the last of MaxAttempts the dead
//	                       letter, then 204
//
// A message is acknowledged only once [HandlerConfig.DeadLetter] has returned
// nil; if it fails the answer is 503 and the message comes back. Without a
// DeadLetter function a message that failed for good is logged at error level,
// acknowledged and so lost.
//
// Pub/Sub counts attempts only on a subscription with a dead-letter policy.
// Give the policy a few attempts more than MaxAttempts, as the backstop for
// what never reaches the handler. Without a policy every attempt counts as the
// first. An attempt far beyond MaxAttempts (above ten times as many, and above
// 100) goes to the dead letter without running.
//
// The other answers, all of them nacks: 405 if not POST, 401 and 403 if the
// caller is not who it must be, 403 if the body names another subscription, 503
// if the keys to verify the caller cannot be had, 400 if the body stops half-way
// or is no push (its wrapper, not the message's data), 413 if it is above MaxBody.
//
// # Identity
//
// [Delivery.Caller] is the subscription's push account, never the publisher:
// who may publish rests on the topic's IAM policy. Attributes and x-goog-*
// headers are information, never identity.
//
// # Ordering
//
// Messages of one ordering key are delivered in the order in which their
// Publish calls returned, on a subscription that is Ordered. When a publish of
// a key fails, its error is returned and the key is free again at once: publish
// the message again before the next one if their order matters.
//
// # Errors
//
// [Client.Publish] repeats by itself for as long as [Config.Timeout] and the
// context allow, but where nothing listens (no emulator is running, say) it and
// the creation of topics and subscriptions give up after 3 s. [ErrAmbiguous], [ErrTooLarge], [ErrOutstanding] and [ErrClosed] are found by
// errors.Is, gRPC's status by status.FromError.
//
// # Concurrency
//
// A [Client] and a handler may be used by many goroutines. A client batches what
// many goroutines publish at the same time. What is outstanding is bounded: with
// 10,000 messages or 100 MB that are not accepted yet, the next Publish waits for
// room, so that a slow Pub/Sub slows its publishers instead of filling their memory
// ([Config.MaxOutstandingMessages]). Its goroutines end with
// [Client.Shutdown] or [Client.Close].
//
// # Testing
//
// Google's client follows PUBSUB_EMULATOR_HOST. [EmulatorOptions] do the same
// for one client.
//
// # Sources
//
// Acknowledging statuses, body and headers of a push:
// https://cloud.google.com/pubsub/docs/push and
// https://cloud.google.com/pubsub/docs/payload-unwrapping; limits:
// https://cloud.google.com/pubsub/quotas and the comments of
// cloud.google.com/go/pubsub/v2/apiv1/pubsubpb.
package pubsub
