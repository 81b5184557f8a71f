package dispatch

import "time"

// TaskOption is an option of [NewTask]: [From], [Retry], [Deadline], [Expires], [Rate], [Alias], [Path].
type TaskOption interface{ applyTask(*route) }

// EventOption is an option of [NewEvent] for messages of type M: [OrderBy].
type EventOption[M any] interface{ applyEvent(*Event[M]) }

// SubscriptionOption is an option of [Event.To]: [Retry], [Deadline], [Expires], [Alias], [Path].
type SubscriptionOption interface{ applySubscription(*route) }

// CallOption is an option of [NewCall]: [From], [Retry], [Deadline], [Alias], [Path].
type CallOption interface{ applyCall(*route) }

// FromOption names who may send. See [From].
type FromOption struct{ services []*Service }

// From declares who may send a task or make a call. Whoever is not named is refused twice: before the message
// leaves, and by the receiver with 403. There is no default and no wildcard.
func From(first *Service, more ...*Service) FromOption {
	return FromOption{services: append([]*Service{first}, more...)}
}

func (o FromOption) applyTask(r *route) { r.from = append(r.from, o.services...) }
func (o FromOption) applyCall(r *route) { r.from = append(r.from, o.services...) }

// Retry declares how often and how far apart a message is tried. A zero field has its default.
//
// On a call it also declares that the call may be repeated: that answering it twice does no harm.
// Without it, only what certainly did not run is repeated: a refused connection, 429, and a 503 that Waybill's
// own receiver marked as safe.
type Retry struct {
	// MaxAttempts counts deliveries, the first one and those that found nobody too. After the last failure a task or an event goes to the route's dead
	// letters. Default 10; for a call 3. At most 95 for a subscription, whose platform counts 100.
	MaxAttempts int
	// MinBackoff is the wait after the first failure; it doubles from there. Default 1 s; for a call 100 ms.
	MinBackoff time.Duration
	// MaxBackoff is the longest wait. Default 10 min; for a call 5 s. At most 10 min for a subscription.
	MaxBackoff time.Duration
}

func (o Retry) applyTask(r *route)         { r.retry = &o }
func (o Retry) applySubscription(r *route) { r.retry = &o }
func (o Retry) applyCall(r *route)         { r.retry = &o }

// Deadline declares how long one run of the handler may take; its context ends then. Default 30 s.
// Cloud Tasks and Pub/Sub wait 5 seconds longer, so the longest is 29 min 55 s for a task and 595 s for a subscription.
//
// On a call it spans the caller's retries too, and as an option of [Request] it may shorten the declared one. What is left
// of the caller's time crosses the wire, and the handler's context ends no later. It goes on with the requests that the
// handler makes, and never with what it sends: a task or an event has its own route's deadline.
type Deadline time.Duration

func (o Deadline) applyTask(r *route)         { r.deadline = time.Duration(o) }
func (o Deadline) applySubscription(r *route) { r.deadline = time.Duration(o) }
func (o Deadline) applyCall(r *route)         { r.deadline = time.Duration(o) }

// Path puts the receiving endpoint somewhere else than /_waybill/KIND/NAME.
type Path string

func (o Path) applyTask(r *route)         { r.path = string(o) }
func (o Path) applySubscription(r *route) { r.path = string(o) }
func (o Path) applyCall(r *route)         { r.path = string(o) }

// OrderByOption gives an event its ordering key. See [OrderBy].
type OrderByOption[M any] struct{ key func(M) string }

// OrderBy has messages with the same key delivered in the order of their sending, one at a time per subscription.
// An empty key is an error of [Send]; a key has 1024 bytes at most. Pub/Sub takes 1 MB/s per key.
// A message that goes to the dead letters frees its key for the next one.
func OrderBy[M any](key func(M) string) OrderByOption[M] { return OrderByOption[M]{key: key} }

func (o OrderByOption[M]) applyEvent(e *Event[M]) {
	if o.key == nil {
		e.problem("dispatch.OrderBy got no function; pass one that returns the message's key")
		return
	}
	e.orderBy, e.ordered = o.key, true
}
