package tasks_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"waybill.dev/tasks"
)

func simple() tasks.Task {
	return tasks.Task{Queue: queue, URL: target, Audience: audience, Body: []byte("hello")}
}

func keyed() tasks.Task {
	t := simple()
	t.Key = "welcome:42"
	return t
}

func taskName(key string) string {
	sum := sha256.Sum256([]byte(key))
	return queue + "/tasks/" + hex.EncodeToString(sum[:])
}

func TestWhatIsSent(t *testing.T) {
	f := newFake(t)
	at := time.Now().Add(time.Hour).Truncate(time.Microsecond).UTC()
	receipt, err := f.client(t, tasks.Config{}).Enqueue(t.Context(), tasks.Task{
		Queue: queue, URL: target, Audience: audience, Body: []byte("hello"), Key: "welcome:42",
		Header:       map[string]string{"Content-Type": "text/plain", "ce-id": "1"},
		ScheduleTime: at, DispatchDeadline: 2 * time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := &cloudtaskspb.CreateTaskRequest{
		Parent: queue,
		Task: &cloudtaskspb.Task{
			Name: taskName("welcome:42"),
			MessageType: &cloudtaskspb.Task_HttpRequest{HttpRequest: &cloudtaskspb.HttpRequest{
				Url: target, HttpMethod: cloudtaskspb.HttpMethod_POST, Body: []byte("hello"),
				Headers: map[string]string{"Content-Type": "text/plain", "ce-id": "1"},
				AuthorizationHeader: &cloudtaskspb.HttpRequest_OidcToken{OidcToken: &cloudtaskspb.OidcToken{
					ServiceAccountEmail: account, Audience: audience,
				}},
			}},
			ScheduleTime:     timestamppb.New(at),
			DispatchDeadline: durationpb.New(2 * time.Minute),
		},
	}
	if diff := cmp.Diff([]*cloudtaskspb.CreateTaskRequest{want}, f.got(), protocmp.Transform()); diff != "" {
		t.Errorf("what was sent (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(tasks.Receipt{Name: taskName("welcome:42"), ScheduleTime: at}, receipt); diff != "" {
		t.Errorf("receipt (-want +got):\n%s", diff)
	}
}

func TestWithoutAKeyTheTaskHasNoName(t *testing.T) {
	f := newFake(t)
	receipt, err := f.client(t, tasks.Config{}).Enqueue(t.Context(), simple())
	if err != nil {
		t.Fatal(err)
	}
	task := f.got()[0].GetTask()
	if task.GetName() != "" || task.GetScheduleTime() != nil || task.GetDispatchDeadline() != nil {
		t.Errorf("sent %v", task)
	}
	if receipt.Name != queue+"/tasks/1234" {
		t.Errorf("receipt %+v: the name is Cloud Tasks' to give", receipt)
	}
}

func TestANameInUseIsSuccess(t *testing.T) {
	f := newFake(t)
	f.answer = func(context.Context, int, *cloudtaskspb.CreateTaskRequest) (*cloudtaskspb.Task, error) {
		return nil, status.Error(codes.AlreadyExists, "Requested entity already exists")
	}
	client := f.client(t, tasks.Config{})
	receipt, err := client.Enqueue(t.Context(), keyed())
	if err != nil || !receipt.Duplicate || receipt.Name != taskName("welcome:42") {
		t.Errorf("receipt %+v, %v", receipt, err)
	}
	if _, err := client.Enqueue(t.Context(), simple()); status.Code(err) != codes.AlreadyExists {
		t.Errorf("without a key it can be no duplicate: %v", err)
	}
}

// TestRepetition: which codes are repeated with and without a key, and which leave the outcome open.
func TestRepetition(t *testing.T) {
	for _, test := range []struct {
		code               codes.Code
		named              bool
		requests           int
		ambiguous, success bool
	}{
		{codes.Unavailable, true, 3, false, true},
		{codes.DeadlineExceeded, true, 3, false, true},
		{codes.Internal, true, 3, false, true},
		{codes.ResourceExhausted, true, 3, false, true},
		{codes.Unknown, true, 1, true, false},
		{codes.NotFound, true, 1, false, false},
		{codes.PermissionDenied, true, 1, false, false},
		{codes.InvalidArgument, true, 1, false, false},
		{codes.Unavailable, false, 1, true, false},
		{codes.DeadlineExceeded, false, 1, true, false},
		{codes.Internal, false, 1, true, false},
		{codes.Aborted, false, 1, true, false},
		{codes.ResourceExhausted, false, 1, false, false},
		{codes.NotFound, false, 1, false, false},
		{codes.Unauthenticated, false, 1, false, false},
	} {
		name := test.code.String()
		if test.named {
			name += " with a key"
		}
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.answer = func(ctx context.Context, n int, req *cloudtaskspb.CreateTaskRequest) (*cloudtaskspb.Task, error) {
				if n < 3 {
					return nil, status.Error(test.code, "no")
				}
				return accept(ctx, n, req)
			}
			task := simple()
			if test.named {
				task = keyed()
			}
			_, err := f.client(t, tasks.Config{}).Enqueue(t.Context(), task)
			if (err == nil) != test.success {
				t.Errorf("error %v", err)
			}
			if errors.Is(err, tasks.ErrAmbiguous) != test.ambiguous {
				t.Errorf("ambiguous: %v, want %v: %v", !test.ambiguous, test.ambiguous, err)
			}
			if err != nil && status.Code(err) != test.code {
				t.Errorf("gRPC's status is lost: %v", err)
			}
			if got := f.got(); len(got) != test.requests {
				t.Errorf("%d requests, want %d", len(got), test.requests)
			}
		})
	}
}

func TestAttemptsAreBounded(t *testing.T) {
	f := newFake(t)
	f.answer = func(context.Context, int, *cloudtaskspb.CreateTaskRequest) (*cloudtaskspb.Task, error) {
		return nil, status.Error(codes.Unavailable, "down")
	}
	_, err := f.client(t, tasks.Config{MaxAttempts: 3}).Enqueue(t.Context(), keyed())
	if !errors.Is(err, tasks.ErrAmbiguous) || len(f.got()) != 3 {
		t.Errorf("%d requests, %v", len(f.got()), err)
	}
}

func TestASilentAttemptIsRepeated(t *testing.T) {
	f := newFake(t)
	f.answer = func(ctx context.Context, n int, req *cloudtaskspb.CreateTaskRequest) (*cloudtaskspb.Task, error) {
		if n == 1 {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return accept(ctx, n, req)
	}
	if _, err := f.client(t, tasks.Config{AttemptTimeout: 300 * time.Millisecond}).Enqueue(t.Context(), keyed()); err != nil {
		t.Error(err)
	}
}

func TestABrokenConnectionIsAmbiguous(t *testing.T) {
	f := newFake(t)
	f.answer = func(ctx context.Context, _ int, _ *cloudtaskspb.CreateTaskRequest) (*cloudtaskspb.Task, error) {
		go f.server.Stop()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	_, err := f.client(t, tasks.Config{}).Enqueue(t.Context(), simple())
	if !errors.Is(err, tasks.ErrAmbiguous) || !strings.Contains(err.Error(), "key") {
		t.Errorf("%v", err)
	}
	if len(f.got()) != 1 {
		t.Errorf("sent %d times", len(f.got()))
	}
}

func TestATaskThatWasNeverSentIsRepeatedWithoutAKey(t *testing.T) {
	f := newFake(t)
	var dials atomic.Int32
	client := f.client(t, tasks.Config{MaxAttempts: 100_000},
		option.WithGRPCDialOption(grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			if dials.Add(1) < 3 {
				return nil, errors.New("connection refused")
			}
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		})),
		option.WithGRPCDialOption(grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: time.Millisecond, MaxDelay: time.Millisecond}, MinConnectTimeout: time.Second,
		})))
	if _, err := client.Enqueue(t.Context(), simple()); err != nil {
		t.Fatal(err)
	}
	if got := len(f.got()); got != 1 || dials.Load() < 3 {
		t.Errorf("%d requests after %d dials", got, dials.Load())
	}
}

