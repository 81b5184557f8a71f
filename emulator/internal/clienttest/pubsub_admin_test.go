package clienttest

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/iam/apiv1/iampb"
	apiv1 "cloud.google.com/go/pubsub/v2/apiv1"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// admin is the three clients by which Go programs manage Pub/Sub.
type admin struct {
	topics        *apiv1.TopicAdminClient
	subscriptions *apiv1.SubscriptionAdminClient
	schemas       *apiv1.SchemaClient
}

// eachAdmin runs a test by gRPC, where the clients know no more than PUBSUB_EMULATOR_HOST, and by REST.
func eachAdmin(t *testing.T, f func(ctx context.Context, t *testing.T, a admin)) {
	t.Helper()
	for _, transport := range []string{"gRPC", "REST"} {
		t.Run(transport, func(t *testing.T) {
			ctx := t.Context()
			e := start(t)
			var a admin
			var problems [3]error
			if transport == "gRPC" {
				t.Setenv("PUBSUB_EMULATOR_HOST", e.Addr())
				a.topics, problems[0] = apiv1.NewTopicAdminClient(ctx)
				a.subscriptions, problems[1] = apiv1.NewSubscriptionAdminClient(ctx)
				a.schemas, problems[2] = apiv1.NewSchemaClient(ctx)
			} else {
				a.topics, problems[0] = apiv1.NewTopicAdminRESTClient(ctx, restOptions(e)...)
				a.subscriptions, problems[1] = apiv1.NewSubscriptionAdminRESTClient(ctx, restOptions(e)...)
				a.schemas, problems[2] = apiv1.NewSchemaRESTClient(ctx, restOptions(e)...)
			}
			for _, err := range problems {
				if err != nil {
					t.Fatal(err)
				}
			}
			defer a.topics.Close()
			defer a.subscriptions.Close()
			defer a.schemas.Close()
			f(ctx, t, a)
		})
	}
}

// must is for calls that have to succeed.
func must[Q, R any](ctx context.Context, t *testing.T, method func(context.Context, Q, ...gax.CallOption) (R, error), req Q) R {
	t.Helper()
	resp, err := method(ctx, req)
	if err != nil {
		t.Fatalf("%T: %v", req, err)
	}
	return resp
}

func TestPubSubGoClientTopics(t *testing.T) {
	eachAdmin(t, func(ctx context.Context, t *testing.T, a admin) {
		created := must(ctx, t, a.topics.CreateTopic, &pubsubpb.Topic{Name: topic, Labels: map[string]string{"a": "b"}, MessageRetentionDuration: durationpb.New(time.Hour)})
		if diff := cmp.Diff(created, must(ctx, t, a.topics.GetTopic, &pubsubpb.GetTopicRequest{Topic: topic}), protocmp.Transform()); diff != "" {
			t.Errorf("get (-created +got):\n%s", diff)
		}
		_, err := a.topics.CreateTopic(ctx, &pubsubpb.Topic{Name: topic})
		wantCode(t, err, codes.AlreadyExists)
		_, err = a.topics.CreateTopic(ctx, &pubsubpb.Topic{Name: "projects/shop/topics/goog"})
		wantCode(t, err, codes.InvalidArgument)
		updated := must(ctx, t, a.topics.UpdateTopic, &pubsubpb.UpdateTopicRequest{
			Topic: &pubsubpb.Topic{Name: topic, Labels: map[string]string{"c": "d"}}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"labels"}},
		})
		if diff := cmp.Diff(map[string]string{"c": "d"}, updated.GetLabels()); diff != "" || updated.GetMessageRetentionDuration().GetSeconds() != 3600 {
			t.Errorf("updated: %v", updated)
		}
		for _, id := range []string{"t-1", "t-2", "t-3"} {
			must(ctx, t, a.topics.CreateTopic, &pubsubpb.Topic{Name: "projects/shop/topics/" + id})
		}
		if got := len(all(t, a.topics.ListTopics(ctx, &pubsubpb.ListTopicsRequest{Project: "projects/shop", PageSize: 3}).Next)); got != 4 {
			t.Errorf("%d topics", got)
		}
		reply := must(ctx, t, a.topics.Publish, &pubsubpb.PublishRequest{Topic: topic, Messages: []*pubsubpb.PubsubMessage{{Data: []byte("a")}, {Data: []byte("b")}}})
		if len(reply.GetMessageIds()) != 2 {
			t.Errorf("published: %v", reply)
		}
		if err := a.topics.DeleteTopic(ctx, &pubsubpb.DeleteTopicRequest{Topic: topic}); err != nil {
			t.Error(err)
		}
		wantCode(t, a.topics.DeleteTopic(ctx, &pubsubpb.DeleteTopicRequest{Topic: topic}), codes.NotFound)
	})
}

