package cloudtasks

import "time"

// NextDelivery is when the next attempt is due, whether by its schedule, its retry or the queue's limits. It knows
// nothing of what will follow from attempts that are on the wire.
func (e *Engine) NextDelivery() (next time.Time, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, q := range e.queues {
		if q.timer == nil {
			continue
		}
		if due, waits := q.timer.Due(); waits && (!ok || due.Before(next)) {
			next, ok = due, true
		}
	}
	return next, ok
}

// Tasks is how many tasks there are, in all queues.
func (e *Engine) Tasks() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, q := range e.queues {
		n += q.tasks.Len()
	}
	return n
}

// Drain starts no more attempts. Those under way go on until [Engine.Close]; calls are answered as before.
func (e *Engine) Drain() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	for _, q := range e.queues {
		e.disarm(q)
	}
}
