package dispatch_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"waybill.dev/dispatch"
	"waybill.dev/internal/authtest"
	"waybill.dev/pubsub"
	"waybill.dev/tasks"
)

// carrier is a dispatch.Transport in memory: it keeps what is sent, and delivers it when the test says so, to the real
// endpoints with real tokens. It has no socket and no goroutine, so a test may stop the clock.
type carrier struct {
	t      *testing.T
	app    *dispatch.App
	env    *dispatch.Environment
	issuer *authtest.Issuer
	log    *logBuffer

	mu        sync.Mutex
	at        map[string]http.Handler // by host
	tasks     []tasks.Task
	published []published
}

type published struct {
	topic string
	pubsub.Message
	at time.Time
}

// testIssuer signs every carrier's tokens: a key takes its time to be made.
var testIssuer = sync.OnceValue(authtest.Offline)

func newCarrier(t *testing.T, app *dispatch.App) *carrier {
	t.Helper()
	c := &carrier{t: t, app: app, issuer: testIssuer(), log: &logBuffer{}, at: map[string]http.Handler{}}
	asserts := false
	c.env = &dispatch.Environment{
		Project: "waybill-local", Location: "us-central1", KeysURL: "https://issuer.test/keys", Services: map[string]dispatch.ServiceEnvironment{},
	}
	for _, name := range app.Services() {
		c.env.Services[name] = dispatch.ServiceEnvironment{URL: "https://" + name + ".test", PlatformAsserts: &asserts}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log:\n%s", c.log)
		}
	})
	return c
}

// open opens a service and puts it at its address. It may be of another build of the app, which replaces the first.
func (c *carrier) open(s *dispatch.Service, change ...func(*dispatch.Config)) *dispatch.Dispatcher {
	c.t.Helper()
	cfg := dispatch.Config{
		Environment: c.env, Transport: way{c, account(s)},
		Logger: slog.New(slog.NewJSONHandler(c.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&cfg)
	}
	d, err := dispatch.Open(c.t.Context(), s, cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		if err := d.Close(); err != nil {
			c.t.Errorf("closing %s: %v", s, err)
		}
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at[s.Name()+".test"] = d
	return d
}

func account(s *dispatch.Service) string {
	return s.Name() + "@waybill-local.iam.gserviceaccount.com"
}

// way is the carrier as one service sees it.
type way struct {
	*carrier
	account string
}

var _ dispatch.Transport = way{}

func (w way) Enqueue(_ context.Context, t tasks.Task) (tasks.Receipt, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := t.Queue + "/tasks/" + strconv.Itoa(len(w.tasks))
	if t.Key != "" {
		name = t.Queue + "/tasks/" + t.Key
		for _, other := range w.carrier.tasks {
			if other.Queue == t.Queue && other.Key == t.Key {
				return tasks.Receipt{Name: name, Duplicate: true}, nil
			}
		}
	}
	w.carrier.tasks = append(w.carrier.tasks, t)
	return tasks.Receipt{Name: name, ScheduleTime: t.ScheduleTime}, nil
}

func (w way) Publish(_ context.Context, topic string, m pubsub.Message) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.published = append(w.published, published{topic, m, time.Now()})
	return strconv.Itoa(len(w.published)), nil
}

func (w way) Token(_ context.Context, audience string) (string, error) {
	return w.issuer.Token(w.account, audience), nil
}

func (w way) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == "issuer.test" {
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(w.issuer.Document()))}, nil
	}
	w.mu.Lock()
	h := w.at[r.URL.Host]
	w.mu.Unlock()
	if h == nil {
		return nil, errors.New("nobody is at " + r.URL.Host)
	}
	// Of the caller's context only its end reaches a server, as its connection closes.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer context.AfterFunc(r.Context(), cancel)()
	recorder := httptest.NewRecorder()
	request := httptest.NewRequestWithContext(ctx, r.Method, r.URL.String(), r.Body)
	request.Header = r.Header.Clone()
	h.ServeHTTP(recorder, request)
	if err := r.Context().Err(); err != nil {
		return nil, err // as a caller that did not wait for the answer
	}
	return recorder.Result(), nil
}

// task is the next task that was sent.
func (c *carrier) task() tasks.Task {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.tasks) == 0 {
		c.t.Fatal("no task was sent")
	}
	t := c.tasks[0]
	c.tasks = c.tasks[1:]
	return t
}

// event is the next message that was published.
func (c *carrier) event() published {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.published) == 0 {
		c.t.Fatal("no message was published")
	}
	m := c.published[0]
	c.published = c.published[1:]
	return m
}

// nothingLeft checks that nothing waits: no task, no event, no dead letter.
func (c *carrier) nothingLeft() {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.tasks)+len(c.published) > 0 {
		c.t.Errorf("%d tasks and %d messages are left: %+v", len(c.tasks), len(c.published), c.published)
	}
}

// deliver makes one attempt at a task, as Cloud Tasks would, and returns the answer's status.
func (c *carrier) deliver(t tasks.Task, from *dispatch.Service, attempt int) int {
	c.t.Helper()
	header := http.Header{"X-Cloudtasks-Taskretrycount": {strconv.Itoa(attempt - 1)}, "X-Cloudtasks-Taskname": {"t"}}
	for name, value := range t.Header {
		header.Set(name, value)
	}
	return c.post(t.URL, header, t.Body, c.issuer.Token(account(from), t.Audience)).Code
}

// push makes one attempt at a message, as Pub/Sub would, by the subscription of this name.
func (c *carrier) push(m published, to *dispatch.Service, subscription, path string, attempt int) int {
	c.t.Helper()
	body, err := json.Marshal(map[string]any{
		"message": map[string]any{
			"attributes": m.Attributes, "data": m.Data, "messageId": "1", "publishTime": m.at.UTC().Format(time.RFC3339Nano), "orderingKey": m.OrderingKey,
		},
		"subscription": fmt.Sprintf("projects/waybill-local/subscriptions/%s", c.env.Resource(c.app, subscription)), "deliveryAttempt": attempt,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	url := c.env.Services[to.Name()].URL
	return c.post(url+path, http.Header{}, body, c.issuer.Token(c.env.PushAccountOf(c.app), url)).Code
}

func (c *carrier) post(url string, header http.Header, body []byte, token string) *httptest.ResponseRecorder {
	c.t.Helper()
	r := httptest.NewRequestWithContext(c.t.Context(), http.MethodPost, url, bytes.NewReader(body))
	r.Header = header
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return c.serve(r)
}

func (c *carrier) get(url string) *httptest.ResponseRecorder {
	c.t.Helper()
	return c.serve(httptest.NewRequestWithContext(c.t.Context(), http.MethodGet, url, nil))
}

func (c *carrier) serve(r *http.Request) *httptest.ResponseRecorder {
	c.t.Helper()
	c.mu.Lock()
	h := c.at[r.URL.Host]
	c.mu.Unlock()
	if h == nil {
		c.t.Fatalf("nobody is at %s", r.URL.Host)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// logged are the lines of the log with this message.
func (c *carrier) logged(message string) []map[string]any {
	c.t.Helper()
	var found []map[string]any
	for line := range strings.Lines(c.log.String()) {
		var l map[string]any
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			c.t.Fatal(err)
		}
		if strings.Contains(l["msg"].(string), message) {
			found = append(found, l)
		}
	}
	return found
}
