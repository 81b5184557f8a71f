package cloudtasks

import (
	"math"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"cloud.google.com/go/iam/apiv1/iampb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func defaultQueue(change func(*cloudtaskspb.Queue)) *cloudtaskspb.Queue {
	q := &cloudtaskspb.Queue{
		Name:       queueA,
		State:      cloudtaskspb.Queue_RUNNING,
		RateLimits: &cloudtaskspb.RateLimits{MaxDispatchesPerSecond: 500, MaxBurstSize: 500, MaxConcurrentDispatches: 1000},
		RetryConfig: &cloudtaskspb.RetryConfig{
			MaxAttempts: 100, MaxDoublings: 16, MaxRetryDuration: durationpb.New(0),
			MinBackoff: durationpb.New(100 * time.Millisecond), MaxBackoff: durationpb.New(time.Hour),
		},
	}
	change(q)
	return q
}

func TestQueueDefaultsAndUpdates(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		check := func(what string, got *cloudtaskspb.Queue, err error, change func(*cloudtaskspb.Queue)) {
			t.Helper()
			b.must(err)
			if diff := cmp.Diff(defaultQueue(change), got, protocmp.Transform()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}
		update := func(q *cloudtaskspb.Queue, paths ...string) (*cloudtaskspb.Queue, error) {
			q.Name = queueA
			return b.UpdateQueue(b.ctx, &cloudtaskspb.UpdateQueueRequest{Queue: q, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
		}
		// The state is the service's own: a client cannot set it.
		q, err := b.CreateQueue(b.ctx, &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{Name: queueA, State: cloudtaskspb.Queue_PAUSED}})
		check("created", q, err, func(*cloudtaskspb.Queue) {})

		q, err = update(&cloudtaskspb.Queue{RetryConfig: &cloudtaskspb.RetryConfig{MaxAttempts: 5}, State: cloudtaskspb.Queue_PAUSED}, "retryConfig.maxAttempts", "retry_config.max_doublings", "state")
		check("by leaves", q, err, func(q *cloudtaskspb.Queue) { q.RetryConfig.MaxAttempts, q.RetryConfig.MaxDoublings = 5, 0 })

		q, err = update(&cloudtaskspb.Queue{RateLimits: &cloudtaskspb.RateLimits{MaxDispatchesPerSecond: 1.5}}, "rate_limits")
		check("by message; the doublings stay none", q, err, func(q *cloudtaskspb.Queue) {
			q.RetryConfig.MaxAttempts, q.RetryConfig.MaxDoublings = 5, 0
			q.RateLimits.MaxDispatchesPerSecond, q.RateLimits.MaxBurstSize = 1.5, 2
		})

		q, err = update(&cloudtaskspb.Queue{})
		check("without a mask: all fields", q, err, func(*cloudtaskspb.Queue) {})

		_, err = update(&cloudtaskspb.Queue{}, "retry_config.nothing")
		wantError(t, err, codes.InvalidArgument, `updateMask has the unknown field "retry_config.nothing"`)
		_, err = update(&cloudtaskspb.Queue{}, "name.x")
		wantError(t, err, codes.InvalidArgument, "updateMask has the unknown field")

		// UpdateQueue creates a queue that is missing.
		b.Reset()
		q, err = update(&cloudtaskspb.Queue{RetryConfig: &cloudtaskspb.RetryConfig{MaxAttempts: -1}}, "retry_config.max_attempts")
		check("upserted", q, err, func(q *cloudtaskspb.Queue) { q.RetryConfig.MaxAttempts = -1 })
		q, err = b.GetQueue(b.ctx, &cloudtaskspb.GetQueueRequest{Name: queueA})
		check("got", q, err, func(q *cloudtaskspb.Queue) { q.RetryConfig.MaxAttempts = -1 })
	})
}

func TestBackoffBoundsFillEachOtherIn(t *testing.T) {
	for _, c := range []struct{ sent, want *cloudtaskspb.RetryConfig }{
		{
			&cloudtaskspb.RetryConfig{MaxBackoff: durationpb.New(10 * time.Millisecond)},
			&cloudtaskspb.RetryConfig{MinBackoff: durationpb.New(10 * time.Millisecond), MaxBackoff: durationpb.New(10 * time.Millisecond)},
		},
		{
			&cloudtaskspb.RetryConfig{MinBackoff: durationpb.New(2 * time.Hour)},
			&cloudtaskspb.RetryConfig{MinBackoff: durationpb.New(2 * time.Hour), MaxBackoff: durationpb.New(2 * time.Hour)},
		},
	} {
		if err := completeRetry("queue.retry_config", c.sent); err != nil {
			t.Error(err)
		}
		if got := policyOf(c.sent); got.minBackoff != c.want.GetMinBackoff().AsDuration() || got.maxBackoff != c.want.GetMaxBackoff().AsDuration() {
			t.Errorf("%+v", got)
		}
	}
}

