package sync_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
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
	"waybill.dev/internal/outcome"
	wsync "waybill.dev/sync"
)

const caller = "login@shop.iam.gserviceaccount.com"

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

func (b *logBuffer) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf.Reset()
}

// receiver is a handler on a real socket, with a real verifier, and a client of it.
type receiver struct {
	*httptest.Server
	issuer *authtest.Issuer
	client *wsync.Client
	log    *logBuffer
}

func newReceiver(t testing.TB, cfg wsync.HandlerConfig, h wsync.HandlerFunc) *receiver {
	t.Helper()
	rc := &receiver{issuer: authtest.New(t), log: &logBuffer{}}
	cfg.Verifier = rc.issuer.Verifier(t, audience, caller)
	cfg.Logger = slog.New(slog.NewJSONHandler(rc.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	handler, err := wsync.NewHandler(cfg, h)
	if err != nil {
		t.Fatal(err)
	}
	rc.Server = httptest.NewServer(handler)
	t.Cleanup(rc.Close)
	rc.client, _ = newClient(t, rc.URL, func(c *wsync.ClientConfig) {
		c.Tokens = rc.issuer.Source(caller)
		c.MaxAttempts = 1
	})
	return rc
}

func (rc *receiver) call(t testing.TB, body string) *http.Response {
	t.Helper()
	r := request(t.Context(), t, http.MethodPost, rc.URL, body)
	r.Header.Set("Ce-Id", "0196")
	resp, err := rc.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func TestRequestAndReply(t *testing.T) {
	var got *wsync.Request
	rc := newReceiver(t, wsync.HandlerConfig{}, func(ctx context.Context, r *wsync.Request) (*wsync.Response, error) {
		got = r
		if id, ok := auth.IdentityFrom(ctx); !ok || id.Email != caller {
			t.Errorf("the context's identity is %+v", id)
		}
		return &wsync.Response{Header: http.Header{"content-type": {"text/plain"}}, Body: []byte("profile")}, nil
	})
	resp := rc.call(t, "query")
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || string(body) != "profile" || resp.Header.Get("Content-Type") != "text/plain" || resp.ContentLength != 7 {
		t.Errorf("%s %q %v, %v", resp.Status, body, resp.Header, err)
	}
	if err := wsync.ReadError(resp); err != nil {
		t.Error(err)
	}
	if string(got.Body) != "query" || got.Caller.Email != caller || got.Header.Get("Ce-Id") != "0196" {
		t.Errorf("the handler got %+v", got)
	}
	if got.Header.Get("Authorization") != "" || got.Header.Get("X-Serverless-Authorization") != "" {
		t.Error("the credentials were handed on")
	}
	if resp.Header.Get(wsync.RetryHeader) != "" {
		t.Error("an answer of the handler's says that it may be repeated")
	}
}

func TestNoReply(t *testing.T) {
	rc := newReceiver(t, wsync.HandlerConfig{}, func(context.Context, *wsync.Request) (*wsync.Response, error) { return nil, nil })
	if resp := rc.call(t, ""); resp.StatusCode != http.StatusNoContent {
		t.Errorf("answered %s", resp.Status)
	}
}

var errSecret = errors.New("the password is hunter2")

// TestErrorsCrossTheWire: what the caller reads of each error of a handler's.
func TestErrorsCrossTheWire(t *testing.T) {
	notFound := wsync.Errorf(wsync.NotFound, "no profile of %s", "42")
	for _, test := range []struct {
		name   string
		err    error
		status int
		safe   string
		want   *wsync.Error
	}{
		{"its own", notFound, 404, "", &wsync.Error{Code: wsync.NotFound, Message: "no profile of 42", ID: "0196"}},
		{"its own, wrapped", fmt.Errorf("more: %w", notFound), 404, "", &wsync.Error{Code: wsync.NotFound, Message: "no profile of 42", ID: "0196"}},
		{"its own with an id", &wsync.Error{Code: wsync.Aborted, Message: "again", ID: "x1"}, 409, "", &wsync.Error{Code: wsync.Aborted, Message: "again", ID: "x1"}},
		{"an ordinary one", errSecret, 500, "", &wsync.Error{Code: wsync.Internal, ID: "0196"}},
		{"permanent", wsync.Permanent(errSecret), 422, "", &wsync.Error{Code: wsync.FailedPrecondition, ID: "0196", Permanent: true}},
		{"permanent with a text", wsync.Permanent(notFound), 422, "", &wsync.Error{Code: wsync.NotFound, Message: "no profile of 42", ID: "0196", Permanent: true}},
		{"later", wsync.RetryAfter(1500*time.Millisecond, errSecret), 503, "safe", &wsync.Error{Code: wsync.Unavailable, ID: "0196", RetryAfter: 2 * time.Second}},
		{"later with a text", wsync.RetryAfter(time.Second, wsync.Errorf(wsync.Unavailable, "warming up")), 503, "safe", &wsync.Error{Code: wsync.Unavailable, Message: "warming up", ID: "0196", RetryAfter: time.Second}},
		{"unavailable without a promise", wsync.Errorf(wsync.Unavailable, "half done"), 503, "", &wsync.Error{Code: wsync.Unavailable, Message: "half done", ID: "0196"}},
		{"a missed deadline", fmt.Errorf("reading: %w", context.DeadlineExceeded), 504, "", &wsync.Error{Code: wsync.DeadlineExceeded, ID: "0196"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			rc := newReceiver(t, wsync.HandlerConfig{}, func(context.Context, *wsync.Request) (*wsync.Response, error) { return nil, test.err })
			resp := rc.call(t, "query")
			if resp.StatusCode != test.status || resp.Header.Get(wsync.RetryHeader) != test.safe {
				t.Errorf("answered %s, %s: %q", resp.Status, wsync.RetryHeader, resp.Header.Get(wsync.RetryHeader))
			}
			got, ok := errors.AsType[*wsync.Error](wsync.ReadError(resp))
			if !ok {
				t.Fatal("no *Error")
			}
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreUnexported(wsync.Error{})); diff != "" {
				t.Errorf("the caller reads (-want +got):\n%s", diff)
			}
			if !strings.Contains(rc.log.String(), `"message_id":"`+got.ID+`"`) || !strings.Contains(rc.log.String(), test.err.Error()) {
				t.Errorf("the id is not in the log beside the error:\n%s", rc.log)
			}
		})
	}
}

func TestAnErrorOfAnotherServiceStopsHere(t *testing.T) {
	behind := newReceiver(t, wsync.HandlerConfig{}, func(context.Context, *wsync.Request) (*wsync.Response, error) {
		return nil, wsync.Errorf(wsync.NotFound, "%v", errSecret)
	})
	front := newReceiver(t, wsync.HandlerConfig{}, func(context.Context, *wsync.Request) (*wsync.Response, error) {
		return nil, wsync.ReadError(behind.call(t, "query"))
	})
	err := wsync.ReadError(front.call(t, "query"))
	if !errors.Is(err, &wsync.Error{Code: wsync.Internal}) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
}

func TestAPanicIsSurvived(t *testing.T) {
	rc := newReceiver(t, wsync.HandlerConfig{}, func(context.Context, *wsync.Request) (*wsync.Response, error) { panic("boom") })
	for range 2 {
		err := wsync.ReadError(rc.call(t, "query"))
		if e, ok := errors.AsType[*wsync.Error](err); !ok || e.Code != wsync.Internal || e.ID != "0196" || strings.Contains(err.Error(), "boom") {
			t.Errorf("%v", err)
		}
	}
	for _, part := range []string{"boom", "handler_test.go", `"message_id":"0196"`} {
		if !strings.Contains(rc.log.String(), part) {
			t.Errorf("no word of %s in the log:\n%s", part, rc.log)
		}
	}
}

func TestTheDeadlineIsOnTheContext(t *testing.T) {
	rc := newReceiver(t, wsync.HandlerConfig{Deadline: 20 * time.Millisecond}, func(ctx context.Context, _ *wsync.Request) (*wsync.Response, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	if resp := rc.call(t, "query"); resp.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("answered %s", resp.Status)
	}
}

func TestAnUnfitIDIsReplaced(t *testing.T) {
	rc := newReceiver(t, wsync.HandlerConfig{}, func(context.Context, *wsync.Request) (*wsync.Response, error) { return nil, errSecret })
	for _, id := range []string{"", "a b", strings.Repeat("x", 129), "é"} {
		r := request(t.Context(), t, http.MethodPost, rc.URL, "query")
		r.Header.Set("Ce-Id", id)
		resp, err := rc.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		e, ok := errors.AsType[*wsync.Error](wsync.ReadError(resp))
		if !ok || len(e.ID) != len("00000000-0000-0000-0000-000000000000") {
			t.Errorf("%q became %+v", id, e)
		}
	}
}

func TestRefusals(t *testing.T) {
	rc := newReceiver(t, wsync.HandlerConfig{MaxBody: 10}, func(context.Context, *wsync.Request) (*wsync.Response, error) {
		t.Error("the handler ran")
		return nil, nil
	})
	refused := `"level":"WARN","msg":"request refused"`
	for _, test := range []struct {
		name, method, body, token string
		status                    int
		code                      wsync.Code
		logged                    []string // not by auth
	}{
		{"GET", http.MethodGet, "", rc.issuer.Token(caller, audience), 405, wsync.Unimplemented, []string{refused, `"status":405,"method":"GET","path":"/"`}},
		{"no token", http.MethodPost, "query", "", 401, wsync.Unauthenticated, nil},
		{"a foreign audience", http.MethodPost, "query", rc.issuer.Token(caller, "https://search.example.com"), 401, wsync.Unauthenticated, nil},
		{"an account that was not declared", http.MethodPost, "query", rc.issuer.Token("search@shop.iam.gserviceaccount.com", audience), 403, wsync.PermissionDenied, nil},
		{"above the limit", http.MethodPost, "12345678901", rc.issuer.Token(caller, audience), 413, wsync.InvalidArgument, []string{refused, `"status":413,"method":"POST","path":"/","caller":"` + caller + `","message_id":"0196"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			rc.log.reset()
			r := request(t.Context(), t, test.method, rc.URL, test.body)
			r.Header.Set("Ce-Id", "0196")
			if test.token != "" {
				r.Header.Set("Authorization", "Bearer "+test.token)
			}
			resp, err := rc.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != test.status {
				t.Errorf("answered %s", resp.Status)
			}
			for _, part := range test.logged {
				if got := rc.log.String(); !strings.Contains(got, part) || strings.Count(got, "\n") != 1 {
					t.Errorf("no word of %s in one line:\n%s", part, got)
				}
			}
			if err := wsync.ReadError(resp); !isCode(err, test.code) {
				t.Errorf("%v, want %s", err, test.code)
			}
		})
	}
}

// TestLevels: an error of the caller's making is none of the receiver's, but a body that no handler saw is told.
func TestLevels(t *testing.T) {
	for _, test := range []struct {
		name, level, message string
		err                  error
	}{
		{"the caller's fault", "DEBUG", "call failed", wsync.Errorf(wsync.InvalidArgument, "no such field")},
		{"without a text", "DEBUG", "call failed", &wsync.Error{Code: wsync.InvalidArgument}},
		{"undecodable", "WARN", "request refused", wsync.Errorf(wsync.InvalidArgument, "%w", outcome.Undecodable(io.ErrUnexpectedEOF))},
		{"ordinary", "ERROR", "call failed", errSecret},
		{"permanent without a text", "ERROR", "call failed", wsync.Permanent(errSecret)},
		{"the receiver's own failure", "ERROR", "call failed", wsync.Errorf(wsync.Internal, "the disk is full")},
	} {
		rc := newReceiver(t, wsync.HandlerConfig{}, func(context.Context, *wsync.Request) (*wsync.Response, error) { return nil, test.err })
		rc.call(t, "query")
		got := rc.log.String()
		if !strings.Contains(got, `"level":"`+test.level+`","msg":"`+test.message+`"`) || !strings.Contains(got, `"message_id":"0196"`) || strings.Count(got, "\n") != 1 {
			t.Errorf("%s: %s", test.name, got)
		}
	}
}

func isCode(err error, code wsync.Code) bool {
	e, ok := errors.AsType[*wsync.Error](err)
	return ok && e.Code == code
}

// TestWithoutKeysTheCallerMayRepeat: the handler has not run, and the answer says so.
func TestWithoutKeysTheCallerMayRepeat(t *testing.T) {
	issuer := authtest.New(t)
	quiet := slog.New(slog.DiscardHandler)
	keys, err := auth.NewKeySet(auth.KeySetConfig{URL: "http://" + closedPort(t), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	verifier, err := auth.NewVerifier(auth.VerifierConfig{Audiences: []string{audience}, Callers: []string{caller}, Keys: keys, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	handler, err := wsync.NewHandler(wsync.HandlerConfig{Verifier: verifier}, func(context.Context, *wsync.Request) (*wsync.Response, error) {
		t.Error("the handler ran")
		return nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(handler)
	defer s.Close()
	client, _ := newClient(t, s.URL, func(c *wsync.ClientConfig) { c.Tokens, c.MaxAttempts = issuer.Source(caller), 1 })
	resp, err := client.Do(request(t.Context(), t, http.MethodPost, s.URL, "query"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get(wsync.RetryHeader) != wsync.RetrySafe || resp.Header.Get("Retry-After") == "" {
		t.Errorf("answered %s %v", resp.Status, resp.Header)
	}
}

func TestHandlerConfigReportsEveryProblem(t *testing.T) {
	_, err := wsync.NewHandler(wsync.HandlerConfig{Deadline: -1, MaxBody: -1}, nil)
	for _, part := range []string{"sync: ", "Verifier", "HandlerFunc", "Deadline", "MaxBody"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("no word of %s in: %v", part, err)
		}
	}
}
