package tasks_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"go.uber.org/goleak"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"waybill.dev/tasks"
)

func TestMain(m *testing.M) {
	// OpenCensus, which Google's clients import, starts a worker for the life of the process.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

const (
	queue    = "projects/shop/locations/europe-west1/queues/welcome"
	account  = "login@shop.iam.gserviceaccount.com"
	audience = "https://mailer.example.com"
	target   = "https://mailer.example.com/welcome"
)

// fake is Cloud Tasks' CreateTask on a real socket. It records each request and
// answers what answer says.
type fake struct {
	cloudtaskspb.UnimplementedCloudTasksServer
	server *grpc.Server
	addr   string
	answer func(ctx context.Context, n int, req *cloudtaskspb.CreateTaskRequest) (*cloudtaskspb.Task, error)

	mu       sync.Mutex
	requests []*cloudtaskspb.CreateTaskRequest
}

func accept(_ context.Context, _ int, req *cloudtaskspb.CreateTaskRequest) (*cloudtaskspb.Task, error) {
	task := &cloudtaskspb.Task{Name: req.GetTask().GetName(), ScheduleTime: req.GetTask().GetScheduleTime()}
	if task.GetName() == "" {
		task.Name = req.GetParent() + "/tasks/1234"
	}
	return task, nil
}

func newFake(t testing.TB) *fake {
	t.Helper()
	f, stop := startFake()
	t.Cleanup(stop)
	return f
}

func startFake() (f *fake, stop func()) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	f = &fake{server: grpc.NewServer(), addr: listener.Addr().String(), answer: accept}
	cloudtaskspb.RegisterCloudTasksServer(f.server, f)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = f.server.Serve(listener)
	}()
	return f, func() { f.server.Stop(); <-served }
}

func (f *fake) CreateTask(ctx context.Context, req *cloudtaskspb.CreateTaskRequest) (*cloudtaskspb.Task, error) {
	f.mu.Lock()
	f.requests = append(f.requests, req)
	n := len(f.requests)
	f.mu.Unlock()
	return f.answer(ctx, n, req)
}

func (f *fake) got() []*cloudtaskspb.CreateTaskRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests
}

func (f *fake) client(t testing.TB, cfg tasks.Config, opts ...option.ClientOption) *tasks.Client {
	t.Helper()
	if cfg.ServiceAccount == "" {
		cfg.ServiceAccount = account
	}
	if cfg.MinBackoff == 0 {
		cfg.MinBackoff, cfg.MaxBackoff = time.Microsecond, time.Millisecond
	}
	client, err := tasks.NewClient(t.Context(), cfg, append(tasks.EmulatorOptions(f.addr), opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}