func TestQueueErrors(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(nil, nil)
		create := func(parent string, q *cloudtaskspb.Queue) error {
			_, err := b.CreateQueue(b.ctx, &cloudtaskspb.CreateQueueRequest{Parent: parent, Queue: q})
			return err
		}
		rates := func(r *cloudtaskspb.RateLimits) error {
			return create(location, &cloudtaskspb.Queue{Name: location + "/queues/b", RateLimits: r})
		}
		retry := func(r *cloudtaskspb.RetryConfig) error {
			return create(location, &cloudtaskspb.Queue{Name: location + "/queues/b", RetryConfig: r})
		}
		second := durationpb.New(time.Second)
		for _, c := range []struct {
			name    string
			err     error
			code    codes.Code
			message string
		}{
			{"exists", create(location, &cloudtaskspb.Queue{Name: queueA}), codes.AlreadyExists, "Queue already exists"},
			{"no queue", create(location, nil), codes.InvalidArgument, `Queue name must be formatted: "projects/<PROJECT_ID>/locations/<LOCATION_ID>/queues/<QUEUE_ID>".`},
			{"bad parent", create("projects/p", &cloudtaskspb.Queue{Name: queueA}), codes.InvalidArgument, `"projects/p" is not a location name`},
			{"other parent", create("projects/p/locations/l", &cloudtaskspb.Queue{Name: queueA}), codes.InvalidArgument, queueA + " must begin with projects/p/locations/l."},
			{"rate", rates(&cloudtaskspb.RateLimits{MaxDispatchesPerSecond: 501}), codes.InvalidArgument, "RateLimits.maxDispatchesPerSecond must be less than or equal to 500."},
			{"negative rate", rates(&cloudtaskspb.RateLimits{MaxDispatchesPerSecond: -1}), codes.InvalidArgument, "RateLimits.maxDispatchesPerSecond cannot be negative."},
			{"concurrency", rates(&cloudtaskspb.RateLimits{MaxConcurrentDispatches: 5001}), codes.InvalidArgument, "RateLimits.maxConcurrentDispatches must be less than or equal to 5000."},
			{"negative concurrency", rates(&cloudtaskspb.RateLimits{MaxConcurrentDispatches: -1}), codes.InvalidArgument, "RateLimits.maxConcurrentDispatches cannot be negative."},
			{"rate that is no number", rates(&cloudtaskspb.RateLimits{MaxDispatchesPerSecond: math.NaN()}), codes.InvalidArgument, "RateLimits.maxDispatchesPerSecond must be a number."},
			{"infinite rate", rates(&cloudtaskspb.RateLimits{MaxDispatchesPerSecond: math.Inf(1)}), codes.InvalidArgument, "RateLimits.maxDispatchesPerSecond must be less than"},
			{"attempts", retry(&cloudtaskspb.RetryConfig{MaxAttempts: -2}), codes.InvalidArgument, "RetryConfig.maxAttempts must be greater or equal to -1."},
			{"doublings", retry(&cloudtaskspb.RetryConfig{MaxDoublings: -1}), codes.InvalidArgument, "RetryConfig.maxDoublings cannot be negative."},
			{"negative backoff", retry(&cloudtaskspb.RetryConfig{MinBackoff: durationpb.New(-1)}), codes.InvalidArgument, "RetryConfig.minBackoff cannot be negative."},
			{"backoffs crossed", retry(&cloudtaskspb.RetryConfig{MinBackoff: durationpb.New(time.Minute), MaxBackoff: second}), codes.InvalidArgument, "RetryConfig.minBackoff must be less than or equal to RetryConfig.maxBackoff."},
			{"absurd backoff", retry(&cloudtaskspb.RetryConfig{MaxBackoff: &durationpb.Duration{Seconds: math.MaxInt64}}), codes.InvalidArgument, "RetryConfig.maxBackoff is not a duration."},
			{"sampling ratio", create(location, &cloudtaskspb.Queue{Name: location + "/queues/b", StackdriverLoggingConfig: &cloudtaskspb.StackdriverLoggingConfig{SamplingRatio: 1.5}}), codes.InvalidArgument, "StackdriverLoggingConfig.samplingRatio"},
			{"sampling ratio that is no number", create(location, &cloudtaskspb.Queue{Name: location + "/queues/b", StackdriverLoggingConfig: &cloudtaskspb.StackdriverLoggingConfig{SamplingRatio: math.NaN()}}), codes.InvalidArgument, "StackdriverLoggingConfig.samplingRatio"},
			{"bad id", create(location, &cloudtaskspb.Queue{Name: location + "/queues/a_b"}), codes.InvalidArgument, `Queue ID "a_b" can contain only letters`},
		} {
			t.Run(c.name, func(t *testing.T) { wantError(t, c.err, c.code, c.message) })
		}
		_, err := b.GetQueue(b.ctx, &cloudtaskspb.GetQueueRequest{Name: location + "/queues/b"})
		wantError(t, err, codes.NotFound, "Queue does not exist. If you just created the queue, wait at least a minute")
		_, err = b.DeleteQueue(b.ctx, &cloudtaskspb.DeleteQueueRequest{Name: location + "/queues/b"})
		wantError(t, err, codes.NotFound, "Requested entity was not found.")
	})
}

