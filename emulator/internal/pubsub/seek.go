package pubsub

import "time"

// seek makes those messages undelivered again that are wanted, and acknowledges all others.
// Outstanding leases are over, and attempts count anew, as on Google's emulator: who replays what was exhausted wants it
// tried again. Forgotten holds messages that the backlog may not have any more, by
// rising numbers; of them it takes those that are wanted, and retains them from now on.
func (b *backlog) seek(wanted func(*publication) bool, forgotten []publication, now time.Time) {
	var all []*entry
	for n := b.arrivals.head; n != nil; n = n.next {
		all = append(all, n.entry)
	}
	var kept []*entry
	for _, e := range all {
		acknowledged := e.state == acked
		b.uproot(e)
		if !acknowledged || b.retainAcked { // otherwise it was only kept for the order of its key
			kept = append(kept, e)
		}
	}
	clear(b.out)
	clear(b.keys)
	b.sought = b.lastLease

	var back []*entry
	for i := range forgotten {
		if wanted(&forgotten[i]) {
			e := newEntry(forgotten[i])
			e.restored = now
			back = append(back, e)
		}
	}
	for _, e := range merge(kept, back, func(e **entry) uint64 { return (*e).seq }) {
		switch {
		case wanted(&e.publication):
			e.state = queued
			b.arrivals.push(&e.arrival)
			b.enqueue(e)
		case b.retainAcked:
			b.arrivals.push(&e.arrival)
		}
	}
	b.noteSeek(all)
	for _, e := range all {
		if e.arrival.list == nil {
			e.batch.letGo()
		}
	}
}

// uproot takes e out of everything, as if it were done.
func (b *backlog) uproot(e *entry) {
	if e.state == leased {
		b.endLease(e)
	}
	b.timers.clear(e)
	e.turn.unlink()
	e.inKey.unlink()
	e.arrival.unlink()
	e.key = nil
	e.failures = 0
	e.state = acked
}

// unacknowledged lists the messages that are not done, by rising numbers.
func (b *backlog) unacknowledged() []publication {
	var out []publication
	for n := b.arrivals.head; n != nil; n = n.next {
		if n.entry.state != acked {
			out = append(out, n.entry.publication)
		}
	}
	return out
}
