package pubsub

import (
	"context"
	"slices"
	"sync"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/proto"

	"waybill.dev/emulator/internal/clock"
	"waybill.dev/emulator/internal/deliverylog"
)

// subscription drives a backlog: it guards it, tells it the time, and wakes who waits for it.
type subscription struct {
	service *Service
	name    string
	topic   *topic // nil once it is deleted; guarded by Service.mu
	filter  filter
	number  uint64 // what its topic publishes with higher numbers is the subscription's
	source  uint64 // its topic's number, also of one that is deleted

	mu      sync.Mutex
	config  *pubsubpb.Subscription // replaced, never changed in place; proto says its topic
	backlog *backlog
	waiting []*consumer // who found nothing to take, the longest first
	timer   *clock.Timer
	alarm   time.Time // when timer runs, zero if it does not
	pusher  *pusher   // nil unless it is a push subscription
	ended   error     // why nothing is delivered any more: deleted or detached
	erased  bool      // nothing of it goes into the store any more
	refused error     // why nothing is delivered under this configuration

	refusalLogged bool
	largest       int // bytes that the backlog has held, see releaseMemory
	activity      activity

	// pulls is done, for the reason in its cause, when the pulls and streams that are under way
	// must end. Where later ones are welcome, they get a new one.
	pulls    context.Context
	endPulls context.CancelCauseFunc

	deadLetterReports deliverylog.Reasons
}

func newSubscription(s *Service, t *topic, config *pubsubpb.Subscription, f filter) *subscription {
	sub := &subscription{
		service: s,
		name:    config.Name,
		topic:   t,
		filter:  f,
		config:  config,
		backlog: newBacklog(s.lastIncarnation.Add(1), settingsOf(config)),
	}
	sub.pulls, sub.endPulls = context.WithCancelCause(s.ctx)
	sub.refused = refusal(config)
	sub.pusher = newPusher(sub, config)
	sub.activity.last = s.clock.Now()
	sub.watchActivity()
	return sub
}

// begin makes t the topic, from what it publishes next on. The topic's lock is held.
func (s *subscription) begin(t *topic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.number, s.source = s.service.numbers.take(1), t.number
	s.backlog.number = s.number
	s.save()
	s.keepActivity()
}

// save stores the configuration. The lock is held.
func (s *subscription) save() {
	if !s.erased {
		s.service.journal.putSubscription(s)
	}
}

// erase takes the subscription out of the store.
func (s *subscription) erase() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erased = true
	s.service.journal.deleteSubscription(s)
}

// add appends published messages. The returned function is to be called without locks held.
func (s *subscription) add(publications []publication) (forward func()) {
	return s.locked(func(time.Time) {
		if s.ended != nil {
			return
		}
		for _, p := range publications {
			if s.filter.match(p.msg.GetAttributes()) {
				s.backlog.add(p)
			}
		}
		if s.refused != nil {
			s.warnRefused()
		}
	})
}

// update changes the backlog and then does what follows from the change. No lock may be held.
func (s *subscription) update(f func(now time.Time)) { s.locked(f)() }

// locked is update without the last step, which publishes to the dead-letter topic and is returned.
func (s *subscription) locked(f func(now time.Time)) (forward func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.service.clock.Now()
	s.backlog.expire(now)
	f(now)
	s.wake()
	paused := s.pusher.start(now)
	s.setAlarm(paused)
	s.releaseMemory()
	s.saveChanged()
	dead := s.backlog.takeDead()
	if len(dead) == 0 {
		return func() {}
	}
	policy := s.config.GetDeadLetterPolicy()
	return func() { s.forward(dead, policy) }
}

// saveChanged stores what has become of messages.
func (s *subscription) saveChanged() {
	changed := s.backlog.takeChanged()
	for _, p := range changed {
		p.save()
	}
	if len(changed) > 0 {
		s.service.journal.Flush()
	}
}

// wake tells the consumer that has waited longest of common messages, and everyone of its own.
// Who is woken takes, and by that wakes the next one if something is left.
func (s *subscription) wake() {
	common := s.backlog.ready.head != nil
	s.waiting = slices.DeleteFunc(s.waiting, func(c *consumer) bool {
		if !c.room() || c.own.head == nil && !common {
			return false
		}
		if c.own.head == nil {
			common = false
		}
		c.waiting = false
		select {
		case c.wake <- struct{}{}:
		default: // it has not yet seen an earlier one
		}
		return true
	})
}

// take leases up to n messages to c. If there are none, c will be woken when there are.
func (s *subscription) take(c *consumer, n int, deadline time.Duration) []delivery {
	var out []delivery
	s.update(func(now time.Time) {
		if s.ended != nil || s.refused != nil {
			return
		}
		s.touch(now)
		if deadline == 0 {
			deadline = time.Duration(s.config.AckDeadlineSeconds) * time.Second
		}
		out = s.backlog.take(c, n, maxResponseBytes, now.Add(deadline))
		if len(out) == 0 && !c.waiting {
			c.waiting = true
			s.waiting = append(s.waiting, c)
		}
	})
	return out
}

// leave ends a consumer and takes back what did not reach it. Its leases stay until they are
// acknowledged or over.
func (s *subscription) leave(c *consumer, unsent []delivery) {
	s.update(func(time.Time) {
		s.waiting = slices.DeleteFunc(s.waiting, func(w *consumer) bool { return w == c })
		for _, d := range unsent {
			s.backlog.giveBack(d.id)
		}
	})
}

