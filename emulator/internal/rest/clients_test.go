package rest

import (
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	cloudtasks "cloud.google.com/go/cloudtasks/apiv2"
	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"cloud.google.com/go/iam/apiv1/iampb"
	pubsubapi "cloud.google.com/go/pubsub/v2/apiv1"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"
	"github.com/googleapis/gax-go/v2/apierror"
	"google.golang.org/api/option"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// serve puts the handler on a socket, for the official clients in their REST mode.
func serve(t *testing.T) (*recorder, []option.ClientOption) {
	t.Helper()
	h, recorded := newRecorded(Config{})
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return recorded, []option.ClientOption{
		option.WithEndpoint(server.URL), option.WithoutAuthentication(), option.WithHTTPClient(server.Client()),
	}
}

func TestOfficialTasksClient(t *testing.T) {
	ctx := t.Context()
	recorded, options := serve(t)
	client, err := cloudtasks.NewRESTClient(ctx, options...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	create := &cloudtaskspb.CreateTaskRequest{
		Parent:       queue,
		ResponseView: cloudtaskspb.Task_FULL,
		Task: &cloudtaskspb.Task{
			ScheduleTime: timestamppb.New(time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)),
			MessageType: &cloudtaskspb.Task_HttpRequest{HttpRequest: &cloudtaskspb.HttpRequest{
				Url: "https://a.example/x?y=z", HttpMethod: cloudtaskspb.HttpMethod_PUT, Body: []byte{0, 0xff, '<'},
			}},
		},
	}
	recorded.answer = func(request proto.Message) (proto.Message, error) {
		return request.(*cloudtaskspb.CreateTaskRequest).GetTask(), nil
	}
	task, err := client.CreateTask(ctx, create)
	if err != nil {
		t.Fatal(err)
	}
	recorded.wantRequest(t, tasks+"CreateTask", create)
	if diff := cmp.Diff(create.GetTask(), task, protocmp.Transform()); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}

	update := &cloudtaskspb.UpdateQueueRequest{
		Queue:      &cloudtaskspb.Queue{Name: queue, RetryConfig: &cloudtaskspb.RetryConfig{MaxAttempts: -1}},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"retry_config.max_attempts", "rate_limits"}},
	}
	recorded.answer = nil
	if _, err := client.UpdateQueue(ctx, update); err != nil {
		t.Fatal(err)
	}
	recorded.wantRequest(t, tasks+"UpdateQueue", update)

	batch := &cloudtaskspb.BatchDeleteTasksRequest{Parent: queue, Names: []string{queue + "/tasks/a"}}
	recorded.answer = func(proto.Message) (proto.Message, error) { return nil, status.Error(codes.NotFound, "gone") }
	operation, err := client.BatchDeleteTasks(ctx, batch)
	if err == nil {
		t.Errorf("no error, but %v", operation)
	}
	recorded.wantRequest(t, tasks+"BatchDeleteTasks", batch)
}

func TestOfficialPubSubClients(t *testing.T) {
	ctx := t.Context()
	recorded, options := serve(t)
	topics, err := pubsubapi.NewTopicAdminRESTClient(ctx, options...)
	if err != nil {
		t.Fatal(err)
	}
	defer topics.Close()

	publish := &pubsubpb.PublishRequest{Topic: topic, Messages: []*pubsubpb.PubsubMessage{{Data: []byte("hi"), OrderingKey: "k"}}}
	recorded.answer = func(proto.Message) (proto.Message, error) {
		return &pubsubpb.PublishResponse{MessageIds: []string{"1"}}, nil
	}
	reply, err := topics.Publish(ctx, publish)
	if err != nil || len(reply.GetMessageIds()) != 1 {
		t.Fatalf("publish: %v, %v", reply, err)
	}
	recorded.wantRequest(t, pubsub+"Publisher/Publish", publish)

	get := &iampb.GetIamPolicyRequest{Resource: topic, Options: &iampb.GetPolicyOptions{RequestedPolicyVersion: 3}}
	recorded.answer = nil
	if _, err := topics.GetIamPolicy(ctx, get); err != nil {
		t.Fatal(err)
	}
	recorded.wantRequest(t, "/google.iam.v1.IAMPolicy/GetIamPolicy", get)

	subscriptions, err := pubsubapi.NewSubscriptionAdminRESTClient(ctx, options...)
	if err != nil {
		t.Fatal(err)
	}
	defer subscriptions.Close()
	update := &pubsubpb.UpdateSubscriptionRequest{
		Subscription: &pubsubpb.Subscription{Name: "projects/p/subscriptions/s", AckDeadlineSeconds: 20},
		UpdateMask:   &fieldmaskpb.FieldMask{Paths: []string{"ack_deadline_seconds"}},
	}
	if _, err := subscriptions.UpdateSubscription(ctx, update); err != nil {
		t.Fatal(err)
	}
	recorded.wantRequest(t, pubsub+"Subscriber/UpdateSubscription", update)
}

// The clients read status, reason and details out of an error.
func TestOfficialClientReadsErrors(t *testing.T) {
	ctx := t.Context()
	recorded, options := serve(t)
	client, err := pubsubapi.NewTopicAdminRESTClient(ctx, options...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	recorded.answer = func(proto.Message) (proto.Message, error) {
		s, err := status.New(codes.FailedPrecondition, "not now").WithDetails(&errdetails.ErrorInfo{Reason: "BUSY", Domain: "pubsub.googleapis.com"})
		if err != nil {
			t.Error(err)
		}
		return nil, s.Err()
	}
	_, err = client.GetTopic(ctx, &pubsubpb.GetTopicRequest{Topic: topic})
	var got *apierror.APIError
	if !errors.As(err, &got) {
		t.Fatalf("error %v", err)
	}
	if got.HTTPCode() != 400 || got.Reason() != "BUSY" || got.Domain() != "pubsub.googleapis.com" {
		t.Errorf("HTTP code %d, reason %q, domain %q", got.HTTPCode(), got.Reason(), got.Domain())
	}
}
