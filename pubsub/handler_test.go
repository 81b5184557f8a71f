package pubsub_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"waybill.dev/auth"
	"waybill.dev/internal/authtest"
	"waybill.dev/pubsub"
)

// A push in the form that was recorded from the real service: two-space JSON,
// both spellings, 17 digits, milliseconds.
const recorded = `{
  "message": {
    "attributes": {
      "ce-id": "0196",
      "ce-type": "user-signed-up"
    },
    "data": "eyJpZCI6NDJ9",
    "messageId": "12345678901234567",
    "message_id": "12345678901234567",
    "orderingKey": "42",
    "publishTime": "2026-01-02T03:04:05.678Z",
    "publish_time": "2026-01-02T03:04:05.678Z"
  },
  "subscription": "projects/shop/subscriptions/index-user",
  "deliveryAttempt": 2
}`

type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// receiver is a handler on a real socket, with a real verifier.
type receiver struct {
	*httptest.Server
	issuer *authtest.Issuer
	log    *logBuffer
}

func newReceiver(t testing.TB, cfg pubsub.HandlerConfig, h pubsub.HandlerFunc) *receiver {
	t.Helper()
	rc := &receiver{issuer: authtest.New(t), log: &logBuffer{}}
	cfg.Verifier = rc.issuer.Verifier(t, audience, pusher)
	cfg.Subscription = subscription
	cfg.Logger = slog.New(slog.NewJSONHandler(rc.log, nil))
	handler, err := pubsub.NewHandler(cfg, h)
	if err != nil {
		t.Fatal(err)
	}
	rc.Server = httptest.NewServer(handler)
	t.Cleanup(rc.Close)
	return rc
}

// push posts as Pub/Sub does; change may alter the request.
func (rc *receiver) push(t testing.TB, body string, change func(*http.Request)) (status int, header http.Header, answer string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, rc.URL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+rc.issuer.Token(pusher, audience))
	r.Header.Set("From", "noreply@google.com")
	r.Header.Set("User-Agent", "APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept-Encoding", "gzip, deflate, br")
	if change != nil {
		change(r)
	}
	resp, err := rc.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

func TestAWrappedPush(t *testing.T) {
	var got *pubsub.Delivery
	rc := newReceiver(t, pubsub.HandlerConfig{}, func(ctx context.Context, d *pubsub.Delivery) error {
		got = d
		if id, ok := auth.IdentityFrom(ctx); !ok || id.Email != pusher {
			t.Errorf("the context's identity is %+v", id)
		}
		return nil
	})
	want := &pubsub.Delivery{
		ID: "12345678901234567", Data: []byte(`{"id":42}`), OrderingKey: "42", Attempt: 2, Subscription: subscription,
		Attributes:  map[string]string{"ce-id": "0196", "ce-type": "user-signed-up"},
		PublishTime: time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC),
	}
	drop := func(body string, lines ...string) string {
		for _, line := range lines {
			if !strings.Contains(body, line) {
				t.Fatalf("the recorded body has no %q", line)
			}
			body = strings.Replace(body, line, "", 1)
		}
		return body
	}
	uncounted := *want
	uncounted.Attempt = 0
	bare := *want
	bare.Attributes, bare.OrderingKey = nil, ""
	for _, test := range []struct {
		name, body string
		want       *pubsub.Delivery
	}{
		{"as recorded", recorded, want},
		{"camel case only", drop(recorded, `    "message_id": "12345678901234567",`+"\n", ",\n"+`    "publish_time": "2026-01-02T03:04:05.678Z"`), want},
		{"snake case only", drop(recorded, `    "messageId": "12345678901234567",`+"\n", `    "publishTime": "2026-01-02T03:04:05.678Z",`+"\n"), want},
		{"without a dead-letter policy", drop(recorded, ",\n"+`  "deliveryAttempt": 2`), &uncounted},
		{"without attributes and key", drop(recorded, `    "attributes": {
      "ce-id": "0196",
      "ce-type": "user-signed-up"
    },
`, `    "orderingKey": "42",`+"\n"), &bare},
	} {
		t.Run(test.name, func(t *testing.T) {
			got = nil
			if status, _, body := rc.push(t, test.body, nil); status != http.StatusNoContent || body != "" {
				t.Fatalf("answered %d %q", status, body)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreFields(pubsub.Delivery{}, "Caller", "ReceivedAt")); diff != "" {
				t.Errorf("delivery (-want +got):\n%s", diff)
			}
			if got.Caller.Email != pusher || got.Caller.Assurance != auth.Verified {
				t.Errorf("caller %+v", got.Caller)
			}
		})
	}
}

