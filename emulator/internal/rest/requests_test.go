package rest

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"cloud.google.com/go/iam/apiv1/iampb"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	queue  = "projects/p/locations/us-central1/queues/q"
	topic  = "projects/p/topics/t"
	tasks  = "/google.cloud.tasks.v2.CloudTasks/"
	pubsub = "/google.pubsub.v1."
)

// Requests as gcloud (571.0) sends them, and the other spellings that Google's servers take.
func TestRequests(t *testing.T) {
	future := timestamppb.New(time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC))
	for _, tt := range []struct {
		name, verb, target, body, method string
		want                             proto.Message
	}{
		{
			"gcloud tasks queues create", "POST", "/v2/projects/p/locations/us-central1/queues?alt=json",
			`{"name": "` + queue + `", "rateLimits": {"maxDispatchesPerSecond": 5.0}, "retryConfig": {"maxAttempts": 3, "minBackoff": "1s"}}`,
			tasks + "CreateQueue",
			&cloudtaskspb.CreateQueueRequest{
				Parent: "projects/p/locations/us-central1",
				Queue: &cloudtaskspb.Queue{
					Name:        queue,
					RateLimits:  &cloudtaskspb.RateLimits{MaxDispatchesPerSecond: 5},
					RetryConfig: &cloudtaskspb.RetryConfig{MaxAttempts: 3, MinBackoff: durationpb.New(time.Second)},
				},
			},
		},
		{
			"gcloud tasks queues update", "PATCH", "/v2/" + queue + "?alt=json&updateMask=retryConfig.maxAttempts",
			`{"name": "` + queue + `", "retryConfig": {"maxAttempts": 7}}`,
			tasks + "UpdateQueue",
			&cloudtaskspb.UpdateQueueRequest{
				Queue:      &cloudtaskspb.Queue{Name: queue, RetryConfig: &cloudtaskspb.RetryConfig{MaxAttempts: 7}},
				UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"retry_config.max_attempts"}},
			},
		},
		{
			"snake case in mask and body, raw semicolon in $alt", "PATCH",
			"/v2/" + queue + "?$alt=json;enum-encoding=int&update_mask=rate_limits.max_dispatches_per_second,retry_config",
			`{"rate_limits": {"max_dispatches_per_second": "2.5"}, "state": 2}`,
			tasks + "UpdateQueue",
			&cloudtaskspb.UpdateQueueRequest{
				Queue: &cloudtaskspb.Queue{
					Name:       queue,
					RateLimits: &cloudtaskspb.RateLimits{MaxDispatchesPerSecond: 2.5},
					State:      cloudtaskspb.Queue_PAUSED,
				},
				UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"rate_limits.max_dispatches_per_second", "retry_config"}},
			},
		},
		{
			"gcloud tasks create-http-task", "POST", "/v2/" + queue + "/tasks?alt=json",
			`{"task": {"httpRequest": {"body": "aGVsbG8=", "headers": {"A": "b"}, "httpMethod": "POST", "oidcToken": {"serviceAccountEmail": "a@p.iam.gserviceaccount.com"}, "url": "http://127.0.0.1/x"}, "name": "` + queue + `/tasks/t1", "scheduleTime": "2027-01-02T03:04:05Z"}}`,
			tasks + "CreateTask",
			&cloudtaskspb.CreateTaskRequest{
				Parent: queue,
				Task: &cloudtaskspb.Task{
					Name:         queue + "/tasks/t1",
					ScheduleTime: future,
					MessageType: &cloudtaskspb.Task_HttpRequest{HttpRequest: &cloudtaskspb.HttpRequest{
						Url: "http://127.0.0.1/x", HttpMethod: cloudtaskspb.HttpMethod_POST,
						Headers: map[string]string{"A": "b"}, Body: []byte("hello"),
						AuthorizationHeader: &cloudtaskspb.HttpRequest_OidcToken{OidcToken: &cloudtaskspb.OidcToken{ServiceAccountEmail: "a@p.iam.gserviceaccount.com"}},
					}},
				},
			},
		},
		{
			"enums by number in a body", "POST", "/v2/" + queue + "/tasks",
			`{"task": {"httpRequest": {"httpMethod": 4, "body": "_-8"}}, "responseView": 2}`,
			tasks + "CreateTask",
			&cloudtaskspb.CreateTaskRequest{
				Parent: queue,
				Task: &cloudtaskspb.Task{MessageType: &cloudtaskspb.Task_HttpRequest{HttpRequest: &cloudtaskspb.HttpRequest{
					HttpMethod: cloudtaskspb.HttpMethod_PUT, Body: []byte{0xff, 0xef},
				}}},
				ResponseView: cloudtaskspb.Task_FULL,
			},
		},
		{
			"enum by name in a query", "GET", "/v2/" + queue + "/tasks?pageSize=25&responseView=FULL&pageToken=a%26b", "",
			tasks + "ListTasks",
			&cloudtaskspb.ListTasksRequest{Parent: queue, PageSize: 25, ResponseView: cloudtaskspb.Task_FULL, PageToken: "a&b"},
		},
		{
			"enum by number in a query, system parameters", "GET",
			"/v2/" + queue + "/tasks?response_view=1&prettyPrint=true&quotaUser=u&key=k&$.xgafv=2&fields=tasks", "",
			tasks + "ListTasks",
			&cloudtaskspb.ListTasksRequest{Parent: queue, ResponseView: cloudtaskspb.Task_BASIC},
		},
		{
			"gcloud tasks queues pause", "POST", "/v2/" + queue + ":pause?alt=json", "{}",
			tasks + "PauseQueue", &cloudtaskspb.PauseQueueRequest{Name: queue},
		},
		{
			"a body that may be missing", "POST", "/v2/" + queue + ":purge", "",
			tasks + "PurgeQueue", &cloudtaskspb.PurgeQueueRequest{Name: queue},
		},
		{
			"gcloud pubsub topics publish", "POST", "/v1/" + topic + ":publish?alt=json",
			`{"messages": [{"attributes": {"a": "b"}, "data": "aGk="}]}`,
			pubsub + "Publisher/Publish",
			&pubsubpb.PublishRequest{Topic: topic, Messages: []*pubsubpb.PubsubMessage{{Data: []byte("hi"), Attributes: map[string]string{"a": "b"}}}},
		},
		{
			"gcloud pubsub subscriptions create", "PUT", "/v1/projects/p/subscriptions/s?alt=json",
			`{"ackDeadlineSeconds": 30, "enableMessageOrdering": true, "name": "projects/p/subscriptions/s", "pushConfig": {"oidcToken": {"serviceAccountEmail": "a@p.iam.gserviceaccount.com"}, "pushEndpoint": "https://e.example/x"}, "topic": "projects/p/topics/t"}`,
			pubsub + "Subscriber/CreateSubscription",
			&pubsubpb.Subscription{
				Name: "projects/p/subscriptions/s", Topic: topic, AckDeadlineSeconds: 30, EnableMessageOrdering: true,
				PushConfig: &pubsubpb.PushConfig{
					PushEndpoint:         "https://e.example/x",
					AuthenticationMethod: &pubsubpb.PushConfig_OidcToken_{OidcToken: &pubsubpb.PushConfig_OidcToken{ServiceAccountEmail: "a@p.iam.gserviceaccount.com"}},
				},
			},
		},
		{
			"gcloud pubsub subscriptions update", "PATCH", "/v1/projects/p/subscriptions/s?alt=json",
			`{"subscription": {"ackDeadlineSeconds": 40, "labels": {"k": "v"}, "name": "projects/p/subscriptions/s"}, "updateMask": "ackDeadlineSeconds,labels"}`,
			pubsub + "Subscriber/UpdateSubscription",
			&pubsubpb.UpdateSubscriptionRequest{
				Subscription: &pubsubpb.Subscription{Name: "projects/p/subscriptions/s", AckDeadlineSeconds: 40, Labels: map[string]string{"k": "v"}},
				UpdateMask:   &fieldmaskpb.FieldMask{Paths: []string{"ack_deadline_seconds", "labels"}},
			},
		},
		{
			"snake-case mask in a body", "PATCH", "/v1/projects/p/subscriptions/s",
			`{"subscription": {"retry_policy": {"minimum_backoff": "1.5s"}}, "update_mask": "retry_policy, *"}`,
			pubsub + "Subscriber/UpdateSubscription",
			&pubsubpb.UpdateSubscriptionRequest{
				Subscription: &pubsubpb.Subscription{
					Name:        "projects/p/subscriptions/s",
					RetryPolicy: &pubsubpb.RetryPolicy{MinimumBackoff: durationpb.New(1500 * time.Millisecond)},
				},
				UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"retry_policy", "*"}},
			},
		},
		{
			"nested query parameter", "GET", "/v1/" + topic + ":getIamPolicy?options.requestedPolicyVersion=3", "",
			"/google.iam.v1.IAMPolicy/GetIamPolicy",
			&iampb.GetIamPolicyRequest{Resource: topic, Options: &iampb.GetPolicyOptions{RequestedPolicyVersion: 3}},
		},
		{
			"repeated query parameter", "POST", "/v1/" + topic + ":testIamPermissions?permissions=a&permissions=b", "",
			"/google.iam.v1.IAMPolicy/TestIamPermissions",
			&iampb.TestIamPermissionsRequest{Resource: topic, Permissions: []string{"a", "b"}},
		},
		{
			"timestamp, duration and bytes in a query", "POST",
			"/v2/" + queue + "/tasks?task.schedule_time=2027-01-02T03:04:05Z&task.dispatchDeadline=30s&task.httpRequest.body=aGk%3D", "",
			tasks + "CreateTask",
			&cloudtaskspb.CreateTaskRequest{
				Parent: queue,
				Task: &cloudtaskspb.Task{
					ScheduleTime: future, DispatchDeadline: durationpb.New(30 * time.Second),
					MessageType: &cloudtaskspb.Task_HttpRequest{HttpRequest: &cloudtaskspb.HttpRequest{Body: []byte("hi")}},
				},
			},
		},
		{
			"the path wins over the body", "PUT", "/v1/" + topic, `{"name": "projects/p/topics/other"}`,
			pubsub + "Publisher/CreateTopic", &pubsubpb.Topic{Name: topic},
		},
		{
			"an escaped name", "GET", "/v1/projects/p/topics/a%25b%2B", "",
			pubsub + "Publisher/GetTopic", &pubsubpb.GetTopicRequest{Topic: "projects/p/topics/a%b+"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, recorded := newRecorded(Config{})
			answer := do(h, tt.verb, tt.target, tt.body)
			if answer.Code != http.StatusOK {
				t.Fatalf("status %d: %s", answer.Code, bodyOf(t, answer))
			}
			recorded.wantRequest(t, tt.method, tt.want)
		})
	}
}

