package pubsub

import (
	"context"
	"errors"
	"fmt"

	"cloud.google.com/go/pubsub/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"waybill.dev/internal/endpoint/dial"
)

// resumes bounds how often one Publish frees a key that others' failures paused.
const resumes = 3

// Publish publishes m and returns once Pub/Sub has accepted it, with the id that
// it was given. The topic is a short name in the client's project or a full
// name. Sizes are checked before anything is sent.
//
// A publish is repeated with backoff until ctx or [Config.Timeout] ends; then
// the error wraps [ErrAmbiguous] unless Pub/Sub has refused the message. Where
// nothing listens it fails after 3 s (half of a shorter Timeout) of refused
// connections, and nothing was sent. A message abandoned by its context may
// still be published later.
//
// While as much is outstanding as the configuration allows, Publish waits; if ctx
// ends before there is room, the error wraps [ErrOutstanding].
//
// After a failed publish with an ordering key the key is free again, and the
// error is returned: if order matters, publish the message again before the next.
func (c *Client) Publish(ctx context.Context, topic string, m Message) (id string, err error) {
	t, err := c.topic(topic)
	if err != nil {
		return "", err
	}
	if ctx.Err() != nil {
		return "", fmt.Errorf("pubsub: nothing was published, the context had ended: %w", context.Cause(ctx))
	}
	if err := m.validate(t.name); err != nil {
		return "", fmt.Errorf("pubsub: the message cannot be published: %w", err)
	}
	weight, err := c.flow.acquire(ctx, m.requestSize(t.name))
	if err != nil {
		return "", fmt.Errorf("pubsub: nothing was published to %s: %w", t.name, err)
	}
	var result *pubsub.PublishResult
	for range resumes {
		result = t.send(ctx, m)
		id, err = t.wait(ctx, m, result)
		// Paused means that this message was not sent, because another of its
		// key failed or because one that was abandoned did: its order was never
		// promised against either.
		if _, paused := errors.AsType[pubsub.ErrPublishingPaused](err); !paused {
			break
		}
	}
	c.flow.release(weight, result)
	if err != nil {
		return "", t.explain(ctx, err)
	}
	if t.retries.refused.Load() != nil {
		t.retries.refused.Store(nil)
	}
	return id, nil
}

func (t *topic) send(ctx context.Context, m Message) *pubsub.PublishResult {
	return t.publisher.Publish(ctx, &pubsub.Message{Data: m.Data, Attributes: m.Attributes, OrderingKey: m.OrderingKey})
}

func (t *topic) wait(ctx context.Context, m Message, result *pubsub.PublishResult) (string, error) {
	id, err := result.Get(ctx)
	if err != nil && m.OrderingKey != "" {
		t.publisher.ResumePublish(m.OrderingKey)
	}
	return id, err
}

func (t *topic) explain(ctx context.Context, err error) error {
	if errors.Is(err, pubsub.ErrPublisherStopped) {
		return fmt.Errorf("pubsub: %w: publish before Shutdown", ErrClosed)
	}
	if _, paused := errors.AsType[pubsub.ErrPublishingPaused](err); paused {
		return fmt.Errorf("pubsub: not sent to %s, other messages of the ordering key keep failing: publish it again", t.name)
	}
	if ctx.Err() != nil {
		if refused := t.retries.refused.Load(); refused != nil { // so far: the batch is still being tried
			return fmt.Errorf("pubsub: no answer from %s: %w: %w: %w", t.name, refused, ErrAmbiguous, context.Cause(ctx))
		}
		return fmt.Errorf("pubsub: no answer from %s: %w: %w", t.name, ErrAmbiguous, context.Cause(ctx))
	}
	// Refused connections are the last word only when there was no other. Of a
	// client that gave up it is not known.
	if refused, ok := errors.AsType[*dial.RefusedError](err); ok && !t.retries.aborted.Load() {
		return fmt.Errorf("pubsub: nothing was sent to %s: %w", t.name, refused)
	}
	switch status.Code(err) {
	case codes.NotFound:
		return fmt.Errorf("pubsub: the topic %s does not exist: create it first (a real one needs up to a minute to become known; an emulator forgets everything at its end): %w", t.name, err)
	case codes.PermissionDenied:
		return fmt.Errorf("pubsub: not allowed: the publisher needs roles/pubsub.publisher on %s: %w", t.name, err)
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Internal, codes.Unknown, codes.Aborted:
		return fmt.Errorf("pubsub: no answer from %s: %w: %w", t.name, ErrAmbiguous, err)
	default:
		return fmt.Errorf("pubsub: %s did not accept the message: %w", t.name, err)
	}
}