func TestAnUnwrappedPush(t *testing.T) {
	var got *pubsub.Delivery
	rc := newReceiver(t, pubsub.HandlerConfig{Unwrapped: true}, func(_ context.Context, d *pubsub.Delivery) error {
		got = d
		return nil
	})
	metadata := func(name string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("x-goog-pubsub-message-id", "12345678901234567")
			r.Header.Set("x-goog-pubsub-publish-time", "2026-01-02T03:04:05.678Z")
			r.Header.Set("x-goog-pubsub-subscription-name", name)
			r.Header.Set("x-goog-pubsub-ordering-key", "42")
			r.Header.Set("x-goog-pubsub-delivery-attempt", "2")
			r.Header.Set("ce-id", "0196")
		}
	}
	if status, _, body := rc.push(t, `{"id":42}`, metadata(subscription)); status != http.StatusNoContent {
		t.Fatalf("answered %d %q", status, body)
	}
	want := &pubsub.Delivery{
		ID: "12345678901234567", Data: []byte(`{"id":42}`), OrderingKey: "42", Attempt: 2, Subscription: subscription,
		Attributes:  map[string]string{"ce-id": "0196", "content-type": "application/json"},
		PublishTime: time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC),
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(pubsub.Delivery{}, "Caller", "ReceivedAt")); diff != "" {
		t.Errorf("with metadata (-want +got):\n%s", diff)
	}

	if status, _, _ := rc.push(t, "raw", nil); status != http.StatusNoContent || string(got.Data) != "raw" || got.ID != "" {
		t.Errorf("without metadata: answered %d, %+v", status, got)
	}
	if status, _, _ := rc.push(t, "raw", metadata("projects/shop/subscriptions/another")); status != http.StatusForbidden {
		t.Errorf("another subscription: answered %d", status)
	}
}

var errHandler = errors.New("the index is down")

func attempt(n int) string {
	return strings.Replace(recorded, `"deliveryAttempt": 2`, fmt.Sprintf(`"deliveryAttempt": %d`, n), 1)
}

// TestOutcomes: each outcome's status, and whether the dead letters got it.
func TestOutcomes(t *testing.T) {
	for _, test := range []struct {
		name         string
		body         string
		max          int
		err          error
		deadLetter   error // of the dead letters themselves
		status       int
		dead, notRun bool
	}{
		{"done", attempt(1), 3, nil, nil, 204, false, false},
		{"failed", attempt(1), 3, errHandler, nil, 500, false, false},
		{"failed at the last attempt", attempt(3), 3, errHandler, nil, 204, true, false},
		{"failed without a limit", attempt(99), 0, errHandler, nil, 500, false, false},
		{"failed without a count", attempt(0), 2, errHandler, nil, 500, false, false},
		{"failed without a count, the first is the last", attempt(0), 1, errHandler, nil, 204, true, false},
		{"permanent", attempt(1), 3, pubsub.Permanent(errHandler), nil, 204, true, false},
		{"permanent, dead letters down", attempt(1), 3, pubsub.Permanent(errHandler), errors.New("topic gone"), 503, true, false},
		{"later", attempt(1), 3, pubsub.RetryAfter(time.Second, errHandler), nil, 503, false, false},
		{"far beyond", attempt(101), 3, nil, nil, 204, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var ran, dead bool
			rc := newReceiver(t, pubsub.HandlerConfig{
				MaxAttempts: test.max,
				DeadLetter: func(_ context.Context, d *pubsub.Delivery, cause error) error {
					dead = true
					if d.ID != "12345678901234567" || d.Caller.Email != pusher || (test.err != nil && !errors.Is(cause, errHandler)) {
						t.Errorf("the dead letters got %+v because of %v", d, cause)
					}
					return test.deadLetter
				},
			}, func(context.Context, *pubsub.Delivery) error {
				ran = true
				return test.err
			})
			if status, _, _ := rc.push(t, test.body, nil); status != test.status {
				t.Errorf("answered %d, want %d", status, test.status)
			}
			if ran == test.notRun || dead != test.dead {
				t.Errorf("ran %v, dead-lettered %v", ran, dead)
			}
		})
	}
}

func TestWithoutDeadLetters(t *testing.T) {
	rc := newReceiver(t, pubsub.HandlerConfig{}, func(context.Context, *pubsub.Delivery) error { return pubsub.Permanent(errHandler) })
	if status, _, _ := rc.push(t, recorded, nil); status != http.StatusNoContent {
		t.Errorf("answered %d", status)
	}
	for _, part := range []string{`"level":"ERROR"`, errHandler.Error(), `"message_id":"0196"`, `"pubsub_id":"12345678901234567"`} {
		if !strings.Contains(rc.log.String(), part) {
			t.Errorf("no word of %s in the log:\n%s", part, rc.log)
		}
	}
}

