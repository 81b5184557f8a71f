package pubsub

import (
	"context"
	"crypto/rand"
	"maps"
	"strings"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// snapshot finds a snapshot by its name. It is called with s.mu held.
func (s *Service) snapshot(name string) (*snapshot, error) {
	if err := checkSnapshotName(name); err != nil {
		return nil, err
	}
	snap := s.snapshots[name]
	if snap == nil {
		return nil, notFound(name)
	}
	return snap, nil
}

// CreateSnapshot implements google.pubsub.v1.Subscriber. Without a name it makes one up.
func (s *Service) CreateSnapshot(_ context.Context, req *pubsubpb.CreateSnapshotRequest) (*pubsubpb.Snapshot, error) {
	return durable(s, func() (*pubsubpb.Snapshot, error) { return s.snapshotOf(req) })
}

func (s *Service) snapshotOf(req *pubsubpb.CreateSnapshotRequest) (*pubsubpb.Snapshot, error) {
	name := req.GetName()
	if name != "" {
		if err := checkSnapshotName(name); err != nil {
			return nil, err
		}
	}
	if err := checkLabels(req.GetLabels()); err != nil {
		return nil, err
	}
	sub, err := s.subscription(req.GetSubscription())
	if err != nil {
		return nil, err
	}
	if name == "" {
		name = "projects/" + project(sub.name) + "/snapshots/snapshot-" + strings.ToLower(rand.Text())
	}
	created, forward, err := s.createSnapshot(name, sub, maps.Clone(req.GetLabels()))
	forward()
	return created, err
}

// createSnapshot returns a function that is to be called in any case.
func (s *Service) createSnapshot(name string, sub *subscription, labels map[string]string) (_ *pubsubpb.Snapshot, forward func(), _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.subscriptions[sub.name] != sub:
		return nil, func() {}, notFound(sub.name)
	case s.snapshots[name] != nil:
		return nil, func() {}, alreadyExists(name)
	}
	snap, forward, err := s.newSnapshot(name, sub, labels)
	if err != nil {
		return nil, forward, err
	}
	s.snapshots[name] = snap
	return snap.proto(), forward, nil
}

// GetSnapshot implements google.pubsub.v1.Subscriber.
func (s *Service) GetSnapshot(_ context.Context, req *pubsubpb.GetSnapshotRequest) (*pubsubpb.Snapshot, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	snap, err := s.snapshot(req.GetSnapshot())
	if err != nil {
		return nil, err
	}
	return snap.proto(), nil
}

// ListSnapshots implements google.pubsub.v1.Subscriber.
func (s *Service) ListSnapshots(_ context.Context, req *pubsubpb.ListSnapshotsRequest) (*pubsubpb.ListSnapshotsResponse, error) {
	if err := checkProjectName(req.GetProject()); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	names, next, err := page(namesIn(s.snapshots, req.GetProject()), req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	resp := &pubsubpb.ListSnapshotsResponse{NextPageToken: next}
	for _, name := range names {
		resp.Snapshots = append(resp.Snapshots, s.snapshots[name].proto())
	}
	return resp, nil
}

// ListTopicSnapshots implements google.pubsub.v1.Publisher.
func (s *Service) ListTopicSnapshots(_ context.Context, req *pubsubpb.ListTopicSnapshotsRequest) (*pubsubpb.ListTopicSnapshotsResponse, error) {
	t, err := s.topic(req.GetTopic())
	if err != nil {
		return nil, err
	}
	var names []string
	t.mu.Lock()
	for _, snap := range t.snapshots {
		names = append(names, snap.name)
	}
	t.mu.Unlock()
	names, next, err := page(names, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &pubsubpb.ListTopicSnapshotsResponse{Snapshots: names, NextPageToken: next}, nil
}

// UpdateSnapshot implements google.pubsub.v1.Subscriber. Only labels can be changed.
func (s *Service) UpdateSnapshot(_ context.Context, req *pubsubpb.UpdateSnapshotRequest) (*pubsubpb.Snapshot, error) {
	return durable(s, func() (*pubsubpb.Snapshot, error) { return s.updateSnapshot(req) })
}

func (s *Service) updateSnapshot(req *pubsubpb.UpdateSnapshotRequest) (*pubsubpb.Snapshot, error) {
	if err := checkMask(req.GetSnapshot(), req.GetUpdateMask(), "UpdateSnapshotRequest", "Snapshot", "labels"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	snap, err := s.snapshot(req.GetSnapshot().GetName())
	if err != nil {
		return nil, err
	}
	config := proto.CloneOf(snap.config)
	applyMask(config, req.GetSnapshot(), req.GetUpdateMask())
	if err := checkLabels(config.Labels); err != nil {
		return nil, err
	}
	snap.config = config
	s.journal.putSnapshot(snap)
	return snap.proto(), nil
}

// DeleteSnapshot implements google.pubsub.v1.Subscriber.
func (s *Service) DeleteSnapshot(_ context.Context, req *pubsubpb.DeleteSnapshotRequest) (*emptypb.Empty, error) {
	return durable(s, func() (*emptypb.Empty, error) { return s.deleteSnapshot(req) })
}

func (s *Service) deleteSnapshot(req *pubsubpb.DeleteSnapshotRequest) (*emptypb.Empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	snap, err := s.snapshot(req.GetSnapshot())
	if err != nil {
		return nil, err
	}
	s.dropSnapshot(snap)
	return &emptypb.Empty{}, nil
}

// Seek implements google.pubsub.v1.Subscriber.
func (s *Service) Seek(_ context.Context, req *pubsubpb.SeekRequest) (*pubsubpb.SeekResponse, error) {
	return durable(s, func() (*pubsubpb.SeekResponse, error) { return s.seekTo(req) })
}

func (s *Service) seekTo(req *pubsubpb.SeekRequest) (*pubsubpb.SeekResponse, error) {
	sub, err := s.subscription(req.GetSubscription())
	if err != nil {
		return nil, err
	}
	forward, err := s.seek(sub, req)
	if err != nil {
		return nil, err
	}
	forward()
	return &pubsubpb.SeekResponse{}, nil
}

func (s *Service) seek(sub *subscription, req *pubsubpb.SeekRequest) (forward func(), err error) {
	s.mu.RLock() // the subscription's topic, and snapshots
	defer s.mu.RUnlock()
	switch target := req.GetTarget().(type) {
	case *pubsubpb.SeekRequest_Time:
		if err := target.Time.CheckValid(); err != nil {
			return nil, invalid("An invalid time was specified in the SeekRequest. See definition of Timestamp.")
		}
		return s.seekToTime(sub, target.Time.AsTime())
	case *pubsubpb.SeekRequest_Snapshot:
		snap, err := s.snapshot(target.Snapshot)
		if err != nil {
			return nil, err
		}
		return s.restore(sub, snap)
	default:
		return nil, status.Error(codes.InvalidArgument, "No target was specified in the SeekRequest. Must specify either a time or a snapshot")
	}
}
