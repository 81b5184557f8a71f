package differential

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
)

const (
	waybill = "Waybill"
	google  = "Google"
)

// side is one of the two emulators.
type side struct {
	name      string
	publisher pubsubpb.PublisherClient
	consumer  pubsubpb.SubscriberClient
	schemas   pubsubpb.SchemaServiceClient
}

func connect(t testing.TB, name, address string) *side {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return &side{name, pubsubpb.NewPublisherClient(conn), pubsubpb.NewSubscriberClient(conn), pubsubpb.NewSchemaServiceClient(conn)}
}

// send calls the method that takes such a request.
func (s *side) send(ctx context.Context, request proto.Message) (proto.Message, error) {
	switch r := request.(type) {
	case *pubsubpb.Topic:
		return answer(s.publisher.CreateTopic(ctx, r))
	case *pubsubpb.UpdateTopicRequest:
		return answer(s.publisher.UpdateTopic(ctx, r))
	case *pubsubpb.PublishRequest:
		return answer(s.publisher.Publish(ctx, r))
	case *pubsubpb.GetTopicRequest:
		return answer(s.publisher.GetTopic(ctx, r))
	case *pubsubpb.ListTopicsRequest:
		return answer(s.publisher.ListTopics(ctx, r))
	case *pubsubpb.ListTopicSubscriptionsRequest:
		return answer(s.publisher.ListTopicSubscriptions(ctx, r))
	case *pubsubpb.ListTopicSnapshotsRequest:
		return answer(s.publisher.ListTopicSnapshots(ctx, r))
	case *pubsubpb.DeleteTopicRequest:
		return answer(s.publisher.DeleteTopic(ctx, r))
	case *pubsubpb.DetachSubscriptionRequest:
		return answer(s.publisher.DetachSubscription(ctx, r))
	case *pubsubpb.Subscription:
		return answer(s.consumer.CreateSubscription(ctx, r))
	case *pubsubpb.GetSubscriptionRequest:
		return answer(s.consumer.GetSubscription(ctx, r))
	case *pubsubpb.UpdateSubscriptionRequest:
		return answer(s.consumer.UpdateSubscription(ctx, r))
	case *pubsubpb.ListSubscriptionsRequest:
		return answer(s.consumer.ListSubscriptions(ctx, r))
	case *pubsubpb.DeleteSubscriptionRequest:
		return answer(s.consumer.DeleteSubscription(ctx, r))
	case *pubsubpb.ModifyAckDeadlineRequest:
		return answer(s.consumer.ModifyAckDeadline(ctx, r))
	case *pubsubpb.AcknowledgeRequest:
		return answer(s.consumer.Acknowledge(ctx, r))
	case *pubsubpb.PullRequest:
		return answer(s.consumer.Pull(ctx, r))
	case *pubsubpb.ModifyPushConfigRequest:
		return answer(s.consumer.ModifyPushConfig(ctx, r))
	case *pubsubpb.SeekRequest:
		return answer(s.consumer.Seek(ctx, r))
	case *pubsubpb.CreateSnapshotRequest:
		return answer(s.consumer.CreateSnapshot(ctx, r))
	case *pubsubpb.GetSnapshotRequest:
		return answer(s.consumer.GetSnapshot(ctx, r))
	case *pubsubpb.ListSnapshotsRequest:
		return answer(s.consumer.ListSnapshots(ctx, r))
	case *pubsubpb.UpdateSnapshotRequest:
		return answer(s.consumer.UpdateSnapshot(ctx, r))
	case *pubsubpb.DeleteSnapshotRequest:
		return answer(s.consumer.DeleteSnapshot(ctx, r))
	}
	return s.sendSchema(ctx, request)
}

func (s *side) sendSchema(ctx context.Context, request proto.Message) (proto.Message, error) {
	switch r := request.(type) {
	case *pubsubpb.CreateSchemaRequest:
		return answer(s.schemas.CreateSchema(ctx, r))
	case *pubsubpb.GetSchemaRequest:
		return answer(s.schemas.GetSchema(ctx, r))
	case *pubsubpb.ListSchemasRequest:
		return answer(s.schemas.ListSchemas(ctx, r))
	case *pubsubpb.ListSchemaRevisionsRequest:
		return answer(s.schemas.ListSchemaRevisions(ctx, r))
	case *pubsubpb.CommitSchemaRequest:
		return answer(s.schemas.CommitSchema(ctx, r))
	case *pubsubpb.RollbackSchemaRequest:
		return answer(s.schemas.RollbackSchema(ctx, r))
	case *pubsubpb.DeleteSchemaRevisionRequest:
		return answer(s.schemas.DeleteSchemaRevision(ctx, r))
	case *pubsubpb.DeleteSchemaRequest:
		return answer(s.schemas.DeleteSchema(ctx, r))
	case *pubsubpb.ValidateSchemaRequest:
		return answer(s.schemas.ValidateSchema(ctx, r))
	case *pubsubpb.ValidateMessageRequest:
		return answer(s.schemas.ValidateMessage(ctx, r))
	}
	panic(fmt.Sprintf("no method takes %T", request))
}

// answer keeps a nil response of a failed call from becoming an interface that is not nil.
func answer[R proto.Message](response R, err error) (proto.Message, error) {
	if err != nil {
		return nil, err
	}
	return response, nil
}

// method names the method that takes such a request.
func method(request proto.Message) string {
	switch request.(type) {
	case *pubsubpb.Topic:
		return "CreateTopic"
	case *pubsubpb.Subscription:
		return "CreateSubscription"
	}
	return strings.TrimSuffix(string(request.ProtoReflect().Descriptor().Name()), "Request")
}
