package pubsub

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"cloud.google.com/go/iam/apiv1/iampb"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// resources is all that the methods tell of what there is.
func resources(t *testing.T, s *Service) []proto.Message {
	t.Helper()
	topics := must(t, s.ListTopics, &pubsubpb.ListTopicsRequest{Project: "projects/p"})
	subscriptions := must(t, s.ListSubscriptions, &pubsubpb.ListSubscriptionsRequest{Project: "projects/p"})
	snapshots := must(t, s.ListSnapshots, &pubsubpb.ListSnapshotsRequest{Project: "projects/p"})
	schemas := must(t, s.ListSchemas, &pubsubpb.ListSchemasRequest{Parent: "projects/p", View: pubsubpb.SchemaView_FULL})
	all := []proto.Message{topics, subscriptions, snapshots, schemas}
	var names []string
	for _, topic := range topics.GetTopics() {
		names = append(names, topic.GetName())
		of := must(t, s.ListTopicSubscriptions, &pubsubpb.ListTopicSubscriptionsRequest{Topic: topic.GetName()})
		slices.Sort(of.Subscriptions)
		all = append(all, of, must(t, s.ListTopicSnapshots, &pubsubpb.ListTopicSnapshotsRequest{Topic: topic.GetName()}))
	}
	for _, sub := range subscriptions.GetSubscriptions() {
		names = append(names, sub.GetName())
	}
	for _, snap := range snapshots.GetSnapshots() {
		names = append(names, snap.GetName())
	}
	for _, schema := range schemas.GetSchemas() {
		names = append(names, schema.GetName())
		all = append(all, must(t, s.ListSchemaRevisions, &pubsubpb.ListSchemaRevisionsRequest{Name: schema.GetName(), View: pubsubpb.SchemaView_FULL}))
	}
	for _, name := range names {
		all = append(all, must(t, s.GetIamPolicy, &iampb.GetIamPolicyRequest{Resource: name}))
	}
	return all
}

func fieldMask(paths ...string) *fieldmaskpb.FieldMask { return &fieldmaskpb.FieldMask{Paths: paths} }

