package dispatch

import (
	"context"
	"fmt"
	"time"
)

// EnvelopeVersion is the version of the envelopes that this package makes.
const EnvelopeVersion = 1

// Envelope is a message that [Send] has checked, encoded and given its ID, in a form that can be kept in a row of a
// database and sent later, by another process and another build. [Deferred] makes it, [Dispatcher.Forward] sends it.
//
// Every field must come back as it was. New versions only add to it, and Forward sends those of all versions up to its
// own: a service that is rolled out relays what its predecessor kept.
type Envelope struct {
	Version      int               // [EnvelopeVersion] of the package that made it
	ID           string            // the message's ID: 36 characters, a UUID
	Route        string            // the name of the task or event, at most 40 characters
	Body         []byte            // encoded; up to 10 MB for an event, 1 MB for a task
	Attributes   map[string]string // what travels beside the body: CloudEvents, content type, trace; ASCII mostly, always UTF-8
	OrderingKey  string            // of an event with [OrderBy]: its key, at most 1024 bytes; empty otherwise
	ScheduledFor time.Time         // of a task with [After] or [At]: its time; zero otherwise
}

// Deferred returns a Sender that sends nothing: [Send] makes all its checks, gives the message its ID and encodes it, and
// then calls keep, whose error it returns. The receipt has the ID under which the message will be delivered, and no Name.
//
// It is what an outbox is made of, see waybill.dev/dispatch/outbox. Whoever keeps envelopes calls [Dispatcher.Forward] with
// each until it succeeds, in their order where the OrderingKey is the same.
func Deferred(d *Dispatcher, keep func(context.Context, Envelope) error) Sender {
	return &deferred{d: d, keep: keep}
}

type deferred struct {
	d    *Dispatcher
	keep func(context.Context, Envelope) error
}

func (s *deferred) dispatcher() *Dispatcher { return s.d }

// send keeps a message. What the transport would refuse is refused now: later there is nobody to tell.
func (s *deferred) send(ctx context.Context, out *outgoing) (Receipt, error) {
	r := out.route
	if !s.d.outbound.enter() {
		return Receipt{}, fmt.Errorf("dispatch: %s: %w, nothing was kept; send before Close or Shutdown", r, ErrClosed)
	}
	defer s.d.outbound.leave()
	out.keyed = true
	if err := s.d.acceptable(out); err != nil {
		return Receipt{}, fmt.Errorf("dispatch: %s, message %s: %w", r, out.id, translate(err))
	}
	err := s.keep(ctx, Envelope{
		Version: EnvelopeVersion, ID: out.id, Route: r.name, Body: out.body, Attributes: out.attributes,
		OrderingKey: out.orderingKey, ScheduledFor: out.scheduled,
	})
	if err != nil {
		return Receipt{}, fmt.Errorf("dispatch: %s, message %s: it was not kept: %w", r, out.id, err)
	}
	return Receipt{ID: out.id, Via: r.kind.via(), ScheduledFor: out.scheduled}, nil
}

// acceptable checks a message as its transport will, without sending it.
func (d *Dispatcher) acceptable(out *outgoing) error {
	if out.route.kind == KindTask {
		return d.tasks.Check(d.taskOf(out))
	}
	if err := out.leavesRoom(); err != nil {
		return err
	}
	return d.pubsub.Check(d.topics[out.route], out.event())
}

// Forward sends a kept message, and returns once Google has accepted it. It may be called again with the same Envelope
// after any failure, a crash included: a task is named by the hash of its ID, so a second one is dropped and the receipt says
// Duplicate; an event is published again with the same ID, which an inbox recognises.
//
// The contracts that count are this build's: [ErrNotDeclared] says that they have no such route any more, or that this service
// may not send it. [ErrEnvelope], [ErrNotDeclared], [ErrOption], [ErrTooLarge] and [ErrClosed] mean that nothing has left.
func (d *Dispatcher) Forward(ctx context.Context, e Envelope) (Receipt, error) {
	if d == nil {
		return Receipt{}, fmt.Errorf("dispatch: message %s: there is no Dispatcher to send it; pass the one that Open returned", e.ID)
	}
	if err := e.validate(); err != nil {
		return Receipt{}, err
	}
	r := d.outboundRoute(e.Route)
	if r == nil {
		return Receipt{}, fmt.Errorf("dispatch: message %s: %w: the contracts of %s have no task or event %q; it was removed or renamed while the message was waiting: declare it again until it is sent, or discard the message",
			e.ID, ErrNotDeclared, d.service, e.Route)
	}
	if err := d.permit(ctx, r); err != nil {
		return Receipt{}, err
	}
	if r.ordered && e.OrderingKey == "" {
		return Receipt{}, fmt.Errorf("dispatch: %w: %s, message %s: the route is ordered and the envelope has no key; it was kept before dispatch.OrderBy was declared, discard it and send it anew", ErrEnvelope, r, e.ID)
	}
	out := &outgoing{
		route: r, id: e.ID, keyed: true, body: e.Body, attributes: e.Attributes,
		orderingKey: e.OrderingKey, scheduled: e.ScheduledFor,
	}
	if !r.ordered {
		out.orderingKey = "" // the declaration no longer orders
	}
	if r.kind != KindTask && !e.ScheduledFor.IsZero() {
		return Receipt{}, fmt.Errorf("dispatch: %w: %s, message %s is for %s, and events cannot be delayed; was the route a task?", ErrOption, r, e.ID, e.ScheduledFor.Format(time.RFC3339))
	}
	return d.send(ctx, out)
}

func (e *Envelope) validate() error {
	switch {
	case e.Version < 1 || e.Version > EnvelopeVersion:
		return fmt.Errorf("dispatch: %w: message %s has version %d, and this build sends 1 to %d; let the newer build send it", ErrEnvelope, e.ID, e.Version, EnvelopeVersion)
	case e.ID == "" || e.Route == "" || e.Attributes[attrID] != e.ID:
		return fmt.Errorf("dispatch: %w: message %q for route %q lacks its ID, its route or its attributes; keep every field of an Envelope as it is", ErrEnvelope, e.ID, e.Route)
	}
	return nil
}

// outboundRoute finds a task or an event by its name, or nil.
func (d *Dispatcher) outboundRoute(name string) *route {
	for _, r := range d.service.app.declared() {
		if r.name == name && (r.kind == KindTask || r.kind == KindEvent) {
			return r
		}
	}
	return nil
}