func TestQueueTombstone(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		again := func() error {
			_, err := b.DeleteQueue(b.ctx, &cloudtaskspb.DeleteQueueRequest{Name: queueA})
			b.must(err)
			_, err = b.CreateQueue(b.ctx, &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{Name: queueA}})
			return err
		}
		b.queue(nil, nil)
		b.create(b.in(time.Minute))
		b.must(again()) // off by default
		b.after(time.Hour)
		if len(b.got()) != 0 {
			t.Error("a task of the deleted queue was delivered")
		}
		b.Engine.config.QueueTombstone = 72 * time.Hour
		wantError(t, again(), codes.FailedPrecondition, "The queue cannot be created because a queue with this name existed too recently.")
		b.after(72 * time.Hour)
		b.queue(nil, nil)
	})
}

func TestTaskErrors(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(nil, nil)
		http := func(change func(*cloudtaskspb.HttpRequest)) error {
			_, err := b.tryCreate(request(change))
			return err
		}
		create := func(parent string, task *cloudtaskspb.Task) error {
			_, err := b.CreateTask(b.ctx, &cloudtaskspb.CreateTaskRequest{Parent: parent, Task: task})
			return err
		}
		_, tooFar := b.tryCreate(b.in(720*time.Hour + time.Second))
		_, tooShort := b.tryCreate(deadline(14 * time.Second))
		_, tooLong := b.tryCreate(deadline(31 * time.Minute))
		for _, c := range []struct {
			name    string
			err     error
			code    codes.Code
			message string
		}{
			{"no queue", create(location+"/queues/b", newTask()), codes.NotFound, "Queue does not exist."},
			{"bad queue", create("queues/b", newTask()), codes.InvalidArgument, "Queue name must be formatted"},
			{"bad name", create(queueA, newTask(named("a b"))), codes.InvalidArgument, `Task ID "a b" can contain only letters ([A-Za-z]), numbers ([0-9]), hyphens (-), or underscores (_). Task ID must between 1 and 500 characters.`},
			{"other queue's name", create(queueA, newTask(func(t *cloudtaskspb.Task) { t.Name = location + "/queues/b/tasks/t" })), codes.InvalidArgument, "The queue name from request ('" + queueA + "') must be the same as the queue name in the named task ('" + location + "/queues/b')."},
			{"no task", create(queueA, nil), codes.InvalidArgument, "Task.httpRequest is required."},
			{"no target", create(queueA, &cloudtaskspb.Task{}), codes.InvalidArgument, "Task.httpRequest is required."},
			{"no URL", http(func(r *cloudtaskspb.HttpRequest) { r.Url = "" }), codes.InvalidArgument, "HttpRequest.url is required."},
			{"scheme", http(func(r *cloudtaskspb.HttpRequest) { r.Url = "ftp://a" }), codes.InvalidArgument, "HttpTarget.url must start with 'http://' or 'https://'."},
			{"no host", http(func(r *cloudtaskspb.HttpRequest) { r.Url = "http:///x" }), codes.InvalidArgument, "HttpRequest.url must have a valid host."},
			{"long URL", http(func(r *cloudtaskspb.HttpRequest) { r.Url = "http://a/" + strings.Repeat("x", 2083) }), codes.InvalidArgument, "HttpRequest.url must have no more than 2083"},
			{"a bad escape is accepted", http(func(r *cloudtaskspb.HttpRequest) { r.Url = "http://a/%zz" }), codes.OK, ""},
			{"body with GET", http(func(r *cloudtaskspb.HttpRequest) { r.HttpMethod = cloudtaskspb.HttpMethod_GET }), codes.InvalidArgument, "HttpRequest.body"},
			{"method", http(func(r *cloudtaskspb.HttpRequest) { r.HttpMethod = 99 }), codes.InvalidArgument, "HttpRequest.httpMethod 99"},
			{"header name", http(func(r *cloudtaskspb.HttpRequest) { r.Headers = map[string]string{"a b": "c"} }), codes.InvalidArgument, "HttpRequest.headers"},
			{"header value", http(func(r *cloudtaskspb.HttpRequest) { r.Headers = map[string]string{"a": "b\r\nc: d"} }), codes.InvalidArgument, "HttpRequest.headers"},
			{"headers' size", http(func(r *cloudtaskspb.HttpRequest) { r.Headers = map[string]string{"a": strings.Repeat("b", 80<<10)} }), codes.InvalidArgument, "HttpRequest.headers must have less than 80KB."},
			{"size", http(func(r *cloudtaskspb.HttpRequest) { r.Body = make([]byte, 1<<20) }), codes.InvalidArgument, "Task size too large"},
			{"almost too large", http(func(r *cloudtaskspb.HttpRequest) { r.Body = make([]byte, 1<<20-1000) }), codes.OK, ""},
			{"account", http(func(r *cloudtaskspb.HttpRequest) {
				r.AuthorizationHeader = &cloudtaskspb.HttpRequest_OidcToken{OidcToken: &cloudtaskspb.OidcToken{}}
			}), codes.InvalidArgument, "The service account must be an email address"},
			{"schedule", tooFar, codes.InvalidArgument, "The Task.scheduleTime, 2000-01-30T16:00:01-08:00, is too far in the future. Schedule time must be no more than 720h in the future."},
			{"no time", create(queueA, newTask(func(t *cloudtaskspb.Task) { t.ScheduleTime = &timestamppb.Timestamp{Nanos: -1} })), codes.InvalidArgument, "Task.scheduleTime"},
			{"deadline too short", tooShort, codes.InvalidArgument, "Task.dispatchDeadline must be between [15s, 30m]."},
			{"deadline too long", tooLong, codes.InvalidArgument, "Task.dispatchDeadline must be between [15s, 30m]."},
			{"retry configuration", create(queueA, newTask(func(t *cloudtaskspb.Task) { t.RetryConfig = &cloudtaskspb.RetryConfig{MaxAttempts: -2} })), codes.InvalidArgument, "RetryConfig.maxAttempts must be greater or equal to -1."},
		} {
			t.Run(c.name, func(t *testing.T) { wantError(t, c.err, c.code, c.message) })
		}
		_, err := b.GetTask(b.ctx, &cloudtaskspb.GetTaskRequest{Name: queueA + "/tasks/never"})
		wantError(t, err, codes.NotFound, "Requested entity was not found.")
		_, err = b.GetTask(b.ctx, &cloudtaskspb.GetTaskRequest{Name: "never"})
		wantError(t, err, codes.InvalidArgument, `Task name must be formatted: "projects/<PROJECT_ID>/locations/<LOCATION_ID>/queues/<QUEUE_ID>/tasks/<TASK_ID>"`)
	})
}

