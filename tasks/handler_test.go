package tasks_test

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
	"waybill.dev/tasks"
)

// receiver is a handler on a real socket, with a real verifier.
type receiver struct {
	*httptest.Server
	issuer *authtest.Issuer
	log    *logBuffer
}

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

func newReceiver(t testing.TB, cfg tasks.HandlerConfig, h tasks.HandlerFunc) *receiver {
	t.Helper()
	rc := &receiver{issuer: authtest.New(t), log: &logBuffer{}}
	cfg.Verifier = rc.issuer.Verifier(t, audience, account)
	cfg.Logger = slog.New(slog.NewJSONHandler(rc.log, nil))
	handler, err := tasks.NewHandler(cfg, h)
	if err != nil {
		t.Fatal(err)
	}
	rc.Server = httptest.NewServer(handler)
	t.Cleanup(rc.Close)
	return rc
}

func (rc *receiver) token() string { return rc.issuer.Token(account, audience) }

// deliver posts as Cloud Tasks does; change may alter the request.
func (rc *receiver) deliver(t testing.TB, attempt int, change func(*http.Request)) (status int, header http.Header, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, rc.URL, strings.NewReader("payload"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+rc.token())
	r.Header.Set("User-Agent", "Google-Cloud-Tasks")
	r.Header.Set("X-CloudTasks-QueueName", "welcome")
	r.Header.Set("X-CloudTasks-TaskName", "1234")
	r.Header.Set("X-CloudTasks-TaskRetryCount", fmt.Sprint(attempt-1))
	r.Header.Set("X-CloudTasks-TaskExecutionCount", "0")
	r.Header.Set("X-CloudTasks-TaskETA", "1767225600.123456")
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

func TestWhatAHandlerSees(t *testing.T) {
	var got *tasks.Delivery
	rc := newReceiver(t, tasks.HandlerConfig{}, func(ctx context.Context, d *tasks.Delivery) error {
		got = d
		if id, ok := auth.IdentityFrom(ctx); !ok || id.Email != account {
			t.Errorf("the context's identity is %+v", id)
		}
		return nil
	})
	code, _, body := rc.deliver(t, 3, func(r *http.Request) {
		r.Header.Set("X-CloudTasks-TaskExecutionCount", "1")
		r.Header.Set("X-CloudTasks-TaskPreviousResponse", "503")
		r.Header.Set("X-CloudTasks-TaskRetryReason", "")
		r.Header.Set("X-Serverless-Authorization", "Bearer secret")
		r.Header.Set("Ce-Id", "7")
	})
	if code != http.StatusNoContent || body != "" {
		t.Errorf("answered %d %q", code, body)
	}
	want := &tasks.Delivery{
		Queue: "welcome", Task: "1234", Attempt: 3, ExecutionCount: 1, PreviousResponse: 503,
		ETA: time.Unix(1767225600, 123456000).UTC(), Body: []byte("payload"),
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(tasks.Delivery{}, "Header", "Caller", "ReceivedAt")); diff != "" {
		t.Errorf("delivery (-want +got):\n%s", diff)
	}
	if got.Caller.Email != account || got.Caller.Audience != audience || got.Caller.Assurance != auth.Verified {
		t.Errorf("caller %+v", got.Caller)
	}
	if got.Header.Get("Ce-Id") != "7" {
		t.Errorf("header %v", got.Header)
	}
	if got.Header.Get("Authorization") != "" || got.Header.Get("X-Serverless-Authorization") != "" {
		t.Error("the credentials were handed on")
	}
}

var errHandler = errors.New("the mail server is down")

// TestOutcomes: each outcome's status, and whether the dead letters got it.
func TestOutcomes(t *testing.T) {
	for _, test := range []struct {
		name       string
		attempt    int
		max        int
		err        error
		deadLetter error // of the dead letters themselves
		status     int
		retryAfter string
		dead, ran  bool
	}{
		{"done", 1, 3, nil, nil, 204, "", false, true},
		{"failed", 1, 3, errHandler, nil, 500, "", false, true},
		{"failed at the last attempt", 3, 3, errHandler, nil, 204, "", true, true},
		{"failed beyond it", 7, 3, errHandler, nil, 204, "", true, true},
		{"failed without a limit", 900, 0, errHandler, nil, 500, "", false, true},
		{"permanent", 1, 3, tasks.Permanent(errHandler), nil, 204, "", true, true},
		{"permanent without a limit", 1, 0, tasks.Permanent(errHandler), nil, 204, "", true, true},
		{"permanent, dead letters down", 1, 3, tasks.Permanent(errHandler), errors.New("topic gone"), 503, "", true, true},
		{"last attempt, dead letters down", 3, 3, errHandler, errors.New("topic gone"), 503, "", true, true},
		{"later", 1, 3, tasks.RetryAfter(1500*time.Millisecond, errHandler), nil, 503, "2", false, true},
		{"later, at once", 1, 3, tasks.RetryAfter(0, errHandler), nil, 503, "1", false, true},
		{"later, at the last attempt", 3, 3, tasks.RetryAfter(time.Second, errHandler), nil, 204, "", true, true},
		{"far beyond", 101, 3, nil, nil, 204, "", true, false},
		{"far beyond, dead letters down", 101, 3, nil, errors.New("topic gone"), 503, "", true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var ran, dead bool
			rc := newReceiver(t, tasks.HandlerConfig{
				MaxAttempts: test.max,
				DeadLetter: func(ctx context.Context, d *tasks.Delivery, cause error) error {
					dead = true
					if d.Task != "1234" || string(d.Body) != "payload" {
						t.Errorf("the dead letters got %+v", d)
					}
					if test.err != nil && !errors.Is(cause, errHandler) {
						t.Errorf("because of %v", cause)
					}
					if ctx.Err() != nil {
						t.Error("the dead letters' context has ended")
					}
					return test.deadLetter
				},
			}, func(context.Context, *tasks.Delivery) error {
				ran = true
				return test.err
			})
			status, header, body := rc.deliver(t, test.attempt, nil)
			if status != test.status || header.Get("Retry-After") != test.retryAfter {
				t.Errorf("answered %d, Retry-After %q", status, header.Get("Retry-After"))
			}
			if ran != test.ran || dead != test.dead {
				t.Errorf("ran %v, dead-lettered %v", ran, dead)
			}
			if strings.Contains(body, errHandler.Error()) {
				t.Errorf("the answer tells the handler's error: %q", body)
			}
			if test.err != nil && !strings.Contains(rc.log.String(), errHandler.Error()) {
				t.Errorf("the log does not say why:\n%s", rc.log)
			}
			if strings.Contains(rc.log.String(), "payload") {
				t.Errorf("the payload is in the log:\n%s", rc.log)
			}
		})
	}
}

