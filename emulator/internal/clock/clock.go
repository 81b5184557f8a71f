// Package clock is the emulator's own time: the wall clock plus an offset that only grows.
//
// All timers of one Clock stand in one heap behind a single runtime timer, so a million
// tasks that wait for next week cost memory and nothing else, and [Clock.Advance] can move
// past any of them at once. Inside a testing/synctest bubble the Clock follows the bubble's time.
//
// Callbacks run one at a time, in the order of their due times, on a goroutine of the
// runtime's. They must not block: take a lock, change state, start a goroutine for the rest.
package clock

import (
	"container/heap"
	"sync"
	"time"
)

// MaxOffset is how far a Clock can be moved, in all: 200 years. Beyond 2262, times no longer fit into 64 bits of nanoseconds.
const MaxOffset = 200 * 365 * 24 * time.Hour

// Clock is a source of time and timers. Use [New]; a Clock must not be copied.
type Clock struct {
	mu      sync.Mutex
	offset  time.Duration
	timers  timerHeap
	seq     uint64
	wake    *time.Timer
	closed  bool
	moved   func(offset time.Duration)
	running sync.Mutex // held while callbacks run, so that they never overlap

	busy int           // between Begin and End
	idle chan struct{} // closed when busy becomes 0; nil: nobody waits
}

// New returns a Clock that shows the wall clock's time until it is advanced.
func New() *Clock { return &Clock{} }

// Now is the Clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now()
}

func (c *Clock) now() time.Time { return time.Now().Add(c.offset) }

// Timer is a callback that waits for its time. Use [Clock.AfterFunc].
type Timer struct {
	clock *Clock
	due   time.Time
	seq   uint64 // first come, first run among timers that are due at the same instant
	index int    // in the heap; -1 when it is not waiting
	f     func()
}

// AfterFunc calls f once d has passed on this Clock; with d <= 0, at once.
func (c *Clock) AfterFunc(d time.Duration, f func()) *Timer {
	t := &Timer{clock: c, index: -1, f: f}
	t.Reset(d)
	return t
}

// At calls f at the time at; what is past is now. Unlike [Clock.AfterFunc], which adds to the time at which it is called, it
// is exact: when the Clock is advanced to at, f runs.
func (c *Clock) At(at time.Time, f func()) *Timer {
	t := &Timer{clock: c, index: -1, f: f}
	t.ResetTo(at)
	return t
}

// Reset makes the timer run d from now, whether it waits, has run or was stopped.
// It reports whether it was waiting. On a closed Clock it does nothing.
func (t *Timer) Reset(d time.Duration) bool {
	return t.reset(func(now time.Time) time.Time { return now.Add(max(d, 0)) })
}

// ResetTo is [Timer.Reset] to the time at; what is past is now.
func (t *Timer) ResetTo(at time.Time) bool {
	return t.reset(func(now time.Time) time.Time {
		if at.Before(now) {
			return now
		}
		return at
	})
}

func (t *Timer) reset(due func(now time.Time) time.Time) bool {
	c := t.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	waiting := t.index >= 0
	if c.closed {
		return waiting
	}
	t.due = due(c.now())
	c.seq++
	t.seq = c.seq
	if waiting {
		heap.Fix(&c.timers, t.index)
	} else {
		heap.Push(&c.timers, t)
	}
	c.rearm()
	return waiting
}

// Stop keeps the timer from running. It reports whether it did: false means that the callback
// has run, is running, or was stopped before.
func (t *Timer) Stop() bool {
	c := t.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.index < 0 {
		return false
	}
	heap.Remove(&c.timers, t.index)
	return true
}

// Advance moves the Clock forward by d and runs every callback that has become due, also those
// that the callbacks themselves add, before it returns. A negative d is ignored: time never goes back. Nor does it go
// beyond [MaxOffset].
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	c.move(d)
	c.mu.Unlock()
	c.runDue()
}

// AdvanceTo moves the Clock forward to t as [Clock.Advance] does. What is past is ignored.
func (c *Clock) AdvanceTo(t time.Time) {
	c.mu.Lock()
	c.move(t.Sub(c.now()))
	c.mu.Unlock()
	c.runDue()
}

// move adds to the offset. The caller holds c.mu.
func (c *Clock) move(d time.Duration) {
	if d = min(d, MaxOffset-c.offset); d <= 0 {
		return
	}
	c.offset += d
	if c.moved != nil {
		c.moved(c.offset)
	}
}

// OnMove sets a function that is told each new offset before anybody sees a time by it. It must not block or use the Clock.
func (c *Clock) OnMove(f func(offset time.Duration)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moved = f
}

// Offset is what the Clock has been advanced by.
func (c *Clock) Offset() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.offset
}

// Due is when the timer's callback will run. It is false unless the timer waits.
func (t *Timer) Due() (time.Time, bool) {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	return t.due, t.index >= 0
}

// Next is the time at which the next callback is due.
func (c *Clock) Next() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.timers) == 0 {
		return time.Time{}, false
	}
	return c.timers[0].due, true
}

// Close drops every timer and waits for a running callback. Later timers never run.
// It must not be called from a callback.
func (c *Clock) Close() {
	c.mu.Lock()
	c.closed = true
	for _, t := range c.timers {
		t.index = -1
	}
	c.timers = nil
	if c.wake != nil {
		c.wake.Stop()
	}
	c.mu.Unlock()
	c.running.Lock()
	defer c.running.Unlock()
}

// runDue runs the callbacks that are due, one after the other.
func (c *Clock) runDue() {
	c.running.Lock()
	defer c.running.Unlock()
	for {
		c.mu.Lock()
		if len(c.timers) == 0 || c.timers[0].due.After(c.now()) {
			c.rearm()
			c.mu.Unlock()
			return
		}
		t := heap.Pop(&c.timers).(*Timer)
		c.mu.Unlock()
		t.f()
	}
}

// rearm points the one runtime timer at the first due time. The caller holds c.mu.
func (c *Clock) rearm() {
	if c.closed || len(c.timers) == 0 {
		return
	}
	d := c.timers[0].due.Sub(c.now())
	if c.wake == nil {
		c.wake = time.AfterFunc(d, c.runDue)
		return
	}
	c.wake.Reset(d)
}

// timerHeap orders timers by due time, then by arrival.
type timerHeap []*Timer

func (h timerHeap) Len() int { return len(h) }

func (h timerHeap) Less(i, j int) bool {
	if h[i].due.Equal(h[j].due) {
		return h[i].seq < h[j].seq
	}
	return h[i].due.Before(h[j].due)
}

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *timerHeap) Push(x any) {
	t := x.(*Timer)
	t.index = len(*h)
	*h = append(*h, t)
}

func (h *timerHeap) Pop() any {
	old := *h
	last := len(old) - 1
	t := old[last]
	old[last] = nil
	*h = old[:last]
	t.index = -1
	return t
}
