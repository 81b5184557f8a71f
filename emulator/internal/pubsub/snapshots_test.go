package pubsub

import (
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	snapName  = "projects/p/snapshots/before"
	otherName = "projects/p/subscriptions/other"
)

func createSnapshot(t *testing.T, s *Service) *pubsubpb.Snapshot {
	t.Helper()
	return must(t, s.CreateSnapshot, &pubsubpb.CreateSnapshotRequest{Name: snapName, Subscription: subName})
}

func seekTo(t *testing.T, s *Service, sub, snapshot string) {
	t.Helper()
	must(t, s.Seek, &pubsubpb.SeekRequest{Subscription: sub, Target: &pubsubpb.SeekRequest_Snapshot{Snapshot: snapshot}})
}

func seekTime(t *testing.T, s *Service, sub string, at time.Time) {
	t.Helper()
	must(t, s.Seek, &pubsubpb.SeekRequest{Subscription: sub, Target: &pubsubpb.SeekRequest_Time{Time: timestamppb.New(at)}})
}

// A snapshot keeps what was unacknowledged when it was taken, and what is published later, though
// both are acknowledged meanwhile and the subscription retains neither.
func TestSeekToASnapshot(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, nil)
		publish(t, s, "a", "b", "c")
		got := pull(t, s, "a", "b", "c")
		ack(t, s, got[1])
		createSnapshot(t, s)
		ack(t, s, got[0], got[2])
		time.Sleep(time.Hour)
		publish(t, s, "d")
		ack(t, s, pull(t, s, "d")...)
		pull(t, s)

		seekTo(t, s, subName, snapName)
		got = pull(t, s, "a", "c", "d")
		ack(t, s, got...)
		pull(t, s)
		seekTo(t, s, subName, snapName) // any number of times
		pull(t, s, "a", "c", "d")

		// Another subscription of the topic, younger than the snapshot.
		createSubscription(t, s, func(sub *pubsubpb.Subscription) { sub.Name = otherName })
		pullFrom(t, s, otherName)
		seekTo(t, s, otherName, snapName)
		pullFrom(t, s, otherName, "a", "c", "d")
	})
}

// What the snapshot does not hold is acknowledged by the seek.
func TestSeekToASnapshotAcknowledges(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, nil)
		createSubscription(t, s, func(sub *pubsubpb.Subscription) { sub.Name = otherName })
		publish(t, s, "a", "b")
		ack(t, s, pull(t, s, "a", "b")[0])
		createSnapshot(t, s)
		publish(t, s, "c")
		seekTo(t, s, otherName, snapName)
		pullFrom(t, s, otherName, "b", "c")
	})
}

func TestSeekToASnapshotThroughAFilter(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, nil)
		createSubscription(t, s, func(sub *pubsubpb.Subscription) { sub.Name, sub.Filter = otherName, "attributes:k" })
		send := func(data string, attributes map[string]string) {
			must(t, s.Publish, &pubsubpb.PublishRequest{Topic: topicName, Messages: []*pubsubpb.PubsubMessage{{Data: []byte(data), Attributes: attributes}}})
		}
		k := map[string]string{"k": ""}
		send("a", k)
		send("b", nil)
		createSnapshot(t, s)
		send("c", k)
		send("d", nil)
		seekTo(t, s, otherName, snapName)
		pullFrom(t, s, otherName, "a", "c")
	})
}