func TestWithoutDeadLetters(t *testing.T) {
	rc := newReceiver(t, tasks.HandlerConfig{}, func(context.Context, *tasks.Delivery) error { return tasks.Permanent(errHandler) })
	if status, _, _ := rc.deliver(t, 1, nil); status != http.StatusNoContent {
		t.Errorf("answered %d", status)
	}
	if got := rc.log.String(); !strings.Contains(got, `"level":"ERROR"`) || !strings.Contains(got, errHandler.Error()) || !strings.Contains(got, `"task":"1234"`) {
		t.Errorf("the log: %s", got)
	}
}

func TestPanics(t *testing.T) {
	var value any
	rc := newReceiver(t, tasks.HandlerConfig{MaxAttempts: 2, DeadLetter: func(_ context.Context, _ *tasks.Delivery, cause error) error {
		if !strings.Contains(cause.Error(), "boom") {
			t.Errorf("cause %v", cause)
		}
		panic("so do I")
	}}, func(context.Context, *tasks.Delivery) error { panic(value) })

	value = "boom"
	if status, _, body := rc.deliver(t, 1, nil); status != http.StatusInternalServerError || strings.Contains(body, "boom") {
		t.Errorf("answered %d %q", status, body)
	}
	for _, part := range []string{"boom", "handler_test.go", `"task":"1234"`, `"level":"ERROR"`} {
		if !strings.Contains(rc.log.String(), part) {
			t.Errorf("no word of %s in the log:\n%s", part, rc.log)
		}
	}
	if got := rc.log.String(); len(got) > 800 || strings.Contains(got, "net/http") || strings.Contains(got, "gopanic") {
		t.Errorf("the stack is not short:\n%s", got)
	}
	if status, _, _ := rc.deliver(t, 2, nil); status != http.StatusServiceUnavailable {
		t.Errorf("dead letters that panic: answered %d", status)
	}

	value = http.ErrAbortHandler
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, rc.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+rc.token())
	if resp, err := rc.Client().Do(r); err == nil {
		resp.Body.Close()
		t.Errorf("ErrAbortHandler was answered: %s", resp.Status)
	}
}

func TestDeadline(t *testing.T) {
	var inTime bool
	rc := newReceiver(t, tasks.HandlerConfig{
		MaxAttempts: 1, Deadline: 20 * time.Millisecond,
		DeadLetter: func(ctx context.Context, _ *tasks.Delivery, cause error) error {
			inTime = ctx.Err() == nil && errors.Is(cause, context.DeadlineExceeded)
			return nil
		},
	}, func(ctx context.Context, _ *tasks.Delivery) error {
		<-ctx.Done()
		return ctx.Err()
	})
	if status, _, _ := rc.deliver(t, 1, nil); status != http.StatusNoContent || !inTime {
		t.Errorf("answered %d, dead letters in time: %v", status, inTime)
	}
}

