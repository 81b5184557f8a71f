package clienttest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	cloudtasks "cloud.google.com/go/cloudtasks/apiv2"
	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"cloud.google.com/go/iam/apiv1/iampb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"
	locationpb "google.golang.org/genproto/googleapis/cloud/location"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waybill.dev/emulator"
)

// eachTasksClient runs a test with the official client by gRPC and by REST, each with an emulator of its own.
func eachTasksClient(t *testing.T, f func(t *testing.T, client *cloudtasks.Client)) {
	t.Helper()
	eachTasksClientOf(t, emulator.Config{}, f)
}

func eachTasksClientOf(t *testing.T, config emulator.Config, f func(t *testing.T, client *cloudtasks.Client)) {
	t.Helper()
	t.Run("gRPC", func(t *testing.T) {
		client, err := cloudtasks.NewClient(t.Context(), grpcOptions(startWith(t, config))...)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		f(t, client)
	})
	t.Run("REST", func(t *testing.T) {
		client, err := cloudtasks.NewRESTClient(t.Context(), restOptions(startWith(t, config))...)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		f(t, client)
	})
}

const queue = location + "/queues/mails"

func createQueue(t *testing.T, client *cloudtasks.Client, name string) *cloudtaskspb.Queue {
	t.Helper()
	q, err := client.CreateQueue(t.Context(), &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{Name: name}})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// later is a task that is not due for a day.
func later(name, url string) *cloudtaskspb.Task {
	return &cloudtaskspb.Task{
		Name:         name,
		ScheduleTime: timestamppb.New(time.Now().Add(24 * time.Hour).Truncate(time.Microsecond)),
		MessageType:  &cloudtaskspb.Task_HttpRequest{HttpRequest: &cloudtaskspb.HttpRequest{Url: url, Body: []byte("hi")}},
	}
}

// wantCode checks what the client makes of an error, in either mode.
func wantCode(t *testing.T, err error, want codes.Code) {
	t.Helper()
	var overREST *googleapi.Error
	if !errors.As(err, &overREST) {
		if status.Code(err) != want {
			t.Errorf("error %v, want %v", err, want)
		}
		return
	}
	statuses := map[codes.Code]int{codes.InvalidArgument: 400, codes.FailedPrecondition: 400, codes.NotFound: 404, codes.AlreadyExists: 409}
	if overREST.Code != statuses[want] {
		t.Errorf("error %v, want %v", err, want)
	}
}