func TestPubSubGoClientSubscriptions(t *testing.T) {
	eachAdmin(t, func(ctx context.Context, t *testing.T, a admin) {
		must(ctx, t, a.topics.CreateTopic, &pubsubpb.Topic{Name: topic})
		created := must(ctx, t, a.subscriptions.CreateSubscription, &pubsubpb.Subscription{
			Name: subscription, Topic: topic, Filter: `attributes.k = "v"`, EnableMessageOrdering: true, RetryPolicy: &pubsubpb.RetryPolicy{},
		})
		if created.GetAckDeadlineSeconds() != 10 || created.GetRetryPolicy().GetMinimumBackoff().GetSeconds() != 10 || created.GetState() != pubsubpb.Subscription_ACTIVE {
			t.Errorf("created: %v", created)
		}
		updated := must(ctx, t, a.subscriptions.UpdateSubscription, &pubsubpb.UpdateSubscriptionRequest{
			Subscription: &pubsubpb.Subscription{Name: subscription, AckDeadlineSeconds: 20, ExpirationPolicy: &pubsubpb.ExpirationPolicy{}},
			UpdateMask:   &fieldmaskpb.FieldMask{Paths: []string{"ack_deadline_seconds", "expiration_policy"}},
		})
		if updated.GetAckDeadlineSeconds() != 20 || updated.GetExpirationPolicy() == nil || updated.GetExpirationPolicy().GetTtl() != nil {
			t.Errorf("updated: %v", updated)
		}
		_, err := a.subscriptions.UpdateSubscription(ctx, &pubsubpb.UpdateSubscriptionRequest{
			Subscription: &pubsubpb.Subscription{Name: subscription}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"filter"}},
		})
		wantCode(t, err, codes.InvalidArgument)
		if got := all(t, a.subscriptions.ListSubscriptions(ctx, &pubsubpb.ListSubscriptionsRequest{Project: "projects/shop"}).Next); len(got) != 1 {
			t.Errorf("listed: %v", got)
		}
		if got := all(t, a.topics.ListTopicSubscriptions(ctx, &pubsubpb.ListTopicSubscriptionsRequest{Topic: topic}).Next); !slices.Equal(got, []string{subscription}) {
			t.Errorf("of the topic: %v", got)
		}

		must(ctx, t, a.topics.Publish, &pubsubpb.PublishRequest{Topic: topic, Messages: []*pubsubpb.PubsubMessage{{Data: []byte("a"), Attributes: map[string]string{"k": "v"}}, {Data: []byte("b")}}})
		pulled := must(ctx, t, a.subscriptions.Pull, &pubsubpb.PullRequest{Subscription: subscription, MaxMessages: 10}).GetReceivedMessages()
		if len(pulled) != 1 || string(pulled[0].GetMessage().GetData()) != "a" {
			t.Fatalf("pulled: %v", pulled)
		}
		ids := []string{pulled[0].GetAckId()}
		if err := a.subscriptions.ModifyAckDeadline(ctx, &pubsubpb.ModifyAckDeadlineRequest{Subscription: subscription, AckIds: ids, AckDeadlineSeconds: 60}); err != nil {
			t.Error(err)
		}
		if err := a.subscriptions.Acknowledge(ctx, &pubsubpb.AcknowledgeRequest{Subscription: subscription, AckIds: ids}); err != nil {
			t.Error(err)
		}
		push := &pubsubpb.ModifyPushConfigRequest{Subscription: subscription, PushConfig: &pubsubpb.PushConfig{PushEndpoint: "https://mailer.test/"}}
		if err := a.subscriptions.ModifyPushConfig(ctx, push); err != nil {
			t.Error(err)
		}
		_, err = a.subscriptions.Pull(ctx, &pubsubpb.PullRequest{Subscription: subscription, MaxMessages: 10})
		wantCode(t, err, codes.FailedPrecondition)
		if _, err := a.topics.DetachSubscription(ctx, &pubsubpb.DetachSubscriptionRequest{Subscription: subscription}); err != nil {
			t.Error(err)
		}
		if got := must(ctx, t, a.subscriptions.GetSubscription, &pubsubpb.GetSubscriptionRequest{Subscription: subscription}); !got.GetDetached() {
			t.Errorf("detached: %v", got)
		}
		if err := a.subscriptions.DeleteSubscription(ctx, &pubsubpb.DeleteSubscriptionRequest{Subscription: subscription}); err != nil {
			t.Error(err)
		}
		wantCode(t, a.subscriptions.DeleteSubscription(ctx, &pubsubpb.DeleteSubscriptionRequest{Subscription: subscription}), codes.NotFound)
	})
}

