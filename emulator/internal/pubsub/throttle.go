package pubsub

import "time"

// The push throttle's range. The service documents a backoff of 100 milliseconds to 60 seconds
// and a slow start; the curves between are not documented, so they are Waybill's.
const (
	minPushBackoff = 100 * time.Millisecond
	maxPushBackoff = time.Minute
	startWindow    = 4
)

// throttle is the pure state machine by which a push subscription spares its endpoint: how many
// requests may be out, and until when none may start. It is apart from the messages' own retry policy.
type throttle struct {
	window      int // most requests at a time
	limit       int // most that window grows to
	failures    int // in a row, those of one round counted once
	pausedUntil time.Time
}

func newThrottle(limit int) throttle { return throttle{window: min(startWindow, limit), limit: limit} }

// open reports whether a request may start now, given how many are out.
func (t *throttle) open(now time.Time, out int) bool {
	return out < t.window && !now.Before(t.pausedUntil)
}

// succeeded ends a request that was acknowledged. The window grows by one, and so doubles in the
// time that all its requests take; the pause is over.
func (t *throttle) succeeded() {
	t.window = min(t.window+1, t.limit)
	t.failures = 0
	t.pausedUntil = time.Time{}
}

// failed ends a request that was not acknowledged and that started at the given time. Of the
// requests that were out together only the first counts.
func (t *throttle) failed(now, started time.Time) {
	if started.Before(t.pausedUntil) {
		return
	}
	t.window = max(t.window/2, 1)
	t.failures++
	pause := maxPushBackoff
	if n := t.failures - 1; n < 10 {
		pause = min(minPushBackoff<<n, maxPushBackoff)
	}
	t.pausedUntil = now.Add(pause)
}
