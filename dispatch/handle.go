package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/propagation"

	"waybill.dev/dispatch/internal/wire"
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
	build := d.pushHandler
	if r.kind == KindTask {
		build = d.taskHandler
	}
	if handler == nil {
		d.mount(r, options, nil, build)
		return
	}
	d.mount(r, options, func(ctx context.Context) error {
		f, err := inflightOf(ctx)
		if err != nil {
			return err
		}
		message, err := read[M](r, &f.in)
		switch {
		case errors.Is(err, errNewer):
			return err
		case err != nil:
			return Permanent(err)
		}
		return handler(ctx, message)
	}, build)
}

// Headers that are read for each message, in the canonical form of net/http, so that they are read without a conversion.
const (
	headerContentType = "Content-Type"
	headerDataSchema  = "Ce-Dataschema"
	headerExpiry      = "Ce-Expirytime"
	headerReplay      = "Waybill-Replay"
)

func (d *Dispatcher) taskHandler(at *receiver, run HandlerFunc) (http.Handler, error) {
	r := at.route
	return tasks.NewHandler(tasks.HandlerConfig{
		Verifier:    at.verifier,
		MaxAttempts: r.effectiveRetry().MaxAttempts,
		Deadline:    r.effectiveDeadline(),
		Logger:      d.log.With(slog.String("route", at.name)),
		DeadLetter: func(ctx context.Context, t *tasks.Delivery, cause error) error {
			return d.bury(ctx, r, deadLetter{
				body: t.Body, attributes: attributesOfTask(t), fallbackID: t.Task, attempt: t.Attempt, cause: cause, route: at.name,
				received: t.ReceivedAt, caller: t.Caller.Email, url: d.env.Service(r.app, r.to.name).URL + r.pathOf(at.name),
			})
		},
	}, func(ctx context.Context, t *tasks.Delivery) error {
		ctx, f := at.received(ctx, propagation.HeaderCarrier(t.Header), t.Task)
		f.Attempt, f.Caller = t.Attempt, t.Caller
		f.setExpiry(r, t.Header.Get(headerExpiry), t.Header.Get(headerReplay))
		if d.expired(ctx, &f.Message) {
			return nil
		}
		f.in = incoming{t.Header.Get(headerContentType), t.Header.Get(headerDataSchema), t.Body}
		return run(ctx)
	})
}

func (d *Dispatcher) pushHandler(at *receiver, run HandlerFunc) (http.Handler, error) {
	r := at.route
	return pubsub.NewHandler(pubsub.HandlerConfig{
		Verifier:     at.verifier,
		Subscription: d.env.subscriptionNamed(r, at.name),
		MaxAttempts:  r.effectiveRetry().MaxAttempts,
		Deadline:     r.effectiveDeadline(),
		Logger:       d.log.With(slog.String("route", at.name)),
		DeadLetter: func(ctx context.Context, p *pubsub.Delivery, cause error) error {
			return d.bury(ctx, r, deadLetter{
				body: p.Data, attributes: p.Attributes, fallbackID: p.ID, attempt: p.Attempt, cause: cause, orderingKey: p.OrderingKey, route: at.name,
				received: p.ReceivedAt, published: p.PublishTime,
			})
		},
	}, func(ctx context.Context, p *pubsub.Delivery) error {
		if to := p.Attributes[wire.ReplayTo]; to != "" && !r.hasName(to) {
			return nil // a dead letter of another subscription, which was sent again: this one has had the message
		}
		ctx, f := at.received(ctx, propagation.MapCarrier(p.Attributes), p.ID)
		f.Attempt, f.Caller = max(p.Attempt, 1), p.Caller
		if f.PublishedAt.IsZero() {
			f.PublishedAt = p.PublishTime
		}
		f.setExpiry(r, p.Attributes[attrExpiry], p.Attributes[attrReplay])
		if d.expired(ctx, &f.Message) {
			return nil
		}
		f.in = incoming{p.Attributes[attrContentType], p.Attributes[attrDataSchema], p.Data}
		return run(ctx)
	})
}

// decode reads a body into target by the content type that came with it.
func (r *route) decode(in *incoming, target any) error {
	codec, err := r.app.codecByContentType(in.contentType, r.codec)
	if err != nil {
		return err
	}
	if err := codec.Unmarshal(in.body, target); err != nil {
		return fmt.Errorf("the message cannot be decoded; compare the contracts that sender and receiver were built with: %w", err)
	}
	return nil
}

// Answer registers the handler of a call to the service that d is open for.
//
// An error made by waybill.dev/sync's Errorf crosses the wire with its code and text. Any other crosses as "internal"
// with the message's ID only, and is logged here. [Permanent] answers 422, [RetryAfter] answers 503 with Retry-After.
func Answer[Q, R any](d *Dispatcher, call *Call[Q, R], handler func(context.Context, Q) (R, error), options ...HandleOption) {
	if handler == nil {
		d.mount(call.route, options, nil, d.callHandler)
		return
	}
	d.mount(call.route, options, func(ctx context.Context) error {
		f, err := inflightOf(ctx)
		if err != nil {
			return err
		}
		f.reply, err = answer(ctx, call, f, handler)
		f.answered = err == nil
		return err
	}, d.callHandler)
}

func (d *Dispatcher) callHandler(at *receiver, run HandlerFunc) (http.Handler, error) {
	return wsync.NewHandler(wsync.HandlerConfig{
		Verifier: at.verifier,
		Deadline: at.route.effectiveDeadline(),
		MaxBody:  maxCallBody,
		Logger:   d.log.With(slog.String("route", at.name)),
	}, func(ctx context.Context, request *wsync.Request) (*wsync.Response, error) {
		ctx, f := at.received(ctx, propagation.HeaderCarrier(request.Header), "")
		f.Attempt, f.Caller = 1, request.Caller
		f.in = incoming{request.Header.Get(headerContentType), request.Header.Get(headerDataSchema), request.Body}
		if err := run(ctx); err != nil {
			return nil, err
		}
		if !f.answered {
			return nil, errors.New("a middleware let a call go without a reply and without an error")
		}
		return &wsync.Response{Header: http.Header{headerContentType: {f.reply.contentType}}, Body: f.reply.body}, nil
	})
}

// answer decodes a question, runs the user's handler and encodes its reply.
func answer[Q, R any](ctx context.Context, call *Call[Q, R], f *inflight, handler func(context.Context, Q) (R, error)) (reply, error) {
	question, err := read[Q](call.route, &f.in)
	switch {
	case errors.Is(err, errNewer):
		return reply{}, RetryAfter(time.Second, err) // nothing ran: the caller's next attempt may reach a newer instance
	case err != nil:
		return reply{}, wsync.Errorf(wsync.InvalidArgument, "%w", outcome.Undecodable(err))
	}
	answered, err := handler(ctx, question)
	if err != nil {
		return reply{}, err
	}
	body, err := call.replyCodec.Marshal(answered)
	if err != nil {
		return reply{}, fmt.Errorf("the reply cannot be encoded: %w", err)
	}
	return reply{contentType: call.replyCodec.ContentType(), body: body}, nil
}
