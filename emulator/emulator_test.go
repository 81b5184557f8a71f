package emulator_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2"
	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/api/option"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waybill.dev/emulator"
)

// receiver is an HTTP server that reports what arrives.
func receiver(t *testing.T) (url string, arrivals <-chan arrival) {
	t.Helper()
	c := make(chan arrival, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		c <- arrival{r.Header, string(body)}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(server.Close)
	return server.URL, c
}

func TestTaskArrivesWithATokenThatTheKeysVerify(t *testing.T) {
	e := start(t, emulator.Config{})
	client := tasksClient(t, e)
	createQueue(t, client)
	url, arrivals := receiver(t)
	task, err := client.CreateTask(t.Context(), &cloudtaskspb.CreateTaskRequest{Parent: queue, Task: httpTask(url+"/send?x=1", "https://mailer.test")})
	if err != nil {
		t.Fatal(err)
	}
	got := <-arrivals
	if got.body != `{"to":"ada"}` || !strings.HasSuffix(task.GetName(), "/tasks/"+got.header.Get("X-CloudTasks-TaskName")) || got.header.Get("X-CloudTasks-QueueName") != "mails" {
		t.Errorf("arrived: %q, %v", got.body, got.header)
	}
	bearer, ok := strings.CutPrefix(got.header.Get("Authorization"), "Bearer ")
	if !ok {
		t.Fatal("no bearer token")
	}
	claims := validate(t, e, bearer, "https://mailer.test")
	if diff := cmp.Diff([]any{account, true, "https://accounts.google.com"}, []any{claims["email"], claims["email_verified"], claims["iss"]}); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
}

func TestAdvanceSendsWhatBecomesDueButTokensKeepTheTime(t *testing.T) {
	e := start(t, emulator.Config{})
	client := tasksClient(t, e)
	createQueue(t, client)
	url, arrivals := receiver(t)
	task := httpTask(url, "https://mailer.test")
	task.ScheduleTime = timestamppb.New(time.Now().Add(24 * time.Hour))
	if _, err := client.CreateTask(t.Context(), &cloudtaskspb.CreateTaskRequest{Parent: queue, Task: task}); err != nil {
		t.Fatal(err)
	}
	post(t, e.URL()+"/_emulator/advance?by=23h", http.StatusOK)
	select {
	case <-arrivals:
		t.Fatal("an hour early")
	default:
	}
	e.Advance(time.Hour)
	bearer := strings.TrimPrefix((<-arrivals).header.Get("Authorization"), "Bearer ")
	claims := validate(t, e, bearer, "https://mailer.test") // fails for times of the advanced clock
	if iat := time.Unix(int64(claims["iat"].(float64)), 0); time.Since(iat).Abs() > time.Hour {
		t.Errorf("issued at %v, by the emulator's clock", iat)
	}
	post(t, e.URL()+"/_emulator/advance?by=-1h", http.StatusBadRequest)
	post(t, e.URL()+"/_emulator/advance", http.StatusBadRequest)
	post(t, e.URL()+"/_emulator/advance?by=2562047h", http.StatusBadRequest) // in which the offset would overflow, the second time
}

func TestReset(t *testing.T) {
	e := start(t, emulator.Config{})
	client := tasksClient(t, e)
	createQueue(t, client)
	e.Reset()
	_, err := client.GetQueue(t.Context(), &cloudtaskspb.GetQueueRequest{Name: queue})
	if status.Code(err) != codes.NotFound {
		t.Errorf("the queue after Reset: %v", err)
	}
	createQueue(t, client)
	post(t, e.URL()+"/_emulator/reset", http.StatusOK)
	createQueue(t, client)
}

func TestCloudTasksOverREST(t *testing.T) {
	e := start(t, emulator.Config{})
	client, err := cloudtasks.NewRESTClient(t.Context(), option.WithEndpoint(e.URL()), option.WithoutAuthentication())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	createQueue(t, client)
	url, arrivals := receiver(t)
	if _, err := client.CreateTask(t.Context(), &cloudtaskspb.CreateTaskRequest{Parent: queue, Task: httpTask(url, "a")}); err != nil {
		t.Fatal(err)
	}
	<-arrivals
}

func TestRequestsOfTwentyMegabytes(t *testing.T) {
	e := start(t, emulator.Config{})
	client := tasksClient(t, e)
	createQueue(t, client)
	task := httpTask("http://mailer.test", "a")
	task.GetHttpRequest().Body = make([]byte, 20<<20)
	_, err := client.CreateTask(t.Context(), &cloudtaskspb.CreateTaskRequest{Parent: queue, Task: task})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "Task size too large") {
		t.Errorf("the service itself must judge it: %v", err)
	}
}

func TestStartReportsEveryProblem(t *testing.T) {
	_, err := emulator.Start(t.Context(), emulator.Config{
		Listen: "0.0.0.0:8085", Project: "a b", Location: "/", MetadataAccount: "me", QueueTombstone: -1, Hosts: []string{"http://x"},
	})
	if err == nil {
		t.Fatal("started")
	}
	for _, field := range []string{"Listen", "Project", "Location", "MetadataAccount", "QueueTombstone", "Hosts"} {
		if !strings.Contains(err.Error(), "emulator: Config."+field) {
			t.Errorf("nothing about %s in: %v", field, err)
		}
	}
	for _, listen := range []string{"8085", ":8085", "example.com:80", "[::]:1"} {
		if _, err := emulator.Start(t.Context(), emulator.Config{Listen: listen}); err == nil {
			t.Errorf("started on %q", listen)
		}
	}
}