func TestPubSubGoClientSnapshots(t *testing.T) {
	eachAdmin(t, func(ctx context.Context, t *testing.T, a admin) {
		must(ctx, t, a.topics.CreateTopic, &pubsubpb.Topic{Name: topic})
		must(ctx, t, a.subscriptions.CreateSubscription, &pubsubpb.Subscription{Name: subscription, Topic: topic, RetainAckedMessages: true})
		publish := func(data string) {
			t.Helper()
			must(ctx, t, a.topics.Publish, &pubsubpb.PublishRequest{Topic: topic, Messages: []*pubsubpb.PubsubMessage{{Data: []byte(data)}}})
		}
		drain := func(want ...string) {
			t.Helper()
			var got []string
			for len(got) < len(want) {
				pulled := must(ctx, t, a.subscriptions.Pull, &pubsubpb.PullRequest{Subscription: subscription, MaxMessages: 10}).GetReceivedMessages()
				if len(pulled) == 0 {
					break
				}
				for _, m := range pulled {
					got = append(got, string(m.GetMessage().GetData()))
					if err := a.subscriptions.Acknowledge(ctx, &pubsubpb.AcknowledgeRequest{Subscription: subscription, AckIds: []string{m.GetAckId()}}); err != nil {
						t.Fatal(err)
					}
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("drained (-want +got):\n%s", diff)
			}
		}
		const snapshot = "projects/shop/snapshots/before"
		publish("a")
		drain("a")
		publish("b")
		created := must(ctx, t, a.subscriptions.CreateSnapshot, &pubsubpb.CreateSnapshotRequest{Name: snapshot, Subscription: subscription, Labels: map[string]string{"a": "b"}})
		if life := time.Until(created.GetExpireTime().AsTime()); created.GetTopic() != topic || life < 6*24*time.Hour || life > 7*24*time.Hour+time.Minute {
			t.Errorf("created: %v", created)
		}
		_, err := a.subscriptions.CreateSnapshot(ctx, &pubsubpb.CreateSnapshotRequest{Name: snapshot, Subscription: subscription})
		wantCode(t, err, codes.AlreadyExists)
		publish("c")
		drain("b", "c")
		must(ctx, t, a.subscriptions.Seek, &pubsubpb.SeekRequest{Subscription: subscription, Target: &pubsubpb.SeekRequest_Snapshot{Snapshot: snapshot}})
		drain("b", "c")
		must(ctx, t, a.subscriptions.Seek, &pubsubpb.SeekRequest{Subscription: subscription, Target: &pubsubpb.SeekRequest_Time{Time: &timestamppb.Timestamp{}}})
		drain("a", "b", "c")

		updated := must(ctx, t, a.subscriptions.UpdateSnapshot, &pubsubpb.UpdateSnapshotRequest{
			Snapshot: &pubsubpb.Snapshot{Name: snapshot, Labels: map[string]string{"c": "d"}}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"labels"}},
		})
		if got := must(ctx, t, a.subscriptions.GetSnapshot, &pubsubpb.GetSnapshotRequest{Snapshot: snapshot}); got.GetLabels()["c"] != "d" || !cmp.Equal(got, updated, protocmp.Transform()) {
			t.Errorf("updated: %v, got: %v", updated, got)
		}
		if got := all(t, a.subscriptions.ListSnapshots(ctx, &pubsubpb.ListSnapshotsRequest{Project: "projects/shop"}).Next); len(got) != 1 || got[0].GetName() != snapshot {
			t.Errorf("listed: %v", got)
		}
		if got := all(t, a.topics.ListTopicSnapshots(ctx, &pubsubpb.ListTopicSnapshotsRequest{Topic: topic}).Next); !slices.Equal(got, []string{snapshot}) {
			t.Errorf("of the topic: %v", got)
		}
		if err := a.subscriptions.DeleteSnapshot(ctx, &pubsubpb.DeleteSnapshotRequest{Snapshot: snapshot}); err != nil {
			t.Error(err)
		}
		_, err = a.subscriptions.GetSnapshot(ctx, &pubsubpb.GetSnapshotRequest{Snapshot: snapshot})
		wantCode(t, err, codes.NotFound)
	})
}

