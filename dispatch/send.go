package dispatch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"waybill.dev/pubsub"
	"waybill.dev/tasks"
)

// Sender is what [Send] sends through: a [Dispatcher], or one that keeps the message for later, such as an outbox bound to
// a transaction (see [Deferred]). It is sealed.
type Sender interface {
	dispatcher() *Dispatcher
	send(context.Context, *outgoing) (Receipt, error)
}

// SendOption is an option of [Send]: [Key], [After], [At], [Expires].
type SendOption interface{ applySend(*sendOptions) }

type sendOptions struct {
	keyed, delayed, timed bool // which of them were given

	key     string
	after   time.Duration
	at      time.Time
	expires *Expires
}

// Key makes sending again harmless. It makes the message's ID, so the same key on the same route is the same message.
//
// A task with a key that was sent before is accepted and dropped, and its receipt says Duplicate. Waybill promises that for
// one hour after the task has ended; Cloud Tasks remembers names for up to 24 hours. An event with a key only has a stable ID:
// Pub/Sub delivers each copy, and the receivers must recognise the ID.
type Key string

func (o Key) applySend(s *sendOptions) { s.keyed, s.key = true, string(o) }

// After has a task delivered no sooner than this much later, 30 days at most. Events cannot be delayed.
type After time.Duration

func (o After) applySend(s *sendOptions) { s.delayed, s.after = true, time.Duration(o) }

// At has a task delivered no sooner than this time, 30 days ahead at most; a time in the past means now.
// Events cannot be delayed.
type At time.Time

func (o At) applySend(s *sendOptions) { s.timed, s.at = true, time.Time(o) }

// Receipt says what Google has accepted.
type Receipt struct {
	ID           string    // the message's ID, the same at the receiver
	Via          Via       // how it travels
	Name         string    // the task's full name, or the Pub/Sub message's id; empty for what was kept to be sent later
	Duplicate    bool      // a task with this key was there already, perhaps from this very Send, whose answer was lost; this one was dropped
	ScheduledFor time.Time // of a task with After or At: its time; zero otherwise, and for a duplicate
}

// String is for logs: what was accepted, and under which name.
func (r Receipt) String() string {
	text := fmt.Sprintf("message %s by %s as %s", r.ID, r.Via, r.Name)
	if r.Name == "" {
		text = fmt.Sprintf("message %s by %s, kept to be sent", r.ID, r.Via)
	}
	if r.Duplicate {
		text += ", a duplicate that was dropped"
	}
	if !r.ScheduledFor.IsZero() {
		text += ", for " + r.ScheduledFor.Format(time.RFC3339)
	}
	return text
}

// outgoing is a message that is ready to leave.
type outgoing struct {
	route       *route
	id          string
	keyed       bool
	body        []byte
	attributes  map[string]string
	orderingKey string
	scheduled   time.Time
}

// Send sends a message on a route, later to be delivered at least once to each of its receivers. It returns once
// Google has accepted the message.
//
// An error means that the message was not accepted, except for [ErrAmbiguous]. What is safe to repeat is repeated with
// backoff, a few times and no longer than ctx lasts: with a [Key], and whatever was refused before it left.
// [ErrNotDeclared], [ErrOption], [ErrTooLarge] and [ErrClosed] mean that nothing has left.
func Send[M any](ctx context.Context, s Sender, to Route[M], message M, options ...SendOption) (Receipt, error) {
	r, orderingKey := to.outbound(message)
	if s == nil {
		return Receipt{}, fmt.Errorf("dispatch: %s: there is no Dispatcher to send it; pass the one that Open returned", r)
	}
	d := s.dispatcher()
	if err := d.permit(ctx, r); err != nil {
		return Receipt{}, err
	}
	out, err := d.prepare(ctx, r, options)
	if err != nil {
		return Receipt{}, err
	}
	if r.ordered && orderingKey == "" {
		return Receipt{}, fmt.Errorf("dispatch: %s is ordered and this message's key is empty; return one for each message from its OrderBy function, nothing was sent", r)
	}
	out.orderingKey = orderingKey
	if out.body, err = r.codec.Marshal(message); err != nil {
		return Receipt{}, fmt.Errorf("dispatch: %s: the message cannot be encoded, nothing was sent: %w", r, err)
	}
	return d.sendThrough(ctx, s, out)
}

// prepare gives a message its ID, time and attributes.
func (d *Dispatcher) prepare(ctx context.Context, r *route, options []SendOption) (*outgoing, error) {
	var o sendOptions
	for _, option := range options {
		option.applySend(&o)
	}
	now := d.now()
	out := &outgoing{route: r, keyed: o.keyed}
	var err error
	if out.scheduled, err = o.schedule(r, now); err != nil {
		return nil, err
	}
	if o.keyed {
		if o.key == "" {
			return nil, fmt.Errorf("dispatch: %w: %s: an empty Key would make every message the same one; leave it out or give one", ErrOption, r)
		}
		out.id = keyedID(r.app.name, r.name, o.key)
	} else if out.id, err = newID(); err != nil {
		return nil, err
	}
	expiry, err := o.expiry(r, now, out.scheduled)
	if err != nil {
		return nil, err
	}
	out.attributes = d.attributes(ctx, r, out.id, now)
	if !expiry.IsZero() {
		out.attributes[attrExpiry] = expiry.UTC().Format(time.RFC3339Nano)
	}
	return out, nil
}