func TestCompressedBody(t *testing.T) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(`{"messages": [{"data": "aGk="}]}`)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	h, recorded := newRecorded(Config{})
	answer := do(h, "POST", "/v1/"+topic+":publish", b.String(), "Content-Encoding", "gzip")
	if answer.Code != http.StatusOK {
		t.Fatalf("status %d: %s", answer.Code, bodyOf(t, answer))
	}
	recorded.wantRequest(t, pubsub+"Publisher/Publish",
		&pubsubpb.PublishRequest{Topic: topic, Messages: []*pubsubpb.PubsubMessage{{Data: []byte("hi")}}})
}

func TestMethodOverride(t *testing.T) {
	h, recorded := newRecorded(Config{})
	answer := do(h, "POST", "/v2/"+queue+"/tasks?alt=json", "pageToken=a%20b&pageSize=3", "X-HTTP-Method-Override", "GET")
	if answer.Code != http.StatusOK {
		t.Fatalf("status %d: %s", answer.Code, bodyOf(t, answer))
	}
	recorded.wantRequest(t, tasks+"ListTasks", &cloudtaskspb.ListTasksRequest{Parent: queue, PageToken: "a b", PageSize: 3})

	do(h, "POST", "/v2/"+queue, `{"state": "PAUSED"}`, "X-HTTP-Method-Override", "patch")
	recorded.wantRequest(t, tasks+"UpdateQueue",
		&cloudtaskspb.UpdateQueueRequest{Queue: &cloudtaskspb.Queue{Name: queue, State: cloudtaskspb.Queue_PAUSED}})

	// Only a POST may stand for another method.
	do(h, "GET", "/v2/"+queue, "", "X-HTTP-Method-Override", "DELETE")
	recorded.wantRequest(t, tasks+"GetQueue", &cloudtaskspb.GetQueueRequest{Name: queue})
}

// The implementation sees what it would see behind a gRPC server.
func TestServerContext(t *testing.T) {
	h, recorded := newRecorded(Config{})
	do(h, "GET", "/v2/"+queue, "", "Authorization", "Bearer t", "X-Goog-User-Project", "p", "Cookie", "c")
	if method, ok := grpc.Method(recorded.ctx); !ok || method != tasks+"GetQueue" {
		t.Errorf("grpc.Method = %q, %v", method, ok)
	}
	if err := grpc.SetHeader(recorded.ctx, metadata.Pairs("a", "b")); err != nil {
		t.Errorf("grpc.SetHeader: %v", err)
	}
	md, _ := metadata.FromIncomingContext(recorded.ctx)
	if got := md.Get("authorization"); len(got) != 1 || got[0] != "Bearer t" {
		t.Errorf("authorization = %q", got)
	}
	if got := md.Get("x-goog-user-project"); len(got) != 1 || got[0] != "p" {
		t.Errorf("x-goog-user-project = %q", got)
	}
	if got := md.Get("cookie"); got != nil {
		t.Errorf("cookie = %q, want nothing", got)
	}
}
