package pubsub

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	leastNumber = 1e16 // of 17 digits, as the service's message ids
	// numbersAhead is how many numbers are reserved at a time: as many as a second has.
	numbersAhead = 10_000_000
)

// numbers gives numbers to messages, topics, subscriptions and schemas. Each is given once, and they rise, over restarts too:
// by the clock, and, should that be behind, by what the store says.
type numbers struct {
	journal journal
	last    atomic.Uint64 // that was given

	mu       sync.Mutex
	reserved uint64 // what the store is told that may be given
}

// start is called once, before any number is given. The store's reservation is 0 if there is none.
func (n *numbers) start(now time.Time, reserved uint64) {
	n.last.Store(max(uint64(now.UnixMicro())*10, leastNumber, reserved)) //nolint:gosec // after 1970
}

// take gives so many numbers, which follow each other, and returns the last.
func (n *numbers) take(count int) uint64 {
	last := n.last.Add(uint64(count)) //nolint:gosec // never negative
	n.reserve(last)
	return last
}

// reserve sees to it that the store is told of a number before of anything that has it.
func (n *numbers) reserve(number uint64) {
	if n.journal.Store == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if number+numbersAhead/2 <= n.reserved { // early, so that what nobody waits for is mostly on the disk
		return
	}
	n.reserved = number + numbersAhead
	n.journal.putNumbers(n.reserved)
}

// again tells a store that has been emptied.
func (n *numbers) again() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.reserved > 0 {
		n.journal.putNumbers(n.reserved)
	}
}
