package cloudtasks

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waybill.dev/emulator/internal/clock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	location = "projects/shop/locations/us-central1"
	queueA   = location + "/queues/a"
)

// delivery is a request as it arrived, with the time since the bench was made.
type delivery struct {
	at     time.Duration
	url    string
	host   string // only where it is not the URL's
	method string
	header http.Header
	body   string
}

// receiver answers a delivery: the number of those before it comes along.
type receiver func(ctx context.Context, n int, d delivery) (*http.Response, error)

// bench is an engine in a synctest bubble whose deliveries end in a receiver.
type bench struct {
	service
	t       *testing.T
	ctx     context.Context
	clock   *clock.Clock
	start   time.Time
	log     *bytes.Buffer
	receive receiver

	mu         sync.Mutex
	deliveries []delivery
}

// inBubble runs a test on a bench whose receiver answers by r; nil: 200.
func inBubble(t *testing.T, r receiver, test func(*bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, ctx: t.Context(), clock: clock.New(), start: time.Now(), log: &bytes.Buffer{}, receive: r}
		if r == nil {
			b.receive = answers(200)
		}
		engine := New(Config{
			Clock:      b.clock,
			Signer:     fakeSigner{},
			HTTPClient: &http.Client{Transport: b},
			Logger:     slog.New(slog.NewTextHandler(b.log, nil)),
		})
		b.service = service{Engine: engine}
		defer func() { // also if the test ends early
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			_ = engine.Close(ctx) // cut off what the test left in flight
			b.clock.Close()
		}()
		test(b)
	})
}

// RoundTrip implements http.RoundTripper.
func (b *bench) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	d := delivery{at: b.clock.Now().Sub(b.start), url: r.URL.String(), method: r.Method, header: r.Header, body: string(body)}
	if r.Host != r.URL.Host {
		d.host = r.Host
	}
	b.mu.Lock()
	n := len(b.deliveries)
	b.deliveries = append(b.deliveries, d)
	b.mu.Unlock()
	return b.receive(r.Context(), n, d)
}

// answers makes a receiver that gives each status in turn, then the last one forever.
func answers(statuses ...int) receiver {
	return func(_ context.Context, n int, _ delivery) (*http.Response, error) {
		return answer(statuses[min(n, len(statuses)-1)]), nil
	}
}

func answer(code int) *http.Response {
	return &http.Response{StatusCode: code, Status: http.StatusText(code), Header: http.Header{}, Body: http.NoBody}
}

// hang is a receiver that answers only when its request is cancelled.
func hang(ctx context.Context, _ int, _ delivery) (*http.Response, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

type fakeSigner struct{}

func (fakeSigner) IDToken(account, audience string) (string, error) {
	return "id-token(" + account + "," + audience + ")", nil
}

func (fakeSigner) AccessToken(account string) (string, error) { return "access(" + account + ")", nil }

// after lets time pass and everything that it sets off end.
func (b *bench) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (b *bench) got() []delivery {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]delivery(nil), b.deliveries...)
}

// times are when the deliveries arrived.
func (b *bench) times() []time.Duration {
	var times []time.Duration
	for _, d := range b.got() {
		times = append(times, d.at)
	}
	return times
}

// queue creates queue a with the limits that are set.
func (b *bench) queue(rates *cloudtaskspb.RateLimits, retry *cloudtaskspb.RetryConfig) {
	b.t.Helper()
	_, err := b.CreateQueue(b.ctx, &cloudtaskspb.CreateQueueRequest{
		Parent: location,
		Queue:  &cloudtaskspb.Queue{Name: queueA, RateLimits: rates, RetryConfig: retry},
	})
	b.must(err)
}

// create adds a task to queue a, changed by the options.
func (b *bench) create(options ...func(*cloudtaskspb.Task)) *cloudtaskspb.Task {
	b.t.Helper()
	task, err := b.tryCreate(options...)
	b.must(err)
	return task
}

func (b *bench) tryCreate(options ...func(*cloudtaskspb.Task)) (*cloudtaskspb.Task, error) {
	return b.CreateTask(b.ctx, &cloudtaskspb.CreateTaskRequest{Parent: queueA, Task: newTask(options...)})
}

func newTask(options ...func(*cloudtaskspb.Task)) *cloudtaskspb.Task {
	task := &cloudtaskspb.Task{MessageType: &cloudtaskspb.Task_HttpRequest{HttpRequest: &cloudtaskspb.HttpRequest{
		Url:  "http://mailer.test/send",
		Body: []byte("hello"),
	}}}
	for _, o := range options {
		o(task)
	}
	return task
}

func named(id string) func(*cloudtaskspb.Task) {
	return func(t *cloudtaskspb.Task) { t.Name = queueA + "/tasks/" + id }
}

func (b *bench) in(d time.Duration) func(*cloudtaskspb.Task) {
	return func(t *cloudtaskspb.Task) { t.ScheduleTime = timestamppb.New(b.clock.Now().Add(d)) }
}

func deadline(d time.Duration) func(*cloudtaskspb.Task) {
	return func(t *cloudtaskspb.Task) { t.DispatchDeadline = durationpb.New(d) }
}

func request(change func(*cloudtaskspb.HttpRequest)) func(*cloudtaskspb.Task) {
	return func(t *cloudtaskspb.Task) { change(t.GetHttpRequest()) }
}

func target(url string) func(*cloudtaskspb.Task) {
	return request(func(r *cloudtaskspb.HttpRequest) { r.Url = url })
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// exists tells whether the task is there.
func (b *bench) exists(name string) bool {
	b.t.Helper()
	_, err := b.GetTask(b.ctx, &cloudtaskspb.GetTaskRequest{Name: name})
	if err != nil && status.Code(err) != codes.NotFound {
		b.t.Fatal(err)
	}
	return err == nil
}

// wantError compares an error's code and the beginning of its message.
func wantError(t *testing.T, err error, code codes.Code, message string) {
	t.Helper()
	s := status.Convert(err)
	if s.Code() != code || !strings.HasPrefix(s.Message(), message) {
		t.Errorf("got %v %q, want %v %q", s.Code(), s.Message(), code, message)
	}
}
