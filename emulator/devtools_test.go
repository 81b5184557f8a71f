package emulator_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"

	"waybill.dev/emulator"
)

// Both services have the same tools. A source is a queue, or a subscription that pushes.
type source struct {
	e    *emulator.Emulator
	name string // short
	send func(t *testing.T)
	// attempt tells how many attempts a delivery says there were before it; -1 if it says nothing.
	attempt func(arrival) int
	fault   func(emulator.Fault) emulator.Fault
}

const (
	shortQueue        = "mails"
	shortTopic        = "user-signed-up"
	shortSubscription = "index-user"
)

// sources starts an emulator for each service with a source that delivers to url, whose retries wait for an hour or more.
func sources(t *testing.T, config emulator.Config, target string) map[string]source {
	t.Helper()
	config.Project = "shop"
	tasks, pushes := config, config
	if config.Data != "" {
		tasks.Data, pushes.Data = filepath.Join(config.Data, "tasks"), filepath.Join(config.Data, "pushes")
	}
	tasks.Resources.Queues = []*cloudtaskspb.Queue{{
		Name: shortQueue,
		RetryConfig: &cloudtaskspb.RetryConfig{
			MinBackoff: durationpb.New(time.Hour),
			MaxBackoff: durationpb.New(time.Hour),
		},
	}}
	pushes.Resources.Topics = []*pubsubpb.Topic{{Name: shortTopic}}
	pushes.Resources.Subscriptions = []*pubsubpb.Subscription{{
		Name:       shortSubscription,
		Topic:      shortTopic,
		PushConfig: &pubsubpb.PushConfig{PushEndpoint: target},
		RetryPolicy: &pubsubpb.RetryPolicy{
			MinimumBackoff: durationpb.New(10 * time.Minute),
			MaximumBackoff: durationpb.New(10 * time.Minute),
		},
		DeadLetterPolicy: &pubsubpb.DeadLetterPolicy{DeadLetterTopic: shortTopic, MaxDeliveryAttempts: 100}, // by which pushes are numbered
	}}
	e, f := start(t, tasks), start(t, pushes)
	client := tasksClient(t, e)
	publisher := pubsubpb.NewPublisherClient(connect(t, f))
	return map[string]source{
		"Cloud Tasks": {
			e:    e,
			name: shortQueue,
			send: func(t *testing.T) {
				t.Helper()
				if _, err := client.CreateTask(t.Context(), &cloudtaskspb.CreateTaskRequest{Parent: queue, Task: httpTask(target, "https://mailer.test")}); err != nil {
					t.Fatal(err)
				}
			},
			attempt: func(a arrival) (n int) {
				_, _ = fmt.Sscan(a.header.Get("X-CloudTasks-TaskRetryCount"), &n)
				return n
			},
			fault: func(f emulator.Fault) emulator.Fault {
				f.Queue = shortQueue
				return f
			},
		},
		"Pub/Sub": {
			e:    f,
			name: shortSubscription,
			send: func(t *testing.T) {
				t.Helper()
				if _, err := publisher.Publish(t.Context(), &pubsubpb.PublishRequest{
					Topic:    "projects/shop/topics/" + shortTopic,
					Messages: []*pubsubpb.PubsubMessage{{Data: []byte("ada")}},
				}); err != nil {
					t.Fatal(err)
				}
			},
			attempt: func(a arrival) int {
				var envelope struct {
					DeliveryAttempt int `json:"deliveryAttempt"`
				}
				_ = json.Unmarshal([]byte(a.body), &envelope)
				return envelope.DeliveryAttempt - 1
			},
			fault: func(f emulator.Fault) emulator.Fault {
				f.Subscription = shortSubscription
				return f
			},
		},
	}
}

func connect(t *testing.T, e *emulator.Emulator) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(e.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// answering is a receiver that answers the statuses in turn, then 204.
func answering(t *testing.T, statuses ...int) (target string, arrivals <-chan arrival) {
	t.Helper()
	c := make(chan arrival, 100)
	answers := make(chan int, len(statuses))
	for _, s := range statuses {
		answers <- s
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		status := http.StatusNoContent
		select {
		case status = <-answers:
		default:
		}
		w.WriteHeader(status)
		c <- arrival{r.Header, string(body)}
	}))
	t.Cleanup(server.Close)
	return server.URL + "/send", c
}

// skip moves the clock to the next delivery, by how much is returned.
func skip(t *testing.T, e *emulator.Emulator) time.Duration {
	t.Helper()
	before := e.Now()
	now, err := e.Skip(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return now.Sub(before)
}

// noMore fails if something arrives that should not. It waits for what is on its way first.
func (s source) noMore(t *testing.T, arrivals <-chan arrival) {
	t.Helper()
	if _, err := s.e.Skip(t.Context(), 0); err == nil {
		t.Error("something is still due")
	}
	select {
	case a := <-arrivals:
		t.Errorf("one too many: %v", a)
	default:
	}
}

// request sends one, with parameters as a form, and returns the status and the body.
func request(t *testing.T, method, target string, form url.Values) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, strings.TrimSuffix(string(text), "\n")
}
