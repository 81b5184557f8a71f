package dispatchtest

import (
	"context"
	"sync"
	"time"
)

// clock is the bench's: a bubble's time, or one of its own.
type clock interface {
	now() time.Time
	// wait moves the time to t, or in a bubble until wake has an element.
	wait(t time.Time, wake <-chan struct{})
	// within returns a context that ends once d has passed on a clock of the bench's own. In a bubble every deadline is on
	// the bubble's clock anyway.
	within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc)
}

// firstYear is after every bubble's time, which starts at midnight UTC of 2000-01-01 (testing/synctest), and before the real one.
const firstYear = 2025

func newClock() clock {
	now := time.Now()
	if now.UTC().Year() < firstYear {
		return bubbleClock{}
	}
	return &ownClock{time: now.UTC().Round(0).Truncate(time.Microsecond), deadlines: map[*deadline]struct{}{}}
}

// bubbleClock is the time of the bubble that the test runs in.
type bubbleClock struct{}

func (bubbleClock) now() time.Time { return time.Now().UTC().Round(0) }

func (bubbleClock) wait(t time.Time, wake <-chan struct{}) {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	}
}

func (bubbleClock) within(ctx context.Context, _ time.Duration) (context.Context, context.CancelFunc) {
	return ctx, func() {}
}

// ownClock stands still unless it is moved.
type ownClock struct {
	mu        sync.Mutex
	time      time.Time
	deadlines map[*deadline]struct{}
}

type deadline struct {
	at  time.Time
	end context.CancelCauseFunc
}

func (c *ownClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.time
}

func (c *ownClock) wait(t time.Time, _ <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.After(c.time) {
		c.time = t
	}
	for d := range c.deadlines {
		if !d.at.After(c.time) {
			d.end(context.DeadlineExceeded)
		}
	}
}

func (c *ownClock) within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	entry := &deadline{c.time.Add(d), end}
	c.deadlines[entry] = struct{}{}
	return ctx, func() {
		end(context.Canceled)
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.deadlines, entry)
	}
}