func all[T any](t *testing.T, next func() (T, error)) []T {
	t.Helper()
	var out []T
	for {
		v, err := next()
		if err == iterator.Done { //nolint:errorlint // the sentinel is returned as it is
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
}

func TestTasksGoClientQueues(t *testing.T) {
	eachTasksClient(t, func(t *testing.T, client *cloudtasks.Client) {
		ctx := t.Context()
		created, err := client.CreateQueue(ctx, &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{
			Name:        queue,
			RateLimits:  &cloudtaskspb.RateLimits{MaxDispatchesPerSecond: 0.5, MaxConcurrentDispatches: 7},
			RetryConfig: &cloudtaskspb.RetryConfig{MaxAttempts: -1, MinBackoff: durationpb.New(1500 * time.Millisecond)},
		}})
		if err != nil {
			t.Fatal(err)
		}
		want := &cloudtaskspb.Queue{
			Name:       queue,
			State:      cloudtaskspb.Queue_RUNNING,
			RateLimits: &cloudtaskspb.RateLimits{MaxDispatchesPerSecond: 0.5, MaxConcurrentDispatches: 7, MaxBurstSize: created.GetRateLimits().GetMaxBurstSize()},
			RetryConfig: &cloudtaskspb.RetryConfig{
				MaxAttempts: -1, MaxRetryDuration: durationpb.New(0), MaxDoublings: 16,
				MinBackoff: durationpb.New(1500 * time.Millisecond), MaxBackoff: durationpb.New(time.Hour),
			},
		}
		if diff := cmp.Diff(want, created, protocmp.Transform()); diff != "" {
			t.Errorf("created (-want +got):\n%s", diff)
		}
		got, err := client.GetQueue(ctx, &cloudtaskspb.GetQueueRequest{Name: queue})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("get (-want +got):\n%s", diff)
		}
		_, err = client.CreateQueue(ctx, &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{Name: queue}})
		wantCode(t, err, codes.AlreadyExists)

		updated, err := client.UpdateQueue(ctx, &cloudtaskspb.UpdateQueueRequest{
			Queue:      &cloudtaskspb.Queue{Name: queue, RetryConfig: &cloudtaskspb.RetryConfig{MaxAttempts: 3}, RateLimits: &cloudtaskspb.RateLimits{MaxConcurrentDispatches: 99}},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"retry_config.max_attempts"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		want.RetryConfig.MaxAttempts = 3
		if diff := cmp.Diff(want, updated, protocmp.Transform()); diff != "" {
			t.Errorf("updated (-want +got):\n%s", diff)
		}
		if _, err := client.UpdateQueue(ctx, &cloudtaskspb.UpdateQueueRequest{Queue: &cloudtaskspb.Queue{Name: location + "/queues/upserted"}}); err != nil {
			t.Errorf("an update of a queue that is not there creates it: %v", err)
		}

		for _, step := range []struct {
			what string
			call func() (*cloudtaskspb.Queue, error)
			want cloudtaskspb.Queue_State
		}{
			{"pause", func() (*cloudtaskspb.Queue, error) {
				return client.PauseQueue(ctx, &cloudtaskspb.PauseQueueRequest{Name: queue})
			}, cloudtaskspb.Queue_PAUSED},
			{"purge", func() (*cloudtaskspb.Queue, error) {
				return client.PurgeQueue(ctx, &cloudtaskspb.PurgeQueueRequest{Name: queue})
			}, cloudtaskspb.Queue_PAUSED},
			{"resume", func() (*cloudtaskspb.Queue, error) {
				return client.ResumeQueue(ctx, &cloudtaskspb.ResumeQueueRequest{Name: queue})
			}, cloudtaskspb.Queue_RUNNING},
		} {
			q, err := step.call()
			if err != nil || q.GetState() != step.want {
				t.Errorf("%s: %v, %v", step.what, q.GetState(), err)
			}
		}
		if got, err := client.GetQueue(ctx, &cloudtaskspb.GetQueueRequest{Name: queue}); err != nil || got.GetPurgeTime() == nil {
			t.Errorf("after a purge: %v, %v", got, err)
		}

		if err := client.DeleteQueue(ctx, &cloudtaskspb.DeleteQueueRequest{Name: queue}); err != nil {
			t.Error(err)
		}
		wantCode(t, client.DeleteQueue(ctx, &cloudtaskspb.DeleteQueueRequest{Name: queue}), codes.NotFound)
		_, err = client.GetQueue(ctx, &cloudtaskspb.GetQueueRequest{Name: queue})
		wantCode(t, err, codes.NotFound)
		_, err = client.GetQueue(ctx, &cloudtaskspb.GetQueueRequest{Name: location + "/queues/a_b"})
		wantCode(t, err, codes.InvalidArgument)
	})
}

func TestTasksGoClientListsQueues(t *testing.T) {
	eachTasksClient(t, func(t *testing.T, client *cloudtasks.Client) {
		var want []string
		for i := range 7 {
			want = append(want, createQueue(t, client, fmt.Sprintf("%s/queues/q%d", location, i)).GetName())
		}
		list := func(req *cloudtaskspb.ListQueuesRequest) []string {
			t.Helper()
			var names []string
			for _, q := range all(t, client.ListQueues(t.Context(), req).Next) {
				names = append(names, q.GetName())
			}
			return names
		}
		if got := list(&cloudtaskspb.ListQueuesRequest{Parent: location, PageSize: 3}); !slices.Equal(got, want) {
			t.Errorf("three a page: %v", got)
		}
		if _, err := client.PauseQueue(t.Context(), &cloudtaskspb.PauseQueueRequest{Name: want[4]}); err != nil {
			t.Fatal(err)
		}
		if got := list(&cloudtaskspb.ListQueuesRequest{Parent: location, Filter: "state: PAUSED"}); !slices.Equal(got, want[4:5]) {
			t.Errorf("those paused: %v", got)
		}
	})
}

func TestTasksGoClientTasks(t *testing.T) {
	eachTasksClient(t, func(t *testing.T, client *cloudtasks.Client) {
		ctx := t.Context()
		createQueue(t, client, queue)
		url, arrivals := receiver(t)
		task := later(queue+"/tasks/one", url+"/send?x=1")
		task.DispatchDeadline = durationpb.New(20 * time.Second)
		task.GetHttpRequest().Headers = map[string]string{"Content-Type": "text/plain"}
		task.GetHttpRequest().HttpMethod = cloudtaskspb.HttpMethod_PUT
		task.GetHttpRequest().AuthorizationHeader = &cloudtaskspb.HttpRequest_OidcToken{OidcToken: &cloudtaskspb.OidcToken{ServiceAccountEmail: account, Audience: "https://mailer.test"}}
		created, err := client.CreateTask(ctx, &cloudtaskspb.CreateTaskRequest{Parent: queue, Task: task, ResponseView: cloudtaskspb.Task_FULL})
		if err != nil {
			t.Fatal(err)
		}
		ignoreSet := []cmp.Option{
			protocmp.Transform(),
			protocmp.IgnoreFields(&cloudtaskspb.Task{}, "create_time", "view"),
			protocmp.IgnoreFields(&cloudtaskspb.HttpRequest{}, "headers"), // User-Agent is added
		}
		if diff := cmp.Diff(task, created, ignoreSet...); diff != "" {
			t.Errorf("created (-want +got):\n%s", diff)
		}
		if created.GetView() != cloudtaskspb.Task_FULL || created.GetHttpRequest().GetHeaders()["Content-Type"] != "text/plain" || created.GetCreateTime() == nil {
			t.Errorf("created: %v", created)
		}
		full, err := client.GetTask(ctx, &cloudtaskspb.GetTaskRequest{Name: task.GetName(), ResponseView: cloudtaskspb.Task_FULL})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(created, full, protocmp.Transform()); diff != "" {
			t.Errorf("get (-want +got):\n%s", diff)
		}
		basic, err := client.GetTask(ctx, &cloudtaskspb.GetTaskRequest{Name: task.GetName()})
		if err != nil || len(basic.GetHttpRequest().GetBody()) > 0 || basic.GetView() != cloudtaskspb.Task_BASIC {
			t.Errorf("basic view: %v, %v", basic, err)
		}
		_, err = client.CreateTask(ctx, &cloudtaskspb.CreateTaskRequest{Parent: queue, Task: task})
		wantCode(t, err, codes.AlreadyExists)
		_, err = client.CreateTask(ctx, &cloudtaskspb.CreateTaskRequest{Parent: queue, Task: &cloudtaskspb.Task{}})
		wantCode(t, err, codes.InvalidArgument)
		_, err = client.CreateTask(ctx, &cloudtaskspb.CreateTaskRequest{Parent: location + "/queues/none", Task: later("", url)})
		wantCode(t, err, codes.NotFound)

		if _, err := client.RunTask(ctx, &cloudtaskspb.RunTaskRequest{Name: task.GetName()}); err != nil {
			t.Fatal(err)
		}
		got := next(t, arrivals)
		if got.method != "PUT" || got.path != "/send?x=1" || got.body != "hi" || got.header.Get("Content-Type") != "text/plain" || got.header.Get("X-Cloudtasks-Taskname") != "one" || got.header.Get("Authorization") == "" {
			t.Errorf("arrived: %+v", got)
		}

		names := []string{}
		for i := range 5 {
			created, err := client.CreateTask(ctx, &cloudtaskspb.CreateTaskRequest{Parent: queue, Task: later(fmt.Sprintf("%s/tasks/t%d", queue, i), url)})
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, created.GetName())
		}
		if err := client.DeleteTask(ctx, &cloudtaskspb.DeleteTaskRequest{Name: names[0]}); err != nil {
			t.Error(err)
		}
		wantCode(t, client.DeleteTask(ctx, &cloudtaskspb.DeleteTaskRequest{Name: names[0]}), codes.NotFound)
		var listed []string
		for _, task := range all(t, client.ListTasks(ctx, &cloudtaskspb.ListTasksRequest{Parent: queue, PageSize: 2, ResponseView: cloudtaskspb.Task_FULL}).Next) {
			if task.GetName() == queue+"/tasks/one" {
				continue // its deletion after the answer may be a moment away
			}
			listed = append(listed, task.GetName())
			if string(task.GetHttpRequest().GetBody()) != "hi" {
				t.Errorf("listed in full: %v", task)
			}
		}
		if diff := cmp.Diff(names[1:], listed); diff != "" {
			t.Errorf("listed (-want +got):\n%s", diff)
		}
	})
}