func TestPubSubGoClientSchemas(t *testing.T) {
	const (
		name   = "projects/shop/schemas/order"
		first  = `syntax = "proto3"; message Order { string id = 1; }`
		second = `syntax = "proto3"; message Order { string id = 1; int32 n = 2; }`
	)
	eachAdmin(t, func(ctx context.Context, t *testing.T, a admin) {
		created := must(ctx, t, a.schemas.CreateSchema, &pubsubpb.CreateSchemaRequest{Parent: "projects/shop", SchemaId: "order", Schema: &pubsubpb.Schema{Type: pubsubpb.Schema_PROTOCOL_BUFFER, Definition: first}})
		if created.GetName() != name || created.GetRevisionId() == "" || created.GetRevisionCreateTime() == nil {
			t.Errorf("created: %v", created)
		}
		committed := must(ctx, t, a.schemas.CommitSchema, &pubsubpb.CommitSchemaRequest{Name: name, Schema: &pubsubpb.Schema{Name: name, Type: pubsubpb.Schema_PROTOCOL_BUFFER, Definition: second}})
		if got := must(ctx, t, a.schemas.GetSchema, &pubsubpb.GetSchemaRequest{Name: name, View: pubsubpb.SchemaView_FULL}); got.GetDefinition() != second || got.GetRevisionId() != committed.GetRevisionId() {
			t.Errorf("latest: %v", got)
		}
		if got := must(ctx, t, a.schemas.GetSchema, &pubsubpb.GetSchemaRequest{Name: name + "@" + created.GetRevisionId(), View: pubsubpb.SchemaView_FULL}); got.GetDefinition() != first {
			t.Errorf("first: %v", got)
		}
		revisions := all(t, a.schemas.ListSchemaRevisions(ctx, &pubsubpb.ListSchemaRevisionsRequest{Name: name}).Next)
		if len(revisions) != 2 || revisions[1].GetRevisionId() != committed.GetRevisionId() {
			t.Errorf("revisions: %v", revisions)
		}
		rolledBack := must(ctx, t, a.schemas.RollbackSchema, &pubsubpb.RollbackSchemaRequest{Name: name, RevisionId: created.GetRevisionId()})
		if rolledBack.GetDefinition() != first || rolledBack.GetRevisionId() == created.GetRevisionId() {
			t.Errorf("rolled back: %v", rolledBack)
		}
		must(ctx, t, a.schemas.DeleteSchemaRevision, &pubsubpb.DeleteSchemaRevisionRequest{Name: name + "@" + committed.GetRevisionId()})
		if got := all(t, a.schemas.ListSchemas(ctx, &pubsubpb.ListSchemasRequest{Parent: "projects/shop"}).Next); len(got) != 1 || got[0].GetName() != name {
			t.Errorf("listed: %v", got)
		}

		must(ctx, t, a.schemas.ValidateSchema, &pubsubpb.ValidateSchemaRequest{Parent: "projects/shop", Schema: &pubsubpb.Schema{Type: pubsubpb.Schema_PROTOCOL_BUFFER, Definition: second}})
		_, err := a.schemas.ValidateSchema(ctx, &pubsubpb.ValidateSchemaRequest{Parent: "projects/shop", Schema: &pubsubpb.Schema{Type: pubsubpb.Schema_PROTOCOL_BUFFER, Definition: "message"}})
		wantCode(t, err, codes.InvalidArgument)
		validate := &pubsubpb.ValidateMessageRequest{
			Parent: "projects/shop", SchemaSpec: &pubsubpb.ValidateMessageRequest_Name{Name: name}, Encoding: pubsubpb.Encoding_JSON, Message: []byte(`{"id":"1"}`),
		}
		must(ctx, t, a.schemas.ValidateMessage, validate)
		validate.Message = []byte(`{"id":{}}`)
		_, err = a.schemas.ValidateMessage(ctx, validate)
		wantCode(t, err, codes.InvalidArgument)

		must(ctx, t, a.topics.CreateTopic, &pubsubpb.Topic{Name: topic, SchemaSettings: &pubsubpb.SchemaSettings{Schema: name, Encoding: pubsubpb.Encoding_BINARY}})
		must(ctx, t, a.topics.Publish, &pubsubpb.PublishRequest{Topic: topic, Messages: []*pubsubpb.PubsubMessage{{Data: []byte("\x0a\x011")}}})
		_, err = a.topics.Publish(ctx, &pubsubpb.PublishRequest{Topic: topic, Messages: []*pubsubpb.PubsubMessage{{Data: []byte("\x0a\xff")}}})
		wantCode(t, err, codes.InvalidArgument)
		if err := a.schemas.DeleteSchema(ctx, &pubsubpb.DeleteSchemaRequest{Name: name}); err != nil {
			t.Error(err)
		}
		if got := must(ctx, t, a.topics.GetTopic, &pubsubpb.GetTopicRequest{Topic: topic}); !strings.HasPrefix(got.GetSchemaSettings().GetSchema(), "_deleted-schema_") {
			t.Errorf("topic without its schema: %v", got)
		}
	})
}