func TestSnapshotLifecycle(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, nil)
		snap := createSnapshot(t, s)
		if want := time.Now().Add(7 * 24 * time.Hour); snap.Name != snapName || snap.Topic != topicName || !snap.ExpireTime.AsTime().Equal(want) {
			t.Fatalf("created %v, to expire at %v", snap, want)
		}
		_, err := s.CreateSnapshot(t.Context(), &pubsubpb.CreateSnapshotRequest{Name: snapName, Subscription: subName})
		checkStatus(t, err, codes.AlreadyExists, "resource=before")
		random := must(t, s.CreateSnapshot, &pubsubpb.CreateSnapshotRequest{Subscription: subName, Labels: map[string]string{"a": "b"}, Tags: map[string]string{"1/x": "y"}})
		if !strings.HasPrefix(random.Name, "projects/p/snapshots/") || random.Labels["a"] != "b" {
			t.Fatalf("created %v", random)
		}

		updated := must(t, s.UpdateSnapshot, &pubsubpb.UpdateSnapshotRequest{
			Snapshot:   &pubsubpb.Snapshot{Name: snapName, Labels: map[string]string{"c": "d"}},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"labels"}},
		})
		got := must(t, s.GetSnapshot, &pubsubpb.GetSnapshotRequest{Snapshot: snapName})
		if updated.Labels["c"] != "d" || got.Labels["c"] != "d" || !got.ExpireTime.AsTime().Equal(snap.ExpireTime.AsTime()) {
			t.Errorf("updated to %v, got %v", updated, got)
		}
		var names []string
		for token := ""; ; {
			page := must(t, s.ListSnapshots, &pubsubpb.ListSnapshotsRequest{Project: "projects/p", PageSize: 1, PageToken: token})
			names = append(names, page.Snapshots[0].Name)
			if token = page.NextPageToken; token == "" {
				break
			}
		}
		if diff := cmp.Diff([]string{snapName, random.Name}, names); diff != "" {
			t.Errorf("listed (-want +got):\n%s", diff)
		}
		ofTopic := must(t, s.ListTopicSnapshots, &pubsubpb.ListTopicSnapshotsRequest{Topic: topicName})
		if diff := cmp.Diff([]string{snapName, random.Name}, ofTopic.Snapshots); diff != "" {
			t.Errorf("listed of the topic (-want +got):\n%s", diff)
		}

		must(t, s.DeleteSnapshot, &pubsubpb.DeleteSnapshotRequest{Snapshot: snapName})
		_, err = s.GetSnapshot(t.Context(), &pubsubpb.GetSnapshotRequest{Snapshot: snapName})
		checkStatus(t, err, codes.NotFound, "resource=before")
		must(t, s.DeleteTopic, &pubsubpb.DeleteTopicRequest{Topic: topicName})
		if got := must(t, s.GetSnapshot, &pubsubpb.GetSnapshotRequest{Snapshot: random.Name}); got.Topic != "_deleted-topic_" {
			t.Errorf("after its topic was deleted: %v", got)
		}
		// It outlives the subscription.
		must(t, s.DeleteSubscription, &pubsubpb.DeleteSubscriptionRequest{Subscription: subName})
		must(t, s.GetSnapshot, &pubsubpb.GetSnapshotRequest{Snapshot: random.Name})
	})
}

func TestSnapshotRefusals(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		ctx := t.Context()
		createSubscription(t, s, nil)
		createSnapshot(t, s)
		create := func(req *pubsubpb.CreateSnapshotRequest) error {
			_, err := s.CreateSnapshot(ctx, req)
			return err
		}
		checkStatus(t, create(&pubsubpb.CreateSnapshotRequest{Name: "x", Subscription: subName}), codes.InvalidArgument, "Invalid resource name given (name=x).")
		checkStatus(t, create(&pubsubpb.CreateSnapshotRequest{Name: snapName, Subscription: otherName}), codes.NotFound, "resource=other")
		checkStatus(t, create(&pubsubpb.CreateSnapshotRequest{Name: snapName + "2", Subscription: subName, Labels: map[string]string{"A": ""}}), codes.InvalidArgument, "label key")
		_, err := s.UpdateSnapshot(ctx, &pubsubpb.UpdateSnapshotRequest{Snapshot: &pubsubpb.Snapshot{Name: snapName}})
		checkStatus(t, err, codes.InvalidArgument, "The update_mask in the UpdateSnapshotRequest must be set, and must contain a non-empty paths list.")
		_, err = s.UpdateSnapshot(ctx, &pubsubpb.UpdateSnapshotRequest{Snapshot: &pubsubpb.Snapshot{Name: snapName}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"topic"}}})
		checkStatus(t, err, codes.InvalidArgument, "the 'topic' field in the Snapshot is not mutable.")

		seek := func(sub, snapshot string) error {
			_, err := s.Seek(ctx, &pubsubpb.SeekRequest{Subscription: sub, Target: &pubsubpb.SeekRequest_Snapshot{Snapshot: snapshot}})
			return err
		}
		checkStatus(t, seek(subName, "projects/p/snapshots/none"), codes.NotFound, "resource=none")
		checkStatus(t, seek(subName, "none"), codes.InvalidArgument, "Invalid resource name")
		_, err = s.Seek(ctx, &pubsubpb.SeekRequest{Subscription: subName})
		checkStatus(t, err, codes.InvalidArgument, "No target was specified in the SeekRequest. Must specify either a time or a snapshot")
		_, err = s.Seek(ctx, &pubsubpb.SeekRequest{Subscription: subName, Target: &pubsubpb.SeekRequest_Time{Time: &timestamppb.Timestamp{Nanos: -1}}})
		checkStatus(t, err, codes.InvalidArgument, "An invalid time was specified")

		must(t, s.CreateTopic, &pubsubpb.Topic{Name: deadName})
		createSubscription(t, s, func(sub *pubsubpb.Subscription) { sub.Name, sub.Topic = otherName, deadName })
		checkStatus(t, seek(otherName, snapName), codes.FailedPrecondition, "is different from that of the snapshot "+topicName)
		const ordered = "projects/p/subscriptions/ordered"
		createSubscription(t, s, func(sub *pubsubpb.Subscription) { sub.Name, sub.EnableMessageOrdering = ordered, true })
		checkStatus(t, seek(ordered, snapName), codes.FailedPrecondition, "cannot be seeked to snapshots of subscriptions without ordering keys")

		must(t, s.DeleteTopic, &pubsubpb.DeleteTopicRequest{Topic: topicName})
		checkStatus(t, seek(subName, snapName), codes.FailedPrecondition, "_deleted-topic_")
		must(t, s.DetachSubscription, &pubsubpb.DetachSubscriptionRequest{Subscription: subName})
		checkStatus(t, seek(subName, snapName), codes.FailedPrecondition, "detached")
		checkStatus(t, create(&pubsubpb.CreateSnapshotRequest{Name: snapName + "2", Subscription: subName}), codes.FailedPrecondition, "detached")
	})
}