func TestRefusals(t *testing.T) {
	rc := newReceiver(t, tasks.HandlerConfig{MaxBody: 10}, func(context.Context, *tasks.Delivery) error {
		t.Error("the handler ran")
		return nil
	})
	for _, test := range []struct {
		name   string
		change func(*http.Request)
		status int
	}{
		{"GET", func(r *http.Request) { r.Method = http.MethodGet; r.Body, r.ContentLength = nil, 0 }, 405},
		{"PUT", func(r *http.Request) { r.Method = http.MethodPut }, 405},
		{"no token, though the headers are Cloud Tasks' own", func(r *http.Request) { r.Header.Del("Authorization") }, 401},
		{"a foreign audience", func(r *http.Request) {
			r.Header.Set("Authorization", "Bearer "+rc.issuer.Token(account, "https://search.example.com"))
		}, 401},
		{"another issuer", func(r *http.Request) {
			r.Header.Set("Authorization", "Bearer "+authtest.New(t).Token(account, audience))
		}, 401},
		{"an account that was not declared", func(r *http.Request) {
			r.Header.Set("Authorization", "Bearer "+rc.issuer.Token("search@shop.iam.gserviceaccount.com", audience))
		}, 403},
		{"a declared length above the limit", func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader("12345678901")), 11
		}, 413},
		{"a chunked body above the limit", func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader("12345678901")), -1
		}, 413},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := len(rc.log.String())
			if status, _, body := rc.deliver(t, 1, test.change); status != test.status {
				t.Errorf("answered %d %q, want %d", status, body, test.status)
			}
			line := rc.log.String()[before:]
			for _, part := range []string{`"level":"WARN"`, `"msg":"request refused"`, fmt.Sprintf(`"status":%d`, test.status), `"method":`, `"path":"/"`, `"error":"`} {
				if test.status != 401 && test.status != 403 && (!strings.Contains(line, part) || strings.Count(line, "\n") != 1) { // those are auth's
					t.Errorf("no word of %s in one line:\n%s", part, line)
				}
			}
			if test.status == 413 && !strings.Contains(line, `"queue":"welcome","task":"1234"`) {
				t.Errorf("the task is not named:\n%s", line)
			}
		})
	}
	if strings.Contains(rc.log.String(), rc.token()[:40]) {
		t.Error("a token is in the log")
	}
}

func TestChunkedBody(t *testing.T) {
	var got string
	rc := newReceiver(t, tasks.HandlerConfig{MaxBody: 10}, func(_ context.Context, d *tasks.Delivery) error {
		got = string(d.Body)
		return nil
	})
	status, _, _ := rc.deliver(t, 1, func(r *http.Request) {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader("1234567890")), -1
	})
	if status != 204 || got != "1234567890" {
		t.Errorf("answered %d, body %q", status, got)
	}
}

// raw sends bytes, closes the writing half, and returns the answer's first line.
func (rc *receiver) raw(t *testing.T, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", rc.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(answer), "\r\n")
	return line
}

func TestABodyThatStopsHalfWay(t *testing.T) {
	rc := newReceiver(t, tasks.HandlerConfig{}, func(context.Context, *tasks.Delivery) error {
		t.Error("the handler ran")
		return nil
	})
	head := "POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + rc.token() + "\r\n"
	for name, rest := range map[string]string{
		"declared length": "Content-Length: 100\r\n\r\nhalf",
		"chunked":         "Transfer-Encoding: chunked\r\n\r\n64\r\nhalf",
	} {
		if got := rc.raw(t, head+rest); got != "HTTP/1.1 400 Bad Request" {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := rc.log.String(); strings.Count(got, `"msg":"request refused","status":400`) != 2 || !strings.Contains(got, "read to its end") {
		t.Errorf("the log: %s", got)
	}
}

// TestTheBodyIsNotReadBeforeTheTokenIsVerified: the answer comes though no byte of the body does.
func TestTheBodyIsNotReadBeforeTheTokenIsVerified(t *testing.T) {
	rc := newReceiver(t, tasks.HandlerConfig{}, func(context.Context, *tasks.Delivery) error { return nil })
	conn, err := net.Dial("tcp", rc.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\nExpect: 100-continue\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, len("HTTP/1.1 401"))
	if _, err := io.ReadFull(conn, line); err != nil || string(line) != "HTTP/1.1 401" {
		t.Errorf("%q, %v: 100 would ask for the body", line, err)
	}
}

func TestHandlerConfigReportsEveryProblem(t *testing.T) {
	_, err := tasks.NewHandler(tasks.HandlerConfig{MaxAttempts: -1, Deadline: -1, MaxBody: -1}, nil)
	for _, part := range []string{"tasks: ", "Verifier", "HandlerFunc", "MaxAttempts", "Deadline", "MaxBody"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("no word of %s in: %v", part, err)
		}
	}
}