func TestTasksGoClientAppEngineTask(t *testing.T) {
	url, arrivals := receiver(t)
	eachTasksClientOf(t, emulator.Config{AppEngine: url}, func(t *testing.T, client *cloudtasks.Client) {
		createQueue(t, client, queue)
		task := later("", "")
		task.MessageType = &cloudtaskspb.Task_AppEngineHttpRequest{AppEngineHttpRequest: &cloudtaskspb.AppEngineHttpRequest{
			RelativeUri: "/work", Body: []byte("hi"), AppEngineRouting: &cloudtaskspb.AppEngineRouting{Service: "mailer", Version: "v2"},
		}}
		created, err := client.CreateTask(t.Context(), &cloudtaskspb.CreateTaskRequest{Parent: queue, Task: task})
		if err != nil {
			t.Fatal(err)
		}
		if got := created.GetAppEngineHttpRequest(); got.GetRelativeUri() != "/work" || got.GetAppEngineRouting().GetService() != "mailer" || got.GetHttpMethod() != cloudtaskspb.HttpMethod_POST {
			t.Errorf("created: %v", created)
		}
		if _, err := client.RunTask(t.Context(), &cloudtaskspb.RunTaskRequest{Name: created.GetName()}); err != nil {
			t.Fatal(err)
		}
		if got := next(t, arrivals); got.method != "POST" || got.path != "/work" || got.body != "hi" || got.header.Get("X-Appengine-Queuename") != "mails" {
			t.Errorf("arrived: %+v", got)
		}
	})
}