func TestTimesOfATask(t *testing.T) {
	inBubble(t, answers(503), func(b *bench) {
		b.queue(nil, &cloudtaskspb.RetryConfig{MinBackoff: durationpb.New(time.Hour)})
		b.after(1234567891 * time.Nanosecond)
		created := b.create(deadline(15*time.Second + 1999*time.Microsecond))
		name := created.GetName()
		at := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(b.start.Add(d)) }
		want := newTask(func(task *cloudtaskspb.Task) {
			task.Name = name
			task.View = cloudtaskspb.Task_BASIC
			task.CreateTime = at(time.Second)
			task.ScheduleTime = at(1234567 * time.Microsecond)
			task.DispatchDeadline = durationpb.New(15*time.Second + time.Millisecond)
			task.GetHttpRequest().HttpMethod = cloudtaskspb.HttpMethod_POST
			task.GetHttpRequest().Body = nil
			task.GetHttpRequest().Headers = map[string]string{"User-Agent": "Google-Cloud-Tasks"}
		})
		if diff := cmp.Diff(want, created, protocmp.Transform()); diff != "" {
			t.Errorf("created (-want +got):\n%s", diff)
		}
		b.after(0)
		got, err := b.GetTask(b.ctx, &cloudtaskspb.GetTaskRequest{Name: name})
		b.must(err)
		want.DispatchCount, want.ResponseCount = 1, 1
		want.FirstAttempt = &cloudtaskspb.Attempt{DispatchTime: at(1234567 * time.Microsecond)}
		want.LastAttempt = (&AttemptRecord{
			Schedule: b.start.Add(1234567 * time.Microsecond), Dispatch: b.start.Add(1234567 * time.Microsecond),
			Response: b.start.Add(1234567 * time.Microsecond), Status: 503,
		}).proto()
		want.ScheduleTime = at(time.Hour + 1234567*time.Microsecond)
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("after the attempt (-want +got):\n%s", diff)
		}
		if got, want := got.GetLastAttempt().GetResponseStatus().GetMessage(), "UNAVAILABLE(14): HTTP status code 503"; got != want {
			t.Errorf("response status %q, want %q", got, want)
		}
	})
}

