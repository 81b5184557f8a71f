package emulatortest_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"waybill.dev/emulator"
	"waybill.dev/emulator/emulatortest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// test is a test that can be looked at: what it logs and how it fails.
type test struct {
	testing.TB
	ctx context.Context
	end context.CancelFunc

	mu       sync.Mutex
	over     bool
	logs     []string
	errors   []string
	cleanups []func()
}

func newTest(t *testing.T) *test {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	return &test{TB: t, ctx: ctx, end: cancel}
}

func (t *test) Helper()                  {}
func (t *test) Context() context.Context { return t.ctx }
func (t *test) Cleanup(f func())         { t.cleanups = append(t.cleanups, f) }

func (t *test) Log(args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		panic("logged after the end of the test")
	}
	t.logs = append(t.logs, fmt.Sprint(args...))
}

func (t *test) Errorf(format string, args ...any) {
	t.errors = append(t.errors, fmt.Sprintf(format, args...))
}

func (t *test) Fatal(args ...any) {
	t.errors = append(t.errors, fmt.Sprint(args...))
	panic(t)
}

// finish does what package testing does at the end of a test.
func (t *test) finish() {
	t.end()
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
}

var mails = emulator.Resources{Queues: []*cloudtaskspb.Queue{{Name: "mails"}}}

// enqueue creates a task for the receiver.
func enqueue(t *testing.T, e *emulator.Emulator, url string) {
	t.Helper()
	conn, err := grpc.NewClient(e.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := cloudtaskspb.NewCloudTasksClient(conn).CreateTask(t.Context(), &cloudtaskspb.CreateTaskRequest{
		Parent: "projects/waybill-local/locations/us-central1/queues/mails",
		Task:   &cloudtaskspb.Task{MessageType: &cloudtaskspb.Task_HttpRequest{HttpRequest: &cloudtaskspb.HttpRequest{Url: url}}},
	}); err != nil {
		t.Fatal(err)
	}
}

func TestItLogsToTheTestAndStopsAtItsEnd(t *testing.T) {
	fake := newTest(t)
	e := emulatortest.Start(fake, emulator.Config{Resources: mails})
	if _, err := e.AddFault(emulator.Fault{Status: http.StatusServiceUnavailable}); err != nil {
		t.Fatal(err)
	}
	enqueue(t, e, "http://receiver.test/send")
	if _, err := e.Skip(t.Context(), 0); err != nil { // so the answer has been dealt with
		t.Fatal(err)
	}
	fake.finish()
	if len(fake.errors) != 0 {
		t.Errorf("a task that waits for its retry fails the test: %v", fake.errors)
	}
	if len(fake.logs) != 1 || !strings.HasPrefix(fake.logs[0], `emulator: level=WARN msg="delivery refused" target=http://receiver.test/send`) {
		t.Errorf("logged: %q", fake.logs)
	}
	if _, err := e.Metadata(t.Context(), "login@shop.iam.gserviceaccount.com"); err == nil {
		t.Error("it still runs")
	}
}

func TestADeliveryInFlightFailsTheTest(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the whole of emulatortest.Patience")
	}
	fake := newTest(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(arrived)
		<-release
	}))
	defer receiver.Close()
	defer close(release)
	e := emulatortest.Start(fake, emulator.Config{Resources: mails})
	enqueue(t, e, receiver.URL)
	<-arrived
	fake.finish()
	if len(fake.errors) != 1 || !strings.Contains(fake.errors[0], "deliveries still in flight at the end of the test: 1") {
		t.Errorf("errors: %v", fake.errors)
	}
}

func TestATestMayStopItItself(t *testing.T) {
	fake := newTest(t)
	arrived := make(chan struct{})
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	}))
	defer receiver.Close()
	e := emulatortest.Start(fake, emulator.Config{Resources: mails})
	enqueue(t, e, receiver.URL)
	<-arrived
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	fake.finish()
	if len(fake.errors) != 0 {
		t.Errorf("errors: %v", fake.errors)
	}
}

func TestABadConfigEndsTheTest(t *testing.T) {
	fake := newTest(t)
	defer func() {
		if p := recover(); p != any(fake) || len(fake.errors) != 1 || !strings.Contains(fake.errors[0], "Config.Project") {
			t.Errorf("ended by %v with %v", p, fake.errors)
		}
		fake.finish()
	}()
	emulatortest.Start(fake, emulator.Config{Project: "a/b"})
}

func TestSetenv(t *testing.T) {
	e := emulatortest.Start(t, emulator.Config{})
	emulatortest.Setenv(t, e)
	for _, name := range []string{"PUBSUB_EMULATOR_HOST", "CLOUD_TASKS_EMULATOR_HOST", "GCE_METADATA_HOST"} {
		if got := os.Getenv(name); got != e.Addr() {
			t.Errorf("%s is %q", name, got)
		}
	}
}