func TestTasksGoClientBatches(t *testing.T) {
	eachTasksClient(t, func(t *testing.T, client *cloudtasks.Client) {
		ctx := t.Context()
		createQueue(t, client, queue)
		batch := &cloudtaskspb.BatchCreateTasksRequest{Parent: queue}
		var names []string
		for i := range 3 {
			names = append(names, fmt.Sprintf("%s/tasks/b%d", queue, i))
			batch.Requests = append(batch.Requests, &cloudtaskspb.CreateTaskRequest{Parent: queue, Task: later(names[i], "https://mailer.test/")})
		}
		creating, err := client.BatchCreateTasks(ctx, batch)
		if err != nil {
			t.Fatal(err)
		}
		created, err := creating.Wait(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, task := range created.GetTasks() {
			got = append(got, task.GetName())
		}
		if diff := cmp.Diff(names, got); diff != "" {
			t.Errorf("created (-want +got):\n%s", diff)
		}
		deleting, err := client.BatchDeleteTasks(ctx, &cloudtaskspb.BatchDeleteTasksRequest{Parent: queue, Names: names[:2]})
		if err != nil {
			t.Fatal(err)
		}
		if err := deleting.Wait(ctx); err != nil {
			t.Error(err)
		}
		left := all(t, client.ListTasks(ctx, &cloudtaskspb.ListTasksRequest{Parent: queue}).Next)
		if len(left) != 1 || left[0].GetName() != names[2] {
			t.Errorf("left: %v", left)
		}
	})
}

func TestTasksGoClientHTTPTarget(t *testing.T) {
	eachTasksClient(t, func(t *testing.T, client *cloudtasks.Client) {
		url, arrivals := receiver(t)
		q, err := client.CreateQueue(t.Context(), &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{
			Name: queue,
			HttpTarget: &cloudtaskspb.HttpTarget{
				UriOverride:     &cloudtaskspb.UriOverride{PathOverride: &cloudtaskspb.PathOverride{Path: "/over"}},
				HttpMethod:      cloudtaskspb.HttpMethod_PUT,
				HeaderOverrides: []*cloudtaskspb.HttpTarget_HeaderOverride{{Header: &cloudtaskspb.HttpTarget_Header{Key: "X-Over", Value: "yes"}}},
			},
		}})
		if err != nil {
			t.Fatal(err)
		}
		if q.GetHttpTarget().GetUriOverride().GetPathOverride().GetPath() != "/over" {
			t.Errorf("created: %v", q)
		}
		task := later("", url+"/under")
		task.ScheduleTime = nil
		if _, err := client.CreateTask(t.Context(), &cloudtaskspb.CreateTaskRequest{Parent: queue, Task: task}); err != nil {
			t.Fatal(err)
		}
		if got := next(t, arrivals); got.method != "PUT" || got.path != "/over" || got.header.Get("X-Over") != "yes" {
			t.Errorf("arrived: %+v", got)
		}
	})
}