func TestWithoutAConnectionNothingIsAmbiguous(t *testing.T) {
	f := newFake(t)
	f.server.Stop()
	for _, task := range []tasks.Task{simple(), keyed()} {
		_, err := f.client(t, tasks.Config{MaxAttempts: 3}).Enqueue(t.Context(), task)
		if status.Code(err) != codes.Unavailable || errors.Is(err, tasks.ErrAmbiguous) {
			t.Errorf("%v", err)
		}
		if err != nil && !strings.Contains(err.Error(), "nothing listens on "+f.addr+" (connection refused): is the emulator running?") {
			t.Errorf("the error does not say where nothing listens: %v", err)
		}
	}
}

func TestAnEndedContext(t *testing.T) {
	f := newFake(t)
	why := errors.New("the request was dropped")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	client := f.client(t, tasks.Config{})
	if _, err := client.Enqueue(ctx, keyed()); !errors.Is(err, why) || errors.Is(err, tasks.ErrAmbiguous) {
		t.Errorf("ended before: %v", err)
	}
	if len(f.got()) != 0 {
		t.Error("it was sent")
	}

	ctx, cancel = context.WithCancelCause(t.Context())
	f.answer = func(ctx context.Context, _ int, _ *cloudtaskspb.CreateTaskRequest) (*cloudtaskspb.Task, error) {
		cancel(why)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if _, err := client.Enqueue(ctx, keyed()); !errors.Is(err, why) || !errors.Is(err, tasks.ErrAmbiguous) {
		t.Errorf("ended while it was under way: %v", err)
	}
	if len(f.got()) != 1 {
		t.Errorf("%d requests", len(f.got()))
	}
}

func TestAfterClose(t *testing.T) {
	f := newFake(t)
	client := f.client(t, tasks.Config{})
	for range 2 {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := client.Enqueue(t.Context(), simple()); !errors.Is(err, tasks.ErrClosed) {
		t.Errorf("%v", err)
	}
}

func TestCloseEndsATaskUnderWay(t *testing.T) {
	f := newFake(t)
	client := f.client(t, tasks.Config{})
	f.answer = func(ctx context.Context, _ int, _ *cloudtaskspb.CreateTaskRequest) (*cloudtaskspb.Task, error) {
		_ = client.Close()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if _, err := client.Enqueue(t.Context(), keyed()); !errors.Is(err, tasks.ErrClosed) || !errors.Is(err, tasks.ErrAmbiguous) {
		t.Errorf("%v", err)
	}
}

func TestHintsSayWhatToDo(t *testing.T) {
	for code, hint := range map[codes.Code]string{
		codes.NotFound:         "create it first (a real one needs up to a minute to become known; an emulator forgets everything at its end)",
		codes.PermissionDenied: "roles/cloudtasks.enqueuer",
	} {
		f := newFake(t)
		f.answer = func(context.Context, int, *cloudtaskspb.CreateTaskRequest) (*cloudtaskspb.Task, error) {
			return nil, status.Error(code, "no")
		}
		if _, err := f.client(t, tasks.Config{}).Enqueue(t.Context(), simple()); err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("%v: %v", code, err)
		}
	}
}

func TestEveryProblemOfATaskAtOnce(t *testing.T) {
	f := newFake(t)
	_, err := f.client(t, tasks.Config{}).Enqueue(t.Context(), tasks.Task{
		Queue: "welcome", URL: "http://mailer.example.com", Header: map[string]string{"X-CloudTasks-TaskRetryCount": "1"},
		DispatchDeadline: time.Second, ScheduleTime: time.Now().Add(31 * 24 * time.Hour),
	})
	for _, part := range []string{"tasks: ", "Queue", "URL", "Audience", "X-CloudTasks-TaskRetryCount", "DispatchDeadline", "the delay is 74", "30 days"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("no word of %s in: %v", part, err)
		}
	}
	if !errors.Is(err, tasks.ErrSchedule) {
		t.Errorf("no ErrSchedule: %v", err)
	}
	if len(f.got()) != 0 {
		t.Error("it was sent")
	}
}

func TestLimits(t *testing.T) {
	f := newFake(t)
	client := f.client(t, tasks.Config{})
	body := func(total int) tasks.Task {
		task := keyed()
		task.Body = make([]byte, total)
		sum := &cloudtaskspb.Task{Name: taskName(task.Key), MessageType: &cloudtaskspb.Task_HttpRequest{HttpRequest: &cloudtaskspb.HttpRequest{
			Url: target, HttpMethod: cloudtaskspb.HttpMethod_POST, Body: task.Body,
			AuthorizationHeader: &cloudtaskspb.HttpRequest_OidcToken{OidcToken: &cloudtaskspb.OidcToken{ServiceAccountEmail: account, Audience: audience}},
		}}}
		task.Body = task.Body[:total-(proto.Size(sum)-total)]
		return task
	}
	with := func(change func(*tasks.Task)) tasks.Task {
		task := simple()
		change(&task)
		return task
	}
	for _, test := range []struct {
		name  string
		task  tasks.Task
		large bool
		ok    bool
	}{
		{"the largest task", body(tasks.MaxTaskSize), false, true},
		{"a byte above", body(tasks.MaxTaskSize + 1), true, false},
		{"the longest URL", with(func(t *tasks.Task) { t.URL = target + "?" + strings.Repeat("x", tasks.MaxURLLength-len(target)-1) }), false, true},
		{"a character above", with(func(t *tasks.Task) { t.URL = target + "?" + strings.Repeat("x", tasks.MaxURLLength-len(target)) }), true, false},
		{"the largest header", with(func(t *tasks.Task) { t.Header = map[string]string{"a": strings.Repeat("x", tasks.MaxHeaderSize-2)} }), false, true},
		{"a byte of header above", with(func(t *tasks.Task) { t.Header = map[string]string{"a": strings.Repeat("x", tasks.MaxHeaderSize-1)} }), true, false},
		{"the shortest deadline", with(func(t *tasks.Task) { t.DispatchDeadline = 15 * time.Second }), false, true},
		{"the longest deadline", with(func(t *tasks.Task) { t.DispatchDeadline = 30 * time.Minute }), false, true},
		{"a longer deadline", with(func(t *tasks.Task) { t.DispatchDeadline = 30*time.Minute + 1 }), false, false},
		{"the farthest schedule", with(func(t *tasks.Task) { t.ScheduleTime = time.Now().Add(30 * 24 * time.Hour) }), false, true},
		{"a second later", with(func(t *tasks.Task) { t.ScheduleTime = time.Now().Add(30*24*time.Hour + time.Second) }), false, false},
		{"the past", with(func(t *tasks.Task) { t.ScheduleTime = time.Unix(0, 0) }), false, true},
		{"plain http to this machine", with(func(t *tasks.Task) { t.URL = "http://127.0.0.1:8080/x" }), false, true},
		{"a line break in a header", with(func(t *tasks.Task) { t.Header = map[string]string{"a": "b\r\nc: d"} }), false, false},
		{"no header name", with(func(t *tasks.Task) { t.Header = map[string]string{"": "b"} }), false, false},
		{"a token of one's own", with(func(t *tasks.Task) { t.Header = map[string]string{"authorization": "Bearer x"} }), false, false},
		{"Host", with(func(t *tasks.Task) { t.Header = map[string]string{"host": "x"} }), false, false},
		{"a queue in a queue", with(func(t *tasks.Task) { t.Queue += "/x" }), false, false},
	} {
		_, err := client.Enqueue(t.Context(), test.task)
		if (err == nil) != test.ok || errors.Is(err, tasks.ErrTooLarge) != test.large {
			t.Errorf("%s: %.200v", test.name, err)
		}
		if errors.Is(err, tasks.ErrSchedule) != (test.name == "a second later") {
			t.Errorf("%s: ErrSchedule: %.200v", test.name, err)
		}
	}
}

func TestConfigReportsEveryProblem(t *testing.T) {
	_, err := tasks.NewClient(t.Context(), tasks.Config{MaxAttempts: -1, MinBackoff: -1, AttemptTimeout: -1})
	for _, part := range []string{"tasks: ", "ServiceAccount", "MaxAttempts", "MinBackoff", "AttemptTimeout"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("no word of %s in: %v", part, err)
		}
	}
}

func TestClientOptionsFollowTheVariable(t *testing.T) {
	t.Setenv(tasks.EmulatorHostVariable, "")
	if got := tasks.ClientOptions(); len(got) != 0 {
		t.Errorf("%d options without an emulator", len(got))
	}
	f := newFake(t)
	t.Setenv(tasks.EmulatorHostVariable, f.addr)
	client, err := tasks.NewClient(t.Context(), tasks.Config{ServiceAccount: account}, tasks.ClientOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Enqueue(t.Context(), simple()); err != nil || len(f.got()) != 1 {
		t.Errorf("%d requests, %v", len(f.got()), err)
	}
}