func TestListsPageInOrder(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		for _, id := range []string{"c", "a", "b"} {
			_, err := b.CreateQueue(b.ctx, &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{Name: location + "/queues/" + id}})
			b.must(err)
			b.create2(id)
		}
		_, err := b.CreateQueue(b.ctx, &cloudtaskspb.CreateQueueRequest{Parent: location + "0", Queue: &cloudtaskspb.Queue{Name: location + "0/queues/other"}})
		b.must(err)

		var queues, tasks []string
		for token, pages := "", 0; ; pages++ {
			r, err := b.ListQueues(b.ctx, &cloudtaskspb.ListQueuesRequest{Parent: location, PageSize: 2, PageToken: token})
			b.must(err)
			for _, q := range r.GetQueues() {
				queues = append(queues, q.GetName()[len(location):])
			}
			if token = r.GetNextPageToken(); token == "" || pages > 5 {
				break
			}
		}
		for token, pages := "", 0; ; pages++ {
			r, err := b.ListTasks(b.ctx, &cloudtaskspb.ListTasksRequest{Parent: queueA, PageSize: 1, PageToken: token})
			b.must(err)
			for _, task := range r.GetTasks() {
				tasks = append(tasks, task.GetName()[len(queueA):])
			}
			if token = r.GetNextPageToken(); token == "" || pages > 5 {
				break
			}
		}
		if diff := cmp.Diff([]string{"/queues/a", "/queues/b", "/queues/c"}, queues); diff != "" {
			t.Errorf("queues (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"/tasks/x", "/tasks/y"}, tasks); diff != "" {
			t.Errorf("tasks (-want +got):\n%s", diff)
		}
		_, err = b.ListTasks(b.ctx, &cloudtaskspb.ListTasksRequest{Parent: queueA, PageToken: "!"})
		wantError(t, err, codes.InvalidArgument, "pageToken")
		_, err = b.ListQueues(b.ctx, &cloudtaskspb.ListQueuesRequest{Parent: location, PageSize: -1})
		wantError(t, err, codes.InvalidArgument, "pageSize")
	})
}

// create2 adds two tasks for later to queue a, out of order.
func (b *bench) create2(queueID string) {
	if queueID == "a" {
		b.create(named("y"), b.in(time.Hour))
		b.create(named("x"), b.in(2*time.Hour))
	}
}

func TestIAM(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(nil, nil)
		got, err := b.GetIamPolicy(b.ctx, &iampb.GetIamPolicyRequest{Resource: queueA})
		b.must(err)
		if diff := cmp.Diff(&iampb.Policy{}, got, protocmp.Transform(), protocmp.IgnoreFields(&iampb.Policy{}, "etag")); diff != "" {
			t.Errorf("without a policy (-want +got):\n%s", diff)
		}
		policy := &iampb.Policy{Bindings: []*iampb.Binding{{Role: "roles/cloudtasks.enqueuer", Members: []string{"allUsers"}}}}
		_, err = b.SetIamPolicy(b.ctx, &iampb.SetIamPolicyRequest{Resource: queueA, Policy: policy})
		b.must(err)
		got, err = b.GetIamPolicy(b.ctx, &iampb.GetIamPolicyRequest{Resource: queueA})
		b.must(err)
		if diff := cmp.Diff(policy, got, protocmp.Transform(), protocmp.IgnoreFields(&iampb.Policy{}, "etag", "version")); diff != "" {
			t.Errorf("after setting it (-want +got):\n%s", diff)
		}
		for resource, want := range map[string]int{queueA: 1, location + "/queues/missing": 0} {
			r, err := b.TestIamPermissions(b.ctx, &iampb.TestIamPermissionsRequest{Resource: resource, Permissions: []string{"cloudtasks.tasks.create"}})
			b.must(err)
			if len(r.GetPermissions()) != want {
				t.Errorf("%s: %v", resource, r)
			}
		}
	})
}
