package pubsub

import (
	"log/slog"
	"time"

	"waybill.dev/emulator/internal/clock"
)

// activity keeps a subscription from expiring: it is deleted once it has not been active for its
// policy's ttl. Open streams, pulls, acknowledgements, successful pushes and operations that change
// the subscription are activity; messages that arrive, and reading its configuration, are not. The
// subscription's lock guards it.
type activity struct {
	last    time.Time
	kept    time.Time // in the store, as the last one
	streams int       // open ones: while there are any, the subscription is active
	timer   *clock.Timer
}

func (a *activity) stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
}

// activityStep is how exactly the store knows of activity.
const activityStep = minExpiration / 24

// touch records activity. The lock is held, as for all of these.
func (s *subscription) touch(now time.Time) {
	s.activity.last = now
	if now.Sub(s.activity.kept) >= activityStep {
		s.keepActivity()
	}
}

func (s *subscription) keepActivity() {
	if s.erased {
		return
	}
	s.activity.kept = s.activity.last
	s.service.journal.putActivity(s)
	s.service.journal.Flush()
}

// openStream and closeStream count the streams. They take the lock.
func (s *subscription) openStream() {
	s.update(func(time.Time) { s.activity.streams++ })
}

func (s *subscription) closeStream() {
	s.update(func(now time.Time) {
		s.activity.streams--
		s.touch(now)
	})
}

// watchActivity sets the timer to when the subscription would expire, if nothing happens meanwhile.
// Activity does not move it: it looks when it runs.
func (s *subscription) watchActivity() {
	ttl := s.config.GetExpirationPolicy().GetTtl().AsDuration()
	switch {
	case ttl <= 0 || s.ended != nil:
		s.activity.stop()
	case s.activity.timer == nil:
		s.activity.timer = s.service.clock.At(s.activity.last.Add(ttl), s.lapse)
	default:
		s.activity.timer.ResetTo(s.activity.last.Add(ttl))
	}
}

// lapse deletes the subscription if it has been inactive for long enough.
func (s *subscription) lapse() {
	s.service.mu.Lock()
	defer s.service.mu.Unlock()
	if s.service.subscriptions[s.name] != s || !s.lapsed() {
		return
	}
	s.service.remove(s)
	s.service.journal.Flush()
	s.service.logger.Info("a subscription was deleted: it had not been active for its expiration_policy's ttl", slog.String("subscription", s.name))
}

// lapsed reports whether the time is over, and otherwise waits for it again.
func (s *subscription) lapsed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.service.clock.Now()
	ttl := s.config.GetExpirationPolicy().GetTtl().AsDuration()
	if s.activity.streams > 0 {
		s.touch(now)
	}
	if ttl > 0 && !now.Before(s.activity.last.Add(ttl)) {
		return true
	}
	s.watchActivity()
	return false
}
