package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"go.opentelemetry.io/otel/propagation"

	"waybill.dev/internal/outcome"
	"waybill.dev/pubsub"
	wsync "waybill.dev/sync"
	"waybill.dev/tasks"
)

// Handle registers the handler of a task or a subscription of the service that d is open for.
//
// The error that it returns decides: nil, done; [Permanent], to the dead letters; anything else, again after the route's
// backoff, and to the dead letters at its last attempt. [RetryAfter] also says when. A panic is a failed attempt: it is
// logged with its stack and the process lives. What cannot be decoded is a dead letter without running the handler.
//
// The handler's context ends at the route's [Deadline] and carries the [Message]. A message is delivered at least once:
// handlers must bear duplicates, which have the same Message.ID. What is wrong with the registration is reported by [Dispatcher.Check].
func Handle[M any](d *Dispatcher, from Inbound[M], handler func(context.Context, M) error, options ...HandleOption) {
	var zero M
	r := from.inbound(zero)
	run := func(ctx context.Context, contentType string, body []byte) error {
		var message M
		if err := d.decode(r, contentType, body, &message); err != nil {
			return Permanent(err)
		}
		return handler(ctx, message)
	}
	d.mount(r, options, func(at *receiver) (http.Handler, error) {
		switch {
		case handler == nil:
			return nil, errors.New("dispatch.Handle got no function")
		case r.kind == KindTask:
			return d.taskHandler(at, run)
		default:
			return d.pushHandler(at, run)
		}
	})
}

// runFunc decodes a body and runs the user's handler.
type runFunc func(ctx context.Context, contentType string, body []byte) error

func (d *Dispatcher) taskHandler(at *receiver, run runFunc) (http.Handler, error) {
	r := at.route
	return tasks.NewHandler(tasks.HandlerConfig{
		Verifier:    at.verifier,
		MaxAttempts: r.effectiveRetry().MaxAttempts,
		Deadline:    r.effectiveDeadline(),
		Logger:      d.log.With(slog.String("route", r.name)),
		DeadLetter: func(ctx context.Context, t *tasks.Delivery, cause error) error {
			return d.bury(ctx, r, deadLetter{
				body: t.Body, attributes: deadAttributesOfTask(t), fallbackID: t.Task, attempt: t.Attempt, cause: cause,
			})
		},
	}, func(ctx context.Context, t *tasks.Delivery) error {
		ctx, m := received(ctx, r, propagation.HeaderCarrier(t.Header), t.Task)
		m.Attempt, m.Caller = t.Attempt, t.Caller
		return run(ctx, t.Header.Get("Content-Type"), t.Body)
	})
}

func (d *Dispatcher) pushHandler(at *receiver, run runFunc) (http.Handler, error) {
	r := at.route
	return pubsub.NewHandler(pubsub.HandlerConfig{
		Verifier:     at.verifier,
		Subscription: d.env.subscriptionOf(r),
		MaxAttempts:  r.effectiveRetry().MaxAttempts,
		Deadline:     r.effectiveDeadline(),
		Logger:       d.log.With(slog.String("route", r.name)),
		DeadLetter: func(ctx context.Context, p *pubsub.Delivery, cause error) error {
			return d.bury(ctx, r, deadLetter{
				body: p.Data, attributes: p.Attributes, fallbackID: p.ID, attempt: p.Attempt, cause: cause, orderingKey: p.OrderingKey,
			})
		},
	}, func(ctx context.Context, p *pubsub.Delivery) error {
		ctx, m := received(ctx, r, propagation.MapCarrier(p.Attributes), p.ID)
		m.Attempt, m.Caller = max(p.Attempt, 1), p.Caller
		if m.PublishedAt.IsZero() {
			m.PublishedAt = p.PublishTime
		}
		return run(ctx, p.Attributes[attrContentType], p.Data)
	})
}

// decode reads a body into target by the content type that came with it.
func (d *Dispatcher) decode(r *route, contentType string, body []byte, target any) error {
	codec, err := r.app.codecByContentType(contentType, r.codec)
	if err != nil {
		return err
	}
	if err := codec.Unmarshal(body, target); err != nil {
		return fmt.Errorf("the message cannot be decoded; compare the contracts that sender and receiver were built with: %w", err)
	}
	return nil
}

// Answer registers the handler of a call to the service that d is open for.
//
// An error made by waybill.dev/sync's Errorf crosses the wire with its code and text. Any other crosses as "internal"
// with the message's ID only, and is logged here. [Permanent] answers 422, [RetryAfter] answers 503 with Retry-After.
func Answer[Q, R any](d *Dispatcher, call *Call[Q, R], handler func(context.Context, Q) (R, error), options ...HandleOption) {
	r := call.route
	d.mount(r, options, func(at *receiver) (http.Handler, error) {
		if handler == nil {
			return nil, errors.New("dispatch.Answer got no function")
		}
		return wsync.NewHandler(wsync.HandlerConfig{
			Verifier: at.verifier,
			Deadline: r.effectiveDeadline(),
			MaxBody:  maxCallBody,
			Logger:   d.log.With(slog.String("route", r.name)),
		}, func(ctx context.Context, request *wsync.Request) (*wsync.Response, error) {
			return answer(ctx, d, call, request, handler)
		})
	})
}

// answer decodes a question, runs the user's handler and encodes its reply.
func answer[Q, R any](ctx context.Context, d *Dispatcher, call *Call[Q, R], request *wsync.Request, handler func(context.Context, Q) (R, error)) (*wsync.Response, error) {
	ctx, m := received(ctx, call.route, propagation.HeaderCarrier(request.Header), "")
	m.Attempt, m.Caller = 1, request.Caller
	var question Q
	if err := d.decode(call.route, request.Header.Get("Content-Type"), request.Body, &question); err != nil {
		return nil, wsync.Errorf(wsync.InvalidArgument, "%w", outcome.Undecodable(err))
	}
	reply, err := handler(ctx, question)
	if err != nil {
		return nil, err
	}
	body, err := call.replyCodec.Marshal(reply)
	if err != nil {
		return nil, fmt.Errorf("the reply cannot be encoded: %w", err)
	}
	return &wsync.Response{Header: http.Header{"Content-Type": {call.replyCodec.ContentType()}}, Body: body}, nil
}

// deadAttributesOfTask are the attributes that a task's message would have had as an event.
func deadAttributesOfTask(t *tasks.Delivery) map[string]string {
	attributes := make(map[string]string, 8)
	for _, name := range []string{attrID, attrSource, attrType, attrSpecVersion, attrTime, attrContentType, attrTraceParent, attrTraceState} {
		if v := t.Header.Get(name); v != "" {
			attributes[name] = v
		}
	}
	return attributes
}