// populate makes, changes and deletes some of everything.
func populate(t *testing.T, s *Service) {
	t.Helper()
	createSchema(t, s)
	revision := commit(t, s, record(optional))
	commit(t, s, record(optional))
	must(t, s.DeleteSchemaRevision, &pubsubpb.DeleteSchemaRevisionRequest{Name: schemaName + "@" + commit(t, s, record(optional)).RevisionId})
	must(t, s.RollbackSchema, &pubsubpb.RollbackSchemaRequest{Name: schemaName, RevisionId: revision.RevisionId})
	must(t, s.CreateSchema, &pubsubpb.CreateSchemaRequest{Parent: "projects/p", SchemaId: "gone", Schema: avroSchema(record())})

	must(t, s.CreateTopic, &pubsubpb.Topic{Name: topicName, Labels: map[string]string{"a": "b"}})
	must(t, s.CreateTopic, &pubsubpb.Topic{Name: deadName, SchemaSettings: &pubsubpb.SchemaSettings{Schema: schemaName, Encoding: pubsubpb.Encoding_JSON, FirstRevisionId: revision.RevisionId}})
	must(t, s.CreateTopic, &pubsubpb.Topic{Name: topicName + "-untyped", SchemaSettings: &pubsubpb.SchemaSettings{Schema: "projects/p/schemas/gone", Encoding: pubsubpb.Encoding_JSON}})
	must(t, s.DeleteSchema, &pubsubpb.DeleteSchemaRequest{Name: "projects/p/schemas/gone"})
	must(t, s.CreateTopic, &pubsubpb.Topic{Name: topicName + "-gone"})
	must(t, s.UpdateTopic, &pubsubpb.UpdateTopicRequest{
		Topic:      &pubsubpb.Topic{Name: topicName, MessageRetentionDuration: durationpb.New(time.Hour)},
		UpdateMask: fieldMask("message_retention_duration"),
	})

	createSubscription(t, s, func(sub *pubsubpb.Subscription) { sub.Filter = `hasPrefix(attributes.a, "b")` })
	must(t, s.UpdateSubscription, update(&pubsubpb.Subscription{EnableExactlyOnceDelivery: true}, "enable_exactly_once_delivery"))
	for _, id := range []string{"detached", "deleted", "orphan", "pushed"} {
		createSubscription(t, s, func(sub *pubsubpb.Subscription) {
			sub.Name = "projects/p/subscriptions/" + id
			if id == "orphan" {
				sub.Topic = topicName + "-gone"
			}
		})
	}
	must(t, s.ModifyPushConfig, &pubsubpb.ModifyPushConfigRequest{
		Subscription: "projects/p/subscriptions/pushed", PushConfig: &pubsubpb.PushConfig{PushEndpoint: "http://127.0.0.1:1/push"},
	})
	must(t, s.CreateSnapshot, &pubsubpb.CreateSnapshotRequest{Name: "projects/p/snapshots/kept", Subscription: subName})
	must(t, s.UpdateSnapshot, &pubsubpb.UpdateSnapshotRequest{
		Snapshot: &pubsubpb.Snapshot{Name: "projects/p/snapshots/kept", Labels: map[string]string{"c": "d"}}, UpdateMask: fieldMask("labels"),
	})
	must(t, s.CreateSnapshot, &pubsubpb.CreateSnapshotRequest{Name: "projects/p/snapshots/dropped", Subscription: subName})
	must(t, s.CreateSnapshot, &pubsubpb.CreateSnapshotRequest{Name: "projects/p/snapshots/orphan", Subscription: "projects/p/subscriptions/orphan"})
	for _, name := range []string{topicName, deadName, subName, "projects/p/subscriptions/deleted", "projects/p/snapshots/kept", "projects/p/snapshots/dropped", schemaName} {
		must(t, s.SetIamPolicy, &iampb.SetIamPolicyRequest{Resource: name, Policy: &iampb.Policy{Bindings: []*iampb.Binding{{Role: "roles/viewer", Members: []string{"allUsers"}}}}})
	}
	must(t, s.DetachSubscription, &pubsubpb.DetachSubscriptionRequest{Subscription: "projects/p/subscriptions/detached"})
	must(t, s.DeleteSubscription, &pubsubpb.DeleteSubscriptionRequest{Subscription: "projects/p/subscriptions/deleted"})
	must(t, s.DeleteSnapshot, &pubsubpb.DeleteSnapshotRequest{Snapshot: "projects/p/snapshots/dropped"})
	must(t, s.DeleteTopic, &pubsubpb.DeleteTopicRequest{Topic: topicName + "-gone"})
}

func TestResourcesOutliveTheProcess(t *testing.T) {
	var before []proto.Message
	lives(t, func(t *testing.T, l *life) {
		populate(t, l.Service)
		before = resources(t, l.Service)
	}, func(t *testing.T, l *life) {
		if diff := gocmp.Diff(before, resources(t, l.Service), protocmp.Transform()); diff != "" {
			t.Errorf("after the restart (-want +got):\n%s", diff)
		}
		// Names that were deleted are free, and what is made anew has nothing of before.
		must(t, l.CreateTopic, &pubsubpb.Topic{Name: topicName + "-gone"})
		createSubscription(t, l.Service, func(sub *pubsubpb.Subscription) { sub.Name = "projects/p/subscriptions/deleted" })
		if p := must(t, l.GetIamPolicy, &iampb.GetIamPolicyRequest{Resource: "projects/p/subscriptions/deleted"}); len(p.Bindings) > 0 {
			t.Errorf("a policy came back: %v", p)
		}
		_, err := l.Pull(t.Context(), &pubsubpb.PullRequest{Subscription: "projects/p/subscriptions/detached", MaxMessages: 1})
		checkStatus(t, err, codes.FailedPrecondition, "detached")
		_, err = l.Publish(t.Context(), &pubsubpb.PublishRequest{Topic: deadName, Messages: []*pubsubpb.PubsubMessage{message("no record")}})
		checkStatus(t, err, codes.InvalidArgument, "failed schema validation")
		_, err = l.Publish(t.Context(), &pubsubpb.PublishRequest{Topic: topicName + "-untyped", Messages: []*pubsubpb.PubsubMessage{message("any")}})
		checkStatus(t, err, codes.NotFound, "Schema associated with topic deleted.")
	})
}

