package pubsub

import (
	"context"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Snapshots are not emulated yet: each method says so.

// GetSnapshot implements google.pubsub.v1.Subscriber.
func (s *Service) GetSnapshot(context.Context, *pubsubpb.GetSnapshotRequest) (*pubsubpb.Snapshot, error) {
	return nil, unimplemented("snapshots")
}

// ListSnapshots implements google.pubsub.v1.Subscriber.
func (s *Service) ListSnapshots(context.Context, *pubsubpb.ListSnapshotsRequest) (*pubsubpb.ListSnapshotsResponse, error) {
	return nil, unimplemented("snapshots")
}

// CreateSnapshot implements google.pubsub.v1.Subscriber.
func (s *Service) CreateSnapshot(context.Context, *pubsubpb.CreateSnapshotRequest) (*pubsubpb.Snapshot, error) {
	return nil, unimplemented("snapshots")
}

// UpdateSnapshot implements google.pubsub.v1.Subscriber.
func (s *Service) UpdateSnapshot(context.Context, *pubsubpb.UpdateSnapshotRequest) (*pubsubpb.Snapshot, error) {
	return nil, unimplemented("snapshots")
}

// DeleteSnapshot implements google.pubsub.v1.Subscriber.
func (s *Service) DeleteSnapshot(context.Context, *pubsubpb.DeleteSnapshotRequest) (*emptypb.Empty, error) {
	return nil, unimplemented("snapshots")
}

// ListTopicSnapshots implements google.pubsub.v1.Publisher.
func (s *Service) ListTopicSnapshots(context.Context, *pubsubpb.ListTopicSnapshotsRequest) (*pubsubpb.ListTopicSnapshotsResponse, error) {
	return nil, unimplemented("snapshots")
}
