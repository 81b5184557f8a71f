package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Carrier is whatever carries messages of type M: a [Task], an [Event], a [Subscription], or a [Call] with its questions.
// It is sealed.
type Carrier[M any] interface {
	Name() string
	carried() (r *route, orderBy func(M) string) // no function: no order
}

func (t *Task[M]) carried() (*route, func(M) string) { return t.route, nil }

func (e *Event[M]) carried() (*route, func(M) string) { return e.route, e.orderBy }

func (s *Subscription[M]) carried() (*route, func(M) string) {
	if s.of == nil {
		return s.route, nil
	}
	return s.route, s.of.orderBy
}

func (c *Call[Q, R]) carried() (*route, func(Q) string) { return c.route, nil }

// Encode makes the Envelope of a message that the route's first declared sender sends now, and sends nothing. It makes the
// checks of [Send] but for the transport's. waybill.dev/dispatch/dispatchtest delivers with it where there is no sender.
func Encode[M any](ctx context.Context, to Carrier[M], message M, now time.Time, options ...SendOption) (Envelope, error) {
	r, orderBy := to.carried()
	if len(r.from) == 0 || r.from[0] == nil || r.app == nil {
		return Envelope{}, fmt.Errorf("dispatch: %w: nobody may send %s; see App.Validate", ErrNotDeclared, r)
	}
	from := newDispatcher(r.from[0], Config{Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }})
	out, err := from.prepare(ctx, r, options)
	if err != nil {
		return Envelope{}, err
	}
	body, err := r.codec.Marshal(message)
	if err != nil {
		return Envelope{}, fmt.Errorf("dispatch: %s: the message cannot be encoded: %w", r, err)
	}
	e := Envelope{
		Version: EnvelopeVersion, ID: out.id, Route: r.name, Body: body, Attributes: out.attributes, ScheduledFor: out.scheduled,
	}
	if orderBy != nil {
		e.OrderingKey = orderBy(message)
	}
	return e, nil
}

// Decode reads the message of an Envelope as its receiver does, of whatever declared version it is. It goes by the Body
// and the Attributes.
func Decode[M any](from Carrier[M], e Envelope) (M, error) {
	r, _ := from.carried()
	if r.codec == nil {
		var message M
		return message, errors.New("dispatch: the route has no service; see App.Validate")
	}
	message, err := read[M](r, &incoming{e.Attributes[attrContentType], e.Attributes[attrDataSchema], e.Body})
	if err != nil {
		err = fmt.Errorf("dispatch: %s: %w", r, err)
	}
	return message, err
}