func TestResetErases(t *testing.T) {
	lives(t, func(t *testing.T, l *life) {
		populate(t, l.Service)
		createSubscription(t, l.Service, func(sub *pubsubpb.Subscription) { sub.Name += "2" })
		publish(t, l.Service, "a")
		l.Reset()
		must(t, l.CreateTopic, &pubsubpb.Topic{Name: topicName})
	}, func(t *testing.T, l *life) {
		if n := len(l.topics) + len(l.subscriptions) + len(l.snapshots) + len(l.schemas); n != 1 {
			t.Errorf("%d things are there, want the one that was created after the reset", n)
		}
		left(t, l, 't', 'n')
	})
}

// left checks of what kinds the store has keys.
func left(t *testing.T, l *life, want ...byte) {
	t.Helper()
	settle()
	var kinds []byte
	if err := l.store.Scan([]byte{owner}, func(key, _ []byte) error {
		kinds = append(kinds, key[1])
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	kinds = slices.Compact(kinds)
	if diff := gocmp.Diff(want, kinds, cmpopts.SortSlices(cmp.Less[byte])); diff != "" {
		t.Errorf("kinds of keys in the store (-want +got):\n%s", diff)
	}
}

func TestADeletedSubscriptionIsNotWritten(t *testing.T) {
	lives(t, func(t *testing.T, l *life) {
		must(t, l.CreateTopic, &pubsubpb.Topic{Name: topicName})
		createSubscription(t, l.Service, nil)
		stream := openStream(t, l.Service, &pubsubpb.StreamingPullRequest{})
		time.Sleep(2 * time.Hour)
		must(t, l.DeleteSubscription, &pubsubpb.DeleteSubscriptionRequest{Subscription: subName})
		checkStatus(t, <-stream.result, codes.NotFound, "")
		left(t, l, 'n', 't')
	})
}

// What the store no longer needs does not stay in it.
func TestNothingIsLeftInTheStore(t *testing.T) {
	lives(t, func(t *testing.T, l *life) {
		populate(t, l.Service)
		for _, id := range []string{"pulled", "behind"} {
			createSubscription(t, l.Service, func(sub *pubsubpb.Subscription) { sub.Name = "projects/p/subscriptions/" + id })
		}
		publish(t, l.Service, "a", "b", "c", "d")
		got := pullFrom(t, l.Service, "projects/p/subscriptions/pulled", "a", "b", "c", "d")
		must(t, l.Acknowledge, &pubsubpb.AcknowledgeRequest{Subscription: "projects/p/subscriptions/pulled", AckIds: ackIDs(got[1:]...)})
		must(t, l.CreateSnapshot, &pubsubpb.CreateSnapshotRequest{Name: "projects/p/snapshots/full", Subscription: "projects/p/subscriptions/behind"})
	}, func(t *testing.T, l *life) {
		pullFrom(t, l.Service, "projects/p/subscriptions/pulled", "a")
		for name := range l.subscriptions {
			must(t, l.DeleteSubscription, &pubsubpb.DeleteSubscriptionRequest{Subscription: name})
		}
		left(t, l, 'n', 'e', 't', 's', 'i', 'm')
		for name := range l.snapshots {
			must(t, l.DeleteSnapshot, &pubsubpb.DeleteSnapshotRequest{Snapshot: name})
		}
		left(t, l, 'n', 'e', 't', 'i', 'm') // the topic retains its messages
		for name := range l.topics {
			must(t, l.DeleteTopic, &pubsubpb.DeleteTopicRequest{Topic: name})
		}
		left(t, l, 'n', 'e', 'i')
		must(t, l.DeleteSchema, &pubsubpb.DeleteSchemaRequest{Name: schemaName})
		left(t, l, 'n')
	}, func(t *testing.T, l *life) {
		left(t, l, 'n')
	})
}