// schedule is when the message is to be delivered; zero for at once.
func (o *sendOptions) schedule(r *route, now time.Time) (time.Time, error) {
	if !o.delayed && !o.timed {
		return time.Time{}, nil
	}
	var at time.Time
	switch {
	case r.kind != KindTask:
		return at, fmt.Errorf("dispatch: %w: %s cannot be delayed, since Pub/Sub delivers at once; send a task for later", ErrOption, r)
	case o.delayed && o.timed:
		return at, fmt.Errorf("dispatch: %w: %s has both After and At; give one of them", ErrOption, r)
	case o.timed:
		at = o.at
	case o.after < 0:
		return at, fmt.Errorf("dispatch: %w: %s: After(%v) is in the past; leave it out for now", ErrOption, r, o.after)
	default:
		at = now.Add(o.after)
	}
	if ahead := at.Sub(now); ahead > maxDelay {
		return time.Time{}, fmt.Errorf("dispatch: %w: %s is for %v ahead, and Cloud Tasks keeps it for 30 days at most; send it later", ErrOption, r, ahead.Round(time.Hour))
	}
	return at, nil
}

// maxDelay is how far ahead a task may be scheduled.
const maxDelay = 30 * 24 * time.Hour

func (d *Dispatcher) dispatcher() *Dispatcher { return d }

// send hands a message to its transport.
func (d *Dispatcher) send(ctx context.Context, out *outgoing) (Receipt, error) {
	if !d.outbound.enter() {
		return Receipt{}, fmt.Errorf("dispatch: %s: %w, nothing was sent; send before Close or Shutdown", out.route, ErrClosed)
	}
	defer d.outbound.leave()
	receipt := Receipt{ID: out.id, Via: out.route.kind.via()}
	var err error
	if out.route.kind == KindTask {
		err = d.enqueue(ctx, out, &receipt)
	} else {
		err = d.publish(ctx, out, &receipt)
	}
	if err != nil {
		return Receipt{}, fmt.Errorf("dispatch: %s, message %s: %w", out.route, out.id, translate(err))
	}
	return receipt, nil
}

func (d *Dispatcher) enqueue(ctx context.Context, out *outgoing, receipt *Receipt) error {
	accepted, err := d.tasks.Enqueue(ctx, d.taskOf(out))
	if err != nil {
		return err
	}
	receipt.Name, receipt.Duplicate = accepted.Name, accepted.Duplicate
	if !accepted.Duplicate {
		receipt.ScheduledFor = out.scheduled
	}
	return nil
}

// taskOf is a message as a task. A key gives it a name, by the hash of the message's ID.
func (d *Dispatcher) taskOf(out *outgoing) tasks.Task {
	to := d.tasksTo[out.route]
	t := to.task // a copy
	t.Queue = queueOf(out.id, to.queues)
	t.Header, t.Body, t.ScheduleTime = out.attributes, out.body, out.scheduled
	if out.keyed {
		t.Key = out.id
	}
	return t
}

func (d *Dispatcher) publish(ctx context.Context, out *outgoing, receipt *Receipt) error {
	if err := out.leavesRoom(); err != nil {
		return err
	}
	id, err := d.pubsub.Publish(ctx, d.topics[out.route], out.event())
	receipt.Name = id
	return err
}

func (out *outgoing) event() pubsub.Message {
	return pubsub.Message{Data: out.body, Attributes: out.attributes, OrderingKey: out.orderingKey}
}

// leavesRoom checks that an event's dead letter could be kept, which has more attributes.
func (out *outgoing) leavesRoom() error {
	size := len(out.body) + len(out.orderingKey)
	for name, value := range out.attributes {
		size += len(name) + len(value)
	}
	if size > pubsub.MaxRequestSize-deadLetterRoom {
		return fmt.Errorf("%w: it has %d bytes with its attributes, and an event %d at most, so that its dead letter can be kept; store it and send where it is, nothing was sent",
			ErrTooLarge, size, pubsub.MaxRequestSize-deadLetterRoom)
	}
	return nil
}

// translate joins this package's sentinels to the transports', so that errors.Is needs one package only.
func translate(err error) error {
	switch {
	case errors.Is(err, tasks.ErrTooLarge), errors.Is(err, pubsub.ErrTooLarge):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case errors.Is(err, ErrAmbiguous): // whatever else it is, something may have left
		return err
	case errors.Is(err, tasks.ErrClosed), errors.Is(err, pubsub.ErrClosed):
		return fmt.Errorf("%w: %w", ErrClosed, err)
	case status.Code(err) == codes.NotFound:
		return fmt.Errorf("what the contracts need is not there; run what calls dispatch/deploy's Create: %w", err)
	}
	return err
}
