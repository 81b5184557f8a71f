package dispatchtest

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"waybill.dev/dispatch"
	"waybill.dev/internal/names"
)

// Outcome is how an attempt ended.
type Outcome string

// The outcomes.
const (
	Done    Outcome = "done"                 // the handler returned nil; of a call: the caller has its reply
	Again   Outcome = "to be tried again"    // it was not acknowledged
	Died    Outcome = "dead"                 // the message is among the dead letters
	Expired Outcome = "dropped as expired"   // see dispatch.Expires
	Failed  Outcome = "answered by an error" // of a call; whether it is repeated is its caller's decision
	pending Outcome = "not answered yet"     // while the handler runs
)

// Attempt is one attempt to deliver a message, or to make a call.
type Attempt struct {
	Route   string    // its name
	ID      string    // the message's
	Number  int       // from 1; a duplicate has that of its original
	At      time.Time // when it began, by the bench's clock
	Status  int       // the HTTP status of the answer; 0 if there was none
	Outcome Outcome
	// Err is what the handler returned, as its outermost dispatch.Middleware sees it; nil too if it did not run.
	Err error

	envelope dispatch.Envelope
	expired  bool
	buried   bool
}

// String is for a test's messages.
func (a Attempt) String() string {
	text := fmt.Sprintf("%s attempt %d: %d, %s", a.Route, a.Number, a.Status, a.Outcome)
	if a.Err != nil {
		text += ": " + a.Err.Error()
	}
	return text
}

// conclude sets the outcome of a delivery, and reports whether the message has come to its end.
func (a *Attempt) conclude(acknowledged bool) bool {
	switch {
	case !acknowledged:
		a.Outcome = Again
	case a.buried:
		a.Outcome = Died
	case a.expired:
		a.Outcome = Expired
	default:
		a.Outcome = Done
	}
	return acknowledged
}

// begin records an attempt. The caller holds mu.
func (b *Bench) begin(route *dispatch.RouteInfo, e dispatch.Envelope, number int) *Attempt {
	a := &Attempt{Route: route.Name, ID: e.ID, Number: number, At: b.clock.now(), Outcome: pending, envelope: e}
	b.attempts = append(b.attempts, a)
	return a
}

// attemptKey is where the context of a request has its Attempt. What is real passes it on without knowing.
type attemptKey struct{}

// keepError is the outermost middleware of every handler.
func (b *Bench) keepError(next dispatch.HandlerFunc) dispatch.HandlerFunc {
	return func(ctx context.Context) error {
		err := next(ctx)
		b.note(ctx, func(a *Attempt) { a.Err = err })
		return err
	}
}

// note changes the Attempt of a request's context.
func (b *Bench) note(ctx context.Context, change func(*Attempt)) {
	if a, ok := ctx.Value(attemptKey{}).(*Attempt); ok {
		b.mu.Lock()
		defer b.mu.Unlock()
		change(a)
	}
}

// Deliver hands a message to its receiver at once, as the route's first declared sender would, and returns what became of this
// attempt. What is to be tried again waits for its time, as if it had been sent.
//
// The receiver must be open, the sender need not; a message that others wait for, by its ordering key or a Retry-After, goes ahead.
// It is not among what was [Sent], and a Key makes its ID without being looked at.
func Deliver[M any](b *Bench, to dispatch.Inbound[M], message M, options ...dispatch.SendOption) Attempt {
	b.t.Helper()
	name := b.received(to, "Deliver")
	info := b.routes.byName[name]
	e, err := dispatch.Encode(b.t.Context(), to, message, b.clock.now(), options...)
	if err != nil {
		b.t.Fatalf("dispatchtest: Deliver: %v", err)
	}
	d := b.handOver(info, e)
	if d == nil {
		b.t.Fatalf("dispatchtest: Deliver: service %q, which receives %q, is not open; open it on the bench", info.To, name)
	}
	a := b.deliver(d)
	b.mu.Lock()
	defer b.mu.Unlock()
	return *a
}

// handOver makes a delivery that is under way, or nil if the receiver is not open.
func (b *Bench) handOver(info *dispatch.RouteInfo, e dispatch.Envelope) *delivery {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.services[info.To] == nil {
		return nil
	}
	b.sequence++
	d := b.copyFor(info, e, strconv.Itoa(b.sequence))
	if info.Kind == dispatch.KindTask {
		d.account, d.url = b.account(info.From[0]), b.env.Service(b.app, info.To).URL+info.Path
		d.name.queue = names.Queue(project, location, b.env.Resource(b.app, info.Name))
	}
	d.busy = true
	b.waiting = append(b.waiting, d)
	return d
}

// Attempts lists the attempts at a task, a subscription or a call, in their order.
func (b *Bench) Attempts(r Named) []Attempt {
	b.t.Helper()
	name := b.received(r, "Attempts")
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []Attempt
	for _, a := range b.attempts {
		if a.Route == name {
			list = append(list, *a)
		}
	}
	return list
}

// Waiting is how many messages of a task or a subscription are still to be delivered.
func (b *Bench) Waiting(r Named) int {
	b.t.Helper()
	name := b.received(r, "Waiting")
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, d := range b.waiting {
		if d.route.Name == name {
			n++
		}
	}
	return n
}

// RequireNoDead ends the test if there are dead letters, and says which.
func (b *Bench) RequireNoDead() {
	b.t.Helper()
	b.mu.Lock()
	var list strings.Builder
	for _, r := range b.dead {
		fmt.Fprintf(&list, "\n  %s, message %s: %s", r.route, r.envelope.ID, cause(r.envelope.Attributes))
	}
	b.mu.Unlock()
	if list.Len() > 0 {
		b.t.Fatalf("dispatchtest: there are dead letters:%s", list.String())
	}
}