func TestAPanicIsSurvived(t *testing.T) {
	rc := newReceiver(t, pubsub.HandlerConfig{}, func(context.Context, *pubsub.Delivery) error { panic("boom") })
	for range 2 {
		if status, _, body := rc.push(t, recorded, nil); status != http.StatusInternalServerError || strings.Contains(body, "boom") {
			t.Errorf("answered %d %q", status, body)
		}
	}
	for _, part := range []string{"boom", "handler_test.go", `"message_id":"0196"`, `"pubsub_id":"12345678901234567"`} {
		if !strings.Contains(rc.log.String(), part) {
			t.Errorf("no word of %s in the log:\n%s", part, rc.log)
		}
	}
}

func TestTheDeadlineIsOnTheContext(t *testing.T) {
	rc := newReceiver(t, pubsub.HandlerConfig{Deadline: 20 * time.Millisecond}, func(ctx context.Context, _ *pubsub.Delivery) error {
		<-ctx.Done()
		return ctx.Err()
	})
	if status, _, _ := rc.push(t, recorded, nil); status != http.StatusInternalServerError {
		t.Errorf("answered %d", status)
	}
}

func TestRefusals(t *testing.T) {
	rc := newReceiver(t, pubsub.HandlerConfig{MaxBody: 1000}, func(context.Context, *pubsub.Delivery) error {
		t.Error("the handler ran")
		return nil
	})
	bearer := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	}
	for _, test := range []struct {
		name, body string
		change     func(*http.Request)
		status     int
		says       string
	}{
		{"PUT", recorded, func(r *http.Request) { r.Method = http.MethodPut }, 405, "POST"},
		{"no token", recorded, func(r *http.Request) { r.Header.Del("Authorization") }, 401, ""},
		{"a foreign audience", recorded, bearer(rc.issuer.Token(pusher, "https://audit.example.com")), 401, ""},
		{"the publisher's own account", recorded, bearer(rc.issuer.Token("login@shop.iam.gserviceaccount.com", audience)), 403, ""},
		{"another subscription", strings.Replace(recorded, "index-user", "record-user", 1), nil, 403, "record-user"},
		{"another project", strings.Replace(recorded, "projects/shop", "projects/evil", 1), nil, 403, "evil"},
		{"no JSON", "hello", nil, 400, "Unwrapped"},
		{"an empty body", "", nil, 400, "JSON"},
		{"an array", "[]", nil, 400, "JSON"},
		{"null", "null", nil, 400, "no message"},
		{"no message", `{"subscription":"` + subscription + `"}`, nil, 400, "no message"},
		{"no subscription", `{"message":{"data":"eA=="}}`, nil, 400, "no subscription"},
		{"data that is no base64", `{"message":{"data":"secret!"},"subscription":"` + subscription + `"}`, nil, 400, "base64"},
		{"a number for data", `{"message":{"data":12345},"subscription":"` + subscription + `"}`, nil, 400, "number"},
		{"above the limit", recorded + strings.Repeat(" ", 1000), nil, 413, "1000"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := len(rc.log.String())
			status, _, body := rc.push(t, test.body, test.change)
			line := rc.log.String()[before:]
			for _, part := range []string{`"level":"WARN","msg":"request refused"`, fmt.Sprintf(`"status":%d,"method":"`, test.status), `"subscription":"` + subscription + `"`, test.says} {
				if test.says != "" && (!strings.Contains(line, part) || strings.Count(line, "\n") != 1) { // the others are auth's
					t.Errorf("no word of %s in one line:\n%s", part, line)
				}
			}
			if status != test.status || !strings.Contains(body, test.says) {
				t.Errorf("answered %d %q, want %d and %q", status, body, test.status, test.says)
			}
			if strings.Contains(body, "secret") {
				t.Errorf("the answer repeats the payload: %q", body)
			}
		})
	}
	if strings.Contains(rc.log.String(), "secret") {
		t.Errorf("the payload is in the log:\n%s", rc.log)
	}
}

func TestABodyThatStopsHalfWay(t *testing.T) {
	rc := newReceiver(t, pubsub.HandlerConfig{}, func(context.Context, *pubsub.Delivery) error {
		t.Error("the handler ran")
		return nil
	})
	conn, err := net.Dial("tcp", rc.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
		rc.issuer.Token(pusher, audience), len(recorded), recorded[:len(recorded)/2]); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
		t.Errorf("%.40q, %v", answer, err)
	}
}

func TestHandlerConfigReportsEveryProblem(t *testing.T) {
	_, err := pubsub.NewHandler(pubsub.HandlerConfig{Subscription: "index-user", MaxAttempts: -1, Deadline: -1, MaxBody: -1}, nil)
	for _, part := range []string{"pubsub: ", "Verifier", "HandlerFunc", "Subscription", "MaxAttempts", "Deadline", "MaxBody"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("no word of %s in: %v", part, err)
		}
	}
}