func TestPortInUse(t *testing.T) {
	e := start(t, emulator.Config{})
	_, err := emulator.Start(t.Context(), emulator.Config{Listen: e.Addr()})
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "port 0 picks a free one") {
		t.Errorf("a second one on the same port: %v", err)
	}
}

func TestAddresses(t *testing.T) {
	e := start(t, emulator.Config{Listen: "0.0.0.0:0", AllowNonLoopback: true, Hosts: []string{"emulator"}})
	host, port, err := net.SplitHostPort(e.Addr())
	if err != nil || host != "127.0.0.1" || port == "0" {
		t.Errorf("Addr: %q", e.Addr())
	}
	want := []string{"PUBSUB_EMULATOR_HOST=" + e.Addr(), "CLOUD_TASKS_EMULATOR_HOST=" + e.Addr(), "GCE_METADATA_HOST=" + e.Addr()}
	if diff := cmp.Diff(want, e.Environ()); diff != "" {
		t.Errorf("Environ (-want +got):\n%s", diff)
	}
	for host, want := range map[string]int{"10.0.0.7": 200, "emulator:99": 200, "evil.test": 403} {
		if got := getAs(t, e, host); got != want {
			t.Errorf("Host %q: %d, want %d", host, got, want)
		}
	}
}

func TestHostsThatAreNotItsOwnAreRefused(t *testing.T) {
	e := start(t, emulator.Config{})
	for host, want := range map[string]int{
		e.Addr(): 200, "localhost": 200, "LOCALHOST:80": 200, "shop.localhost:80": 200, "[::1]:80": 200, "127.0.0.9": 200,
		"evil.test": 403, "evil.test:8085": 403, "localhost.evil.test": 403, "10.0.0.7": 403, "127.0.0.1.evil.test": 403,
	} {
		if got := getAs(t, e, host); got != want {
			t.Errorf("Host %q: %d, want %d", host, got, want)
		}
	}
}

func TestPostsOfOtherOriginsAreRefused(t *testing.T) {
	e := start(t, emulator.Config{})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.URL()+"/_emulator/reset", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Sec-Fetch-Site", "cross-site")
	if got := do(t, request); got.StatusCode != http.StatusForbidden {
		t.Errorf("status %d", got.StatusCode)
	}
}

func TestEmulatorsStandBesideEachOther(t *testing.T) {
	first, second := start(t, emulator.Config{}), start(t, emulator.Config{})
	createQueue(t, tasksClient(t, first))
	createQueue(t, tasksClient(t, second))
}

func TestShutdownWaitsForADeliveryAndCloseDoesNot(t *testing.T) {
	for _, patient := range []bool{true, false} {
		arrived, release, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // only then does net/http see the client go
			close(arrived)
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}))
		e := start(t, emulator.Config{})
		client := tasksClient(t, e)
		createQueue(t, client)
		if _, err := client.CreateTask(t.Context(), &cloudtaskspb.CreateTaskRequest{Parent: queue, Task: httpTask(server.URL, "a")}); err != nil {
			t.Fatal(err)
		}
		<-arrived
		go func() {
			defer close(ended)
			ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
			defer cancel()
			if !patient {
				cancel()
			}
			if err := e.Shutdown(ctx); patient == (err != nil) {
				t.Errorf("patient: %v, Shutdown: %v", patient, err)
			}
		}()
		if patient {
			// The emulator still serves: a receiver can fetch keys while it finishes.
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.KeysURL(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := do(t, request); got.StatusCode != http.StatusOK {
				t.Errorf("while it shuts down: %d", got.StatusCode)
			}
			select {
			case <-ended:
				t.Error("Shutdown did not wait")
			default:
			}
			close(release)
		}
		<-ended
		if err := e.Close(); err != nil {
			t.Errorf("Close after Shutdown: %v", err)
		}
		server.Close()
	}
}

func TestUnreachableReceiverIsLoggedOnce(t *testing.T) {
	var log safeBuffer
	attempts := make(chan struct{}, 100)
	e := start(t, emulator.Config{
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			attempts <- struct{}{}
			return http.DefaultTransport.RoundTrip(r)
		}),
	})
	client := tasksClient(t, e)
	if _, err := client.CreateQueue(t.Context(), &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{
		Name:        queue,
		RetryConfig: &cloudtaskspb.RetryConfig{MinBackoff: durationpb.New(time.Millisecond)},
	}}); err != nil {
		t.Fatal(err)
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	if _, err := client.CreateTask(t.Context(), &cloudtaskspb.CreateTaskRequest{Parent: queue, Task: httpTask(gone.URL, "a")}); err != nil {
		t.Fatal(err)
	}
	for range 4 { // the failures of the first three have been dealt with then
		<-attempts
	}
	if got := strings.Count(log.String(), "connection refused"); got != 1 {
		t.Errorf("logged %d times:\n%s", got, log.String())
	}
}