func TestTasksGoClientPolicies(t *testing.T) {
	eachTasksClient(t, func(t *testing.T, client *cloudtasks.Client) {
		ctx := t.Context()
		createQueue(t, client, queue)
		policy, err := client.GetIamPolicy(ctx, &iampb.GetIamPolicyRequest{Resource: queue})
		if err != nil || len(policy.GetBindings()) > 0 {
			t.Fatalf("of a new queue: %v, %v", policy, err)
		}
		policy.Bindings = []*iampb.Binding{{Role: "roles/cloudtasks.enqueuer", Members: []string{"serviceAccount:" + account}}}
		set, err := client.SetIamPolicy(ctx, &iampb.SetIamPolicyRequest{Resource: queue, Policy: policy})
		if err != nil {
			t.Fatal(err)
		}
		got, err := client.GetIamPolicy(ctx, &iampb.GetIamPolicyRequest{Resource: queue})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(set, got, protocmp.Transform()); diff != "" || len(got.GetBindings()) != 1 {
			t.Errorf("get (-set +got):\n%s", diff)
		}
		permissions := []string{"cloudtasks.tasks.create", "cloudtasks.queues.get"}
		held, err := client.TestIamPermissions(ctx, &iampb.TestIamPermissionsRequest{Resource: queue, Permissions: permissions})
		if err != nil || !slices.Equal(held.GetPermissions(), permissions) {
			t.Errorf("held: %v, %v", held, err)
		}
	})
}

func TestTasksGoClientLocationsAndKeys(t *testing.T) {
	eachTasksClient(t, func(t *testing.T, client *cloudtasks.Client) {
		ctx := t.Context()
		locations := all(t, client.ListLocations(ctx, &locationpb.ListLocationsRequest{Name: "projects/" + project}).Next)
		if !slices.ContainsFunc(locations, func(l *locationpb.Location) bool {
			return l.GetName() == location && l.GetLocationId() == "us-central1"
		}) {
			t.Errorf("locations: %v", locations)
		}
		if l, err := client.GetLocation(ctx, &locationpb.GetLocationRequest{Name: location}); err != nil || l.GetName() != location {
			t.Errorf("location: %v, %v", l, err)
		}
		const key = location + "/keyRings/r/cryptoKeys/k"
		set, err := client.UpdateCmekConfig(ctx, &cloudtaskspb.UpdateCmekConfigRequest{CmekConfig: &cloudtaskspb.CmekConfig{Name: location + "/cmekConfig", KmsKey: key}})
		if err != nil || set.GetKmsKey() != key {
			t.Errorf("set the key: %v, %v", set, err)
		}
		if got, err := client.GetCmekConfig(ctx, &cloudtaskspb.GetCmekConfigRequest{Name: location + "/cmekConfig"}); err != nil || got.GetKmsKey() != key {
			t.Errorf("the key: %v, %v", got, err)
		}
	})
}