// acknowledge acks and returns the indexes of the ids that were refused.
func (s *subscription) acknowledge(ids []ackID) (lapsed []int, err error) {
	s.update(func(now time.Time) {
		if err = s.ended; err != nil {
			return
		}
		s.touch(now)
		for i, id := range ids {
			if !s.backlog.ack(id) {
				lapsed = append(lapsed, i)
			}
		}
	})
	return lapsed, err
}

// modifyDeadlines moves each id's deadline to its seconds from now, and returns the indexes of
// the ids that were refused, rising.
func (s *subscription) modifyDeadlines(ids []ackID, seconds func(i int) int32) (lapsed []int, err error) {
	s.update(func(now time.Time) {
		if err = s.ended; err != nil {
			return
		}
		s.touch(now)
		for _, i := range s.backlog.latestFirst(ids) {
			if !s.backlog.modify(ids[i], time.Duration(seconds(i))*time.Second, now) {
				lapsed = append(lapsed, i)
			}
		}
	})
	slices.Sort(lapsed)
	return lapsed, err
}

// seek redelivers what is wanted and acknowledges everything else. Forgotten is by rising numbers;
// what the filter does not let through is left out. The returned function is as add's.
func (s *subscription) seek(wanted func(*publication) bool, forgotten []publication) (forward func(), err error) {
	forward = s.locked(func(now time.Time) {
		if err = s.ended; err != nil {
			return
		}
		s.touch(now)
		s.backlog.seek(func(p *publication) bool { return wanted(p) && s.filter.match(p.msg.GetAttributes()) }, forgotten, now)
	})
	return forward, err
}

// setAlarm makes timer run when the backlog or a paused pusher has something to do next. An alarm
// that is too early is left alone: it costs one run for nothing.
func (s *subscription) setAlarm(paused time.Time) {
	at := s.backlog.next()
	if !paused.IsZero() && (at.IsZero() || paused.Before(at)) {
		at = paused
	}
	if s.ended != nil || at.IsZero() || !s.alarm.IsZero() && !at.Before(s.alarm) {
		return
	}
	s.alarm = at
	if s.timer == nil {
		s.timer = s.service.clock.At(at, s.ring)
		return
	}
	s.timer.ResetTo(at)
}

func (s *subscription) ring() {
	s.update(func(time.Time) { s.alarm = time.Time{} })
}

// reconfigure replaces the configuration. A new push endpoint takes over from the old one, whose
// requests under way still count; pulls end when the subscription becomes a push subscription.
func (s *subscription) reconfigure(config *pubsubpb.Subscription) {
	s.update(func(now time.Time) {
		old := s.config
		s.config = config
		s.save()
		s.backlog.settings = settingsOf(config)
		if s.ended != nil {
			return
		}
		s.touch(now)
		s.watchActivity()
		refused := refusal(config)
		if proto.Equal(old.PushConfig, config.PushConfig) && (refused == nil) == (s.refused == nil) {
			return
		}
		s.refused, s.refusalLogged = refused, false
		before := s.pusher
		s.pusher = newPusher(s, config)
		before.retire()
		if err := s.unpullable(); err != nil {
			s.endPulls(err)
			s.pulls, s.endPulls = context.WithCancelCause(s.service.ctx)
		}
	})
}

// detach drops all messages and ends all deliveries for good; the subscription stays listed.
func (s *subscription) detach() error {
	s.mu.Lock()
	if s.ended != nil {
		defer s.mu.Unlock()
		return s.ended
	}
	config := proto.CloneOf(s.config)
	config.Detached = true
	s.config = config
	s.save()
	s.mu.Unlock()
	s.end(errDetached(s.name))
	return nil
}

// end stops all deliveries for the given reason, and lets go of the messages. Pushes under way are given up.
func (s *subscription) end(reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return
	}
	for n := s.backlog.arrivals.head; n != nil; n = n.next {
		n.entry.batch.letGo()
	}
	s.stop(reason)
}

// close is end, but what the subscription has stays in the store.
func (s *subscription) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended == nil {
		s.stop(errClosed())
	}
}

func (s *subscription) stop(reason error) {
	s.ended = reason
	s.endPulls(reason)
	if s.pusher != nil {
		s.pusher.cancel()
		s.pusher = nil
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	s.activity.stop()
	s.largest = max(s.largest, s.backlog.arrivals.bytes)
	s.backlog = newBacklog(s.service.lastIncarnation.Add(1), s.backlog.settings)
	s.releaseMemory()
}

// proto is the subscription as clients see it. Service.mu is held.
func (s *subscription) proto() *pubsubpb.Subscription {
	s.mu.Lock()
	shown := proto.CloneOf(s.config)
	s.mu.Unlock()
	if s.topic == nil {
		shown.Topic = deletedTopic
		return shown
	}
	shown.Topic = s.topic.name
	shown.TopicMessageRetentionDuration = s.topic.proto().MessageRetentionDuration
	return shown
}

// unpullable is why messages cannot be pulled, or nil. The lock is held.
func (s *subscription) unpullable() error {
	switch {
	case s.ended != nil:
		return s.ended
	case s.refused != nil:
		return s.refused
	case s.pusher != nil:
		return errWrongType()
	default:
		return nil
	}
}

// why is the reason for which the subscription has ended, or nil.
func (s *subscription) why() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// current is the configuration now.
func (s *subscription) current() *pubsubpb.Subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.config
}
