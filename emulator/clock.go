package emulator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"waybill.dev/emulator/internal/clock"
)

// ErrNothingDue is why [Emulator.Skip] did not move the clock.
var ErrNothingDue = errors.New("emulator: nothing is due")

// Now is the Emulator's time: the wall clock's, and what it was advanced by.
func (e *Emulator) Now() time.Time { return e.clock.Now() }

// Advance moves the Emulator's clock forward by d. What has become due by then is on its way when
// Advance returns; a negative d does nothing, and after 200 years in all the clock goes no further. ID tokens keep the wall clock's time, and requests
// that are on the wire keep the time that their deadline leaves them.
func (e *Emulator) Advance(d time.Duration) {
	e.clock.Advance(d)
	e.keepClock()
}

// NextDelivery is when the next task or message can be delivered that cannot now. It is false if there is none. See
// [Emulator.Skip] for what counts.
func (e *Emulator) NextDelivery() (time.Time, bool) {
	next, ok := e.tasks.NextDelivery()
	if t, also := e.topics.NextDelivery(); also && (!ok || t.Before(next)) {
		return t, true
	}
	return next, ok
}

// Skip moves the Emulator's clock to the next delivery, and returns the new time. What is due then is on its way.
//
// That is the first of these, in any queue and subscription: a task's schedule time or retry, the moment at which a
// queue's rate or a receiver's Retry-After lets the next task go, a message's retry, the end of a failed push endpoint's
// pause, and the end of an ack deadline, after which a message that was pulled can be pulled again. What only forgets
// something, as retention does, is passed over on the way. Tasks of a paused queue are not due.
//
// What a delivery on the wire will lead to is not known before it has ended. So Skip waits for all tasks and pushes
// that are on their way, as long as ctx allows: a test that has seen a failing request arrive may call Skip at once,
// and finds its retry. A receiver must not call it while it handles a delivery.
//
// When nothing is due, or nothing within that time from now, the clock stays and the error matches [ErrNothingDue];
// within 0 is any time. Of Google's own emulator behind Config.PubSubUpstream, Skip knows nothing.
func (e *Emulator) Skip(ctx context.Context, within time.Duration) (now time.Time, err error) {
	e.skipping.Lock()
	defer e.skipping.Unlock()
	if err := e.clock.Idle(ctx); err != nil {
		return e.Now(), fmt.Errorf("emulator: skip: deliveries are still on their way: %w", err)
	}
	next, ok := e.NextDelivery()
	switch wait := next.Sub(e.Now()); {
	case !ok, wait > clock.MaxOffset-e.clock.Offset():
		return e.Now(), ErrNothingDue
	case within > 0 && wait > within:
		return e.Now(), fmt.Errorf("%w within %v: the next delivery is in %v", ErrNothingDue, within, wait.Round(time.Millisecond))
	}
	e.clock.AdvanceTo(next)
	e.keepClock()
	return e.Now(), nil
}