// A snapshot lives seven days less the age of its oldest message, and at least an hour.
func TestSnapshotExpiry(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, func(sub *pubsubpb.Subscription) {
			sub.MessageRetentionDuration = durationpb.New(31 * 24 * time.Hour)
		})
		publish(t, s, "a")
		time.Sleep(3 * 24 * time.Hour)
		publish(t, s, "b")
		snap := createSnapshot(t, s)
		if got, want := time.Until(snap.ExpireTime.AsTime()).Round(time.Second), 4*24*time.Hour; got != want {
			t.Fatalf("expires after %v, want %v", got, want)
		}
		time.Sleep(4*24*time.Hour - time.Hour - time.Minute)
		must(t, s.CreateSnapshot, &pubsubpb.CreateSnapshotRequest{Name: snapName + "2", Subscription: subName})
		time.Sleep(2 * time.Minute)
		_, err := s.CreateSnapshot(t.Context(), &pubsubpb.CreateSnapshotRequest{Name: snapName + "3", Subscription: subName})
		checkStatus(t, err, codes.FailedPrecondition, "is too old")
		must(t, s.GetSnapshot, &pubsubpb.GetSnapshotRequest{Snapshot: snapName})
		time.Sleep(time.Hour)
		_, err = s.GetSnapshot(t.Context(), &pubsubpb.GetSnapshotRequest{Snapshot: snapName})
		checkStatus(t, err, codes.NotFound, "resource=before")
		if got := must(t, s.ListTopicSnapshots, &pubsubpb.ListTopicSnapshotsRequest{Topic: topicName}); len(got.Snapshots) != 0 {
			t.Errorf("listed %v", got.Snapshots)
		}
	})
}

// What only a snapshot keeps is forgotten with it.
func TestSnapshotLetsGo(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, nil)
		publish(t, s, "a")
		createSnapshot(t, s)
		publish(t, s, "b")
		top, err := s.topic(topicName)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(top.history.publications); n != 1 {
			t.Errorf("%d messages are kept for the snapshot, want 1", n)
		}
		must(t, s.DeleteSnapshot, &pubsubpb.DeleteSnapshotRequest{Snapshot: snapName})
		publish(t, s, "c")
		if n := len(top.history.publications); n != 0 {
			t.Errorf("%d messages are kept for nothing", n)
		}
	})
}

// Seeks of ordered messages keep their order.
func TestSeekToASnapshotInOrder(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, func(sub *pubsubpb.Subscription) { sub.EnableMessageOrdering = true })
		publish(t, s, "k:1", "k:2", "k:3")
		createSnapshot(t, s)
		ack(t, s, pull(t, s, "k:1", "k:2", "k:3")...)
		publish(t, s, "k:4")
		seekTo(t, s, subName, snapName)
		got := pull(t, s, "k:1", "k:2", "k:3", "k:4")
		ack(t, s, got[0])
		nack(t, s, got[1])
		pull(t, s, "k:2", "k:3", "k:4")
	})
}
