package dispatch

import "reflect"

// Task is a route to one receiver, later: a message of type M by Cloud Tasks.
// Declare it with [NewTask], send it with [Send], receive it with [Handle].
type Task[M any] struct {
	*route
	_ [0]M // keeps a conversion between tasks of different messages from compiling
}

// NewTask declares a task for one receiver. [From] is required: only the services named there may send it.
//
// Without [Retry] a task is tried 10 times, 1 second to 10 minutes apart; without [Deadline] its handler has 30 seconds.
func NewTask[M any](to *Service, name string, options ...TaskOption) *Task[M] {
	r := newRoute(KindTask, to, name)
	for _, o := range options {
		o.applyTask(r)
	}
	r.adopt()
	setCodec[M](r)
	r.register()
	return &Task[M]{route: r}
}

// Event is a route to many receivers, later: a message of type M on a Pub/Sub topic, of which each subscription
// gets a copy of its own. Declare it with [NewEvent], send it with [Send]; receivers handle a [Subscription].
type Event[M any] struct {
	*route
	orderBy func(M) string
}

// NewEvent declares an event of owner's: only owner may send it.
func NewEvent[M any](owner *Service, name string, options ...EventOption[M]) *Event[M] {
	e := &Event[M]{route: newRoute(KindEvent, owner, name)}
	e.from = []*Service{owner}
	for _, o := range options {
		o.applyEvent(e)
	}
	setCodec[M](e.route)
	e.register()
	return e
}

// Subscription is one receiver's copy of an event, by Pub/Sub push. Declare it with [Event.To], receive it with [Handle].
type Subscription[M any] struct {
	*route
	of *Event[M]
}

// To declares that a service gets a copy of each of the event's messages. The name is the subscription's.
//
// Without [Retry] a message is tried 10 times, 1 second to 10 minutes apart; without [Deadline] its handler has 30 seconds.
func (e *Event[M]) To(receiver *Service, name string, options ...SubscriptionOption) *Subscription[M] {
	r := newRoute(KindSubscription, receiver, name)
	r.event, r.codec, r.schema, r.ceType = e.route, e.codec, e.schema, e.ceType
	if e.app != nil {
		r.app = e.app // the event's app is where a receiver of another app must be noticed
	}
	r.from = []*Service{e.to}
	for _, o := range options {
		o.applySubscription(r)
	}
	r.register()
	return &Subscription[M]{route: r, of: e}
}

// Call is a route to one receiver, now, with a reply: a question Q and an answer R by authenticated HTTP.
// Declare it with [NewCall], make it with [Request], receive it with [Answer].
type Call[Q, R any] struct {
	*route
	replyCodec Codec
	_          [0]Q
	_          [0]R
}

// NewCall declares a call. [From] is required: only the services named there may make it.
//
// Without [Retry] only what certainly did not run is repeated; without [Deadline] a call has 30 seconds, retries included.
func NewCall[Q, R any](to *Service, name string, options ...CallOption) *Call[Q, R] {
	r := newRoute(KindCall, to, name)
	for _, o := range options {
		o.applyCall(r)
	}
	r.adopt()
	setCodec[Q](r)
	c := &Call[Q, R]{route: r}
	if r.app != nil {
		c.replyCodec = codecFor[R](r.app.codecs)
	}
	r.register()
	return c
}

// Route is what [Send] takes: a [Task] or an [Event] of messages of type M. It is sealed.
type Route[M any] interface {
	Carrier[M]
	outbound(M) (r *route, orderingKey string)
}

func (t *Task[M]) outbound(M) (*route, string) { return t.route, "" }

func (e *Event[M]) outbound(m M) (*route, string) {
	if e.orderBy == nil {
		return e.route, ""
	}
	return e.route, e.orderBy(m)
}

// Inbound is what [Handle] takes: a [Task] or a [Subscription] of messages of type M. It is sealed.
type Inbound[M any] interface {
	Carrier[M]
	inbound(M) *route
}

func (t *Task[M]) inbound(M) *route { return t.route }

func (s *Subscription[M]) inbound(M) *route { return s.route }

// setCodec picks the codec that a route's messages travel in.
func setCodec[M any](r *route) {
	if r.app == nil {
		return
	}
	r.codec = codecFor[M](r.app.codecs)
	r.schema = r.app.schemas[reflect.TypeFor[M]()]
}
