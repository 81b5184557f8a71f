package pubsub

import (
	"time"
)

// NextDelivery is when a message that is not deliverable now will be, in any subscription: its retry is due, its ack
// deadline is over, or its endpoint's pause is. Retention and expiration are no deliveries. It knows nothing of what
// will follow from pushes that are on the wire.
func (s *Service) NextDelivery() (next time.Time, ok bool) {
	for _, sub := range s.all() {
		if at := sub.nextDelivery(); !at.IsZero() && (!ok || at.Before(next)) {
			next, ok = at, true
		}
	}
	return next, ok
}

// Unacknowledged is how many messages wait or are out, those of each subscription counted for themselves.
func (s *Service) Unacknowledged() int {
	n := 0
	for _, sub := range s.all() {
		n += sub.unacknowledged()
	}
	return n
}

// Drain starts no more pushes. Those under way go on until [Service.Close]; pulls and streams are served as before.
func (s *Service) Drain() { s.draining.Store(true) }

func (s *Service) all() []*subscription {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]*subscription, 0, len(s.subscriptions))
	for _, sub := range s.subscriptions {
		all = append(all, sub)
	}
	return all
}

func (s *subscription) nextDelivery() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return time.Time{}
	}
	at := s.backlog.nextTurn()
	if paused := s.pusher.paused(s.service.clock.Now()); !paused.IsZero() && (at.IsZero() || paused.Before(at)) {
		at = paused
	}
	return at
}

func (s *subscription) unacknowledged() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for node := s.backlog.arrivals.head; node != nil; node = node.next {
		if node.entry.state != acked {
			n++
		}
	}
	return n
}

// nextTurn is when the first lease or delay ends, the zero time for never.
func (b *backlog) nextTurn() time.Time {
	if len(b.timers) == 0 {
		return time.Time{}
	}
	return b.timers[0].due
}

// paused is when an endpoint that has failed may be pushed to again, if that alone holds a message back.
func (p *pusher) paused(now time.Time) time.Time {
	if p == nil || !p.throttle.pausedUntil.After(now) || !p.sub.backlog.deliverable(p.consumer) {
		return time.Time{}
	}
	return p.throttle.pausedUntil
}
