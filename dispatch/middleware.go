package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"waybill.dev/internal/httpserve"
)

// HandlerFunc is a handler of any message, as a [Middleware] sees it: what is known of the message is in the context, see
// [MessageFrom], and the error is the outcome. The content stays between the route's codec and its handler.
type HandlerFunc func(ctx context.Context) error

// Middleware wraps handlers, in net/http's manner: it is called once for each handler, when that is registered, and the
// function that it returns runs for each message. It is in [Config].Middleware for all handlers of a service, and an option of [Handle]
// and [Answer] for one.
//
// The first that is listed is outermost, those of the Config come before those of the handler. All of them run after the
// sender was verified and within the handler's [Deadline], but not for a message that has expired. What they pass on must
// derive from the context that they got. The error of next is the handler's, or that of a message that could not be decoded
// (a [Permanent]); a panic of the handler is an error by then. What a middleware returns in its place decides. For a call, an error is
// needed if next was not called or failed: there is no reply to send.
type Middleware func(next HandlerFunc) HandlerFunc

func (m Middleware) applyHandle(o *handleOptions) { o.middleware = append(o.middleware, m) }

// SendFunc sends a message, as a [SendMiddleware] sees it. Receipts of requests have ID and Via only.
type SendFunc func(ctx context.Context, e *Envelope) (Receipt, error)

// SendMiddleware wraps [Send] and [Request], in net/http's manner: it is called once, by [Open], and the function that it returns
// runs for each message, after the checks of the declaration and the options, and before those of the size. It is in
// [Config].SendMiddleware; the first that is listed is outermost.
//
// It may change the Envelope's Body and add Attributes, which travel with the message; whatever else it changes there is not looked at. A
// message that an outbox keeps passes through when it is kept, and not again when it is sent on.
type SendMiddleware func(next SendFunc) SendFunc

// chain puts middleware around a handler.
func chain(handler HandlerFunc, middleware []Middleware) HandlerFunc {
	if len(middleware) == 0 {
		return handler
	}
	// Of a panic the innermost middleware gets an error, not the panic.
	h := HandlerFunc(func(ctx context.Context) error { return httpserve.Run(ctx, 0, handler) })
	for _, m := range slices.Backward(middleware) {
		h = m(h)
	}
	return h
}

var errForeignContext = errors.New("a middleware passed on a context that does not derive from the one that it got")

// incoming is what a handler reads its message from.
type incoming struct {
	contentType string
	dataSchema  string
	body        []byte
}

// inflight is a message on its way through its handler; the context carries it.
type inflight struct {
	Message
	in       incoming
	answered bool  // of a call
	reply    reply // once it was
}

// reply is an encoded answer.
type reply struct {
	contentType string
	body        []byte
}

// inflightOf is the message of a context that has come through the middleware.
func inflightOf(ctx context.Context) (*inflight, error) {
	f, ok := ctx.Value(messageKey{}).(*inflight)
	if !ok {
		return nil, Permanent(errForeignContext) // a mistake in the program, which no repetition mends
	}
	return f, nil
}

type passageKey struct{}

// passage is a message on its way through the send middleware; the context carries it.
type passage struct {
	deliver func(ctx context.Context, e *Envelope) (Receipt, error)
}

// chainSends puts the middleware around what the passage of a context delivers; nil without any.
func chainSends(middleware []SendMiddleware) SendFunc {
	if len(middleware) == 0 {
		return nil
	}
	var send SendFunc = func(ctx context.Context, e *Envelope) (Receipt, error) {
		p, ok := ctx.Value(passageKey{}).(*passage)
		if !ok {
			return Receipt{}, fmt.Errorf("dispatch: message %s: %w, nothing was sent", e.ID, errForeignContext)
		}
		return p.deliver(ctx, e)
	}
	for _, m := range slices.Backward(middleware) {
		send = m(send)
	}
	return send
}

// sendThrough sends a message by way of the middleware.
func (d *Dispatcher) sendThrough(ctx context.Context, s Sender, out *outgoing) (Receipt, error) {
	if d.sending == nil {
		return s.send(ctx, out)
	}
	p := &passage{deliver: func(ctx context.Context, e *Envelope) (Receipt, error) {
		out.body, out.attributes = e.Body, e.Attributes
		return s.send(ctx, out)
	}}
	return d.sending(context.WithValue(ctx, passageKey{}, p), &Envelope{
		Version: EnvelopeVersion, ID: out.id, Route: out.route.name, Body: out.body, Attributes: out.attributes,
		OrderingKey: out.orderingKey, ScheduledFor: out.scheduled,
	})
}

// askThrough asks a question by way of the middleware.
func (d *Dispatcher) askThrough(ctx context.Context, r *route, id string, body []byte) (contentType string, answer []byte, err error) {
	asked := false
	p := &passage{deliver: func(ctx context.Context, e *Envelope) (Receipt, error) {
		var err error
		contentType, answer, err = d.roundTrip(ctx, r, id, e.Body, e.Attributes)
		asked = err == nil
		return Receipt{ID: id, Via: ViaHTTP}, err
	}}
	_, err = d.sending(context.WithValue(ctx, passageKey{}, p), &Envelope{
		Version: EnvelopeVersion, ID: id, Route: r.name, Body: body, Attributes: d.attributes(ctx, r, id, d.now()),
	})
	if err == nil && !asked {
		err = errors.New("a send middleware let the question go without asking it and without an error")
	}
	return contentType, answer, err
}
