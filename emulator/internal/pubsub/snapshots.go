package pubsub

import (
	"slices"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waybill.dev/emulator/internal/clock"
)

const (
	snapshotLifetime    = 7 * 24 * time.Hour // less the age of the oldest message in it
	minSnapshotLifetime = time.Hour          // what would live shorter is refused
)

// snapshot is the state of a subscription at one moment: what was unacknowledged then, and by its
// number everything that was published later.
type snapshot struct {
	name    string
	topic   *topic             // nil once it is deleted; guarded by Service.mu
	config  *pubsubpb.Snapshot // replaced, never changed in place; guarded by Service.mu
	ordered bool               // the subscription delivered in order
	expiry  *clock.Timer

	backlog []publication // by rising numbers
	seq     uint64        // the topic's messages above this number belong to the snapshot
	source  uint64        // the topic's number
}

// proto is the snapshot as clients see it. Service.mu is held.
func (s *snapshot) proto() *pubsubpb.Snapshot {
	if s.topic != nil {
		return s.config
	}
	shown := proto.CloneOf(s.config)
	shown.Topic = deletedTopic
	return shown
}

// newSnapshot takes a snapshot of sub. Service.mu is held. The returned function is to be called
// without locks held, also after an error.
func (s *Service) newSnapshot(name string, sub *subscription, labels map[string]string) (_ *snapshot, forward func(), _ error) {
	snap := &snapshot{name: name, topic: sub.topic, source: sub.source}
	if t := sub.topic; t != nil { // nothing is published between the backlog and the number
		t.mu.Lock()
		defer t.mu.Unlock()
	}
	now := s.clock.Now()
	lifetime := snapshotLifetime
	var err error
	forward = sub.locked(func(time.Time) {
		if err = sub.ended; err != nil {
			return
		}
		sub.touch(now)
		snap.ordered = sub.config.EnableMessageOrdering
		snap.backlog = sub.backlog.unacknowledged()
		for i := range snap.backlog {
			snap.backlog[i].batch.hold()
		}
		snap.seq = s.numbers.take(1)
	})
	if err != nil {
		return nil, forward, err
	}
	if len(snap.backlog) > 0 {
		lifetime -= now.Sub(snap.backlog[0].published())
	}
	if lifetime < minSnapshotLifetime {
		snap.letGo()
		return nil, forward, status.Error(codes.FailedPrecondition, "The snapshot would live for less than an hour: the oldest unacknowledged message of the subscription is too old. Acknowledge it or seek past it first.")
	}
	snap.config = &pubsubpb.Snapshot{Name: name, Topic: sub.current().Topic, ExpireTime: timestamppb.New(now.Add(lifetime)), Labels: labels}
	if t := sub.topic; t != nil {
		snap.config.Topic = t.name
		t.snapshots = append(t.snapshots, snap)
	}
	s.expireSnapshot(snap)
	s.journal.putSnapshot(snap)
	return snap, forward, nil
}

// expireSnapshot sets the timer of a snapshot.
func (s *Service) expireSnapshot(snap *snapshot) {
	snap.expiry = s.clock.At(snap.config.ExpireTime.AsTime(), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.dropSnapshot(snap)
		s.journal.Flush()
	})
}

// letGo lets go of the messages.
func (s *snapshot) letGo() {
	for i := range s.backlog {
		s.backlog[i].batch.letGo()
	}
	s.backlog = nil
}

// dropSnapshot ends a snapshot, unless it has ended. Service.mu is held.
func (s *Service) dropSnapshot(snap *snapshot) {
	if s.snapshots[snap.name] != snap {
		return
	}
	delete(s.snapshots, snap.name)
	snap.expiry.Stop()
	s.journal.deleteSnapshot(snap.name)
	s.deletePolicy(snap.name)
	if snap.topic != nil {
		snap.topic.forget(snap)
	}
	snap.letGo()
}

// restore seeks sub to a snapshot of its topic. Service.mu is held.
func (s *Service) restore(sub *subscription, snap *snapshot) (forward func(), err error) {
	if ended := sub.why(); ended != nil {
		return nil, ended
	}
	if sub.topic == nil || sub.topic != snap.topic {
		return nil, status.Errorf(codes.FailedPrecondition, "The subscription's topic %s is different from that of the snapshot %s; they must match in order for Seek work. Note that if a topic is deleted and then re-created with the same name, it is considered a distinct topic for these purposes.",
			sub.proto().Topic, snap.proto().Topic)
	}
	if sub.current().EnableMessageOrdering && !snap.ordered {
		return nil, status.Error(codes.FailedPrecondition, "Subscriptions with ordering keys enabled cannot be seeked to snapshots of subscriptions without ordering keys enabled, as it may cause out-of-order redelivery.")
	}
	t := sub.topic
	t.mu.Lock()
	defer t.mu.Unlock()
	part := make(map[uint64]bool, len(snap.backlog))
	for i := range snap.backlog {
		part[snap.backlog[i].seq] = true
	}
	wanted := func(p *publication) bool { return p.seq > snap.seq || part[p.seq] }
	return sub.seek(wanted, slices.Concat(snap.backlog, t.history.after(snap.seq)))
}

// seekToTime seeks sub to a time: messages that its topic retains come back too. Service.mu is held.
func (s *Service) seekToTime(sub *subscription, at time.Time) (forward func(), err error) {
	wanted := func(p *publication) bool { return !p.published().Before(at) }
	t := sub.topic
	if t == nil {
		return sub.seek(wanted, nil)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.trim(s.clock.Now())
	var retained []publication
	if d := t.config.MessageRetentionDuration; d != nil { // older ones may be there for a snapshot
		retained = t.history.since(s.clock.Now().Add(-d.AsDuration()))
	}
	return sub.seek(wanted, retained)
}