func TestPubSubGoClientPolicies(t *testing.T) {
	eachAdmin(t, func(ctx context.Context, t *testing.T, a admin) {
		must(ctx, t, a.topics.CreateTopic, &pubsubpb.Topic{Name: topic})
		must(ctx, t, a.subscriptions.CreateSubscription, &pubsubpb.Subscription{Name: subscription, Topic: topic})
		for _, r := range []struct {
			resource string
			get      func(context.Context, *iampb.GetIamPolicyRequest, ...gax.CallOption) (*iampb.Policy, error)
			set      func(context.Context, *iampb.SetIamPolicyRequest, ...gax.CallOption) (*iampb.Policy, error)
			test     func(context.Context, *iampb.TestIamPermissionsRequest, ...gax.CallOption) (*iampb.TestIamPermissionsResponse, error)
		}{
			{topic, a.topics.GetIamPolicy, a.topics.SetIamPolicy, a.topics.TestIamPermissions},
			{subscription, a.subscriptions.GetIamPolicy, a.subscriptions.SetIamPolicy, a.subscriptions.TestIamPermissions},
		} {
			policy := must(ctx, t, r.get, &iampb.GetIamPolicyRequest{Resource: r.resource})
			policy.Bindings = []*iampb.Binding{{Role: "roles/pubsub.editor", Members: []string{"serviceAccount:" + account}}}
			set := must(ctx, t, r.set, &iampb.SetIamPolicyRequest{Resource: r.resource, Policy: policy})
			got := must(ctx, t, r.get, &iampb.GetIamPolicyRequest{Resource: r.resource})
			if diff := cmp.Diff(set, got, protocmp.Transform()); diff != "" || len(got.GetBindings()) != 1 {
				t.Errorf("%s (-set +got):\n%s", r.resource, diff)
			}
			permissions := []string{"pubsub.topics.publish"}
			if got := must(ctx, t, r.test, &iampb.TestIamPermissionsRequest{Resource: r.resource, Permissions: permissions}); !slices.Equal(got.GetPermissions(), permissions) {
				t.Errorf("%s: permissions %v", r.resource, got)
			}
		}
	})
}
