package sync_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	wsync "waybill.dev/sync"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const audience = "https://profiles.example.com"

// tokens counts what it mints, a new token each time.
type tokens struct {
	minted atomic.Int32
	err    error
}

func (s *tokens) Token(_ context.Context, audience string) (string, error) {
	if s.err != nil {
		return "", s.err
	}
	return "token-" + string('0'+s.minted.Add(1)) + "-for-" + audience, nil
}

// server answers and records.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	requests []recordedRequest
}

type recordedRequest struct {
	method, path, body string
	header             http.Header
}

// newServer answers the n-th request (from 1) by answer.
func newServer(t testing.TB, answer func(w http.ResponseWriter, n int)) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.requests = append(s.requests, recordedRequest{r.Method, r.URL.Path, string(body), r.Header})
		n := len(s.requests)
		s.mu.Unlock()
		answer(w, n)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) got() []recordedRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

func newClient(t testing.TB, url string, change func(*wsync.ClientConfig)) (*wsync.Client, *tokens) {
	t.Helper()
	source := &tokens{}
	cfg := wsync.ClientConfig{URL: url, Audience: audience, Tokens: source, MinBackoff: time.Microsecond, MaxBackoff: time.Millisecond}
	if change != nil {
		change(&cfg)
	}
	client, err := wsync.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client, source
}

func request(ctx context.Context, t testing.TB, method, url, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func status(code int, header ...string) func(http.ResponseWriter, int) {
	return func(w http.ResponseWriter, _ int) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
	}
}

func TestTheTokenIsInBothHeaders(t *testing.T) {
	s := newServer(t, status(200))
	client, _ := newClient(t, s.URL, nil)
	r := request(t.Context(), t, http.MethodPost, s.URL+"/get", "query")
	r.Header.Set("Ce-Id", "7")
	r.Header.Set("Authorization", "Bearer of-the-users-own")
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	got := s.got()[0]
	want := "Bearer token-1-for-" + audience
	if got.header.Get("Authorization") != want || got.header.Get("X-Serverless-Authorization") != want || len(got.header["Authorization"]) != 1 {
		t.Errorf("headers %v", got.header)
	}
	if got.method != http.MethodPost || got.path != "/get" || got.body != "query" || got.header.Get("Ce-Id") != "7" {
		t.Errorf("sent %+v", got)
	}
	if r.Header.Get("Authorization") != "Bearer of-the-users-own" || r.Header.Get("X-Serverless-Authorization") != "" {
		t.Errorf("the user's request was changed: %v", r.Header)
	}
	if strings.Contains(resp.Request.Header.Get("Authorization"), "token-") {
		t.Error("the answer's request holds the token")
	}
}

// TestRetries: which answers are repeated for which requests, and with which body and token.
func TestRetries(t *testing.T) {
	for _, test := range []struct {
		name   string
		method string
		marked bool
		answer func(http.ResponseWriter, int)
		tries  int
	}{
		{"POST 200", http.MethodPost, false, status(200), 1},
		{"POST 429", http.MethodPost, false, status(429), 3},
		{"POST 503 of anybody's", http.MethodPost, false, status(503), 1},
		{"POST 503 with our header", http.MethodPost, false, status(503, wsync.RetryHeader, wsync.RetrySafe), 3},
		{"POST 503 with another word", http.MethodPost, false, status(503, wsync.RetryHeader, "maybe"), 1},
		{"POST 500 with our header", http.MethodPost, false, status(500, wsync.RetryHeader, wsync.RetrySafe), 1},
		{"POST 500", http.MethodPost, false, status(500), 1},
		{"POST 502", http.MethodPost, false, status(502), 1},
		{"POST 504", http.MethodPost, false, status(504), 1},
		{"marked POST 503", http.MethodPost, true, status(503), 3},
		{"marked POST 500", http.MethodPost, true, status(500), 3},
		{"marked POST 422", http.MethodPost, true, status(422), 1},
		{"PUT 502", http.MethodPut, false, status(502), 3},
		{"GET 504", http.MethodGet, false, status(504), 3},
		{"DELETE 408", http.MethodDelete, false, status(408), 3},
		{"PATCH 503", http.MethodPatch, false, status(503), 1},
		{"GET 404", http.MethodGet, false, status(404), 1},
		{"GET 401", http.MethodGet, false, status(401), 1},
		{"GET 501", http.MethodGet, false, status(501), 1},
		{"GET 304", http.MethodGet, false, status(304), 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, test.answer)
			client, source := newClient(t, s.URL, func(c *wsync.ClientConfig) { c.MaxAttempts = 3 })
			ctx := t.Context()
			if test.marked {
				ctx = wsync.WithIdempotent(ctx)
			}
			resp, err := client.Do(request(ctx, t, test.method, s.URL, "query"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(resp.Body); err != nil {
				t.Errorf("the last answer's body: %v", err)
			}
			resp.Body.Close()
			got := s.got()
			if len(got) != test.tries || int(source.minted.Load()) != test.tries {
				t.Fatalf("%d requests with %d tokens, want %d", len(got), source.minted.Load(), test.tries)
			}
			for i, r := range got {
				if r.body != "query" || r.header.Get("Authorization") != "Bearer token-"+string(rune('1'+i))+"-for-"+audience {
					t.Errorf("attempt %d: %+v", i+1, r)
				}
			}
		})
	}
}

func TestSuccessAfterARetry(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, n int) {
		if n < 3 {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		_, _ = io.WriteString(w, "profile")
	})
	client, _ := newClient(t, s.URL, nil)
	resp, err := client.Do(request(t.Context(), t, http.MethodPost, s.URL, "query"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "profile" || resp.StatusCode != 200 {
		t.Errorf("%s %q, %v", resp.Status, body, err)
	}
}

func TestABrokenConnection(t *testing.T) {
	for _, test := range []struct {
		method string
		marked bool
		tries  int
	}{{http.MethodPost, false, 1}, {http.MethodPost, true, 3}, {http.MethodGet, false, 3}} {
		s := newServer(t, func(http.ResponseWriter, int) { panic(http.ErrAbortHandler) })
		client, _ := newClient(t, s.URL, func(c *wsync.ClientConfig) {
			c.MaxAttempts = 3
			c.Transport = &http.Transport{DisableKeepAlives: true} // net/http repeats by itself on a reused connection
		})
		ctx := t.Context()
		if test.marked {
			ctx = wsync.WithIdempotent(ctx)
		}
		resp, err := client.Do(request(ctx, t, test.method, s.URL+"/get?secret=1", "query"))
		if err == nil {
			resp.Body.Close()
			t.Fatal("no error")
		}
		if !errors.Is(err, io.EOF) || strings.Contains(err.Error(), "secret") || !strings.HasPrefix(err.Error(), "sync: "+test.method+" http://") {
			t.Errorf("%v", err)
		}
		if got := len(s.got()); got != test.tries {
			t.Errorf("%s marked %v: %d requests, want %d", test.method, test.marked, got, test.tries)
		}
	}
}

func TestARefusedConnectionIsRepeated(t *testing.T) {
	s := newServer(t, status(200))
	var dials atomic.Int32
	client, _ := newClient(t, s.URL, func(c *wsync.ClientConfig) {
		transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if dials.Add(1) < 3 {
				addr = closedPort(t)
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		}}
		t.Cleanup(transport.CloseIdleConnections)
		c.Transport = transport
	})
	resp, err := client.Do(request(t.Context(), t, http.MethodPost, s.URL, "query"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := s.got(); len(got) != 1 || got[0].body != "query" || dials.Load() != 3 {
		t.Errorf("%+v after %d dials", got, dials.Load())
	}
}

// closedPort returns an address that refuses connections.
func closedPort(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func TestWithoutGetBodyARequestIsSentOnce(t *testing.T) {
	s := newServer(t, status(429))
	client, _ := newClient(t, s.URL, nil)
	r := request(t.Context(), t, http.MethodPut, s.URL, "query")
	r.GetBody = nil
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := len(s.got()); got != 1 || resp.StatusCode != 429 {
		t.Errorf("%d requests, %s", got, resp.Status)
	}
}

func TestARedirectIsAnError(t *testing.T) {
	thief := newServer(t, status(200))
	for _, code := range []int{301, 302, 303, 307, 308} {
		s := newServer(t, status(code, "Location", thief.URL+"/login?state=secret"))
		client, _ := newClient(t, s.URL, nil)
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			resp, err := client.Do(request(t.Context(), t, method, s.URL, ""))
			if err == nil {
				resp.Body.Close()
			}
			if !errors.Is(err, wsync.ErrRedirect) || !strings.Contains(err.Error(), thief.URL+"/login") || strings.Contains(err.Error(), "secret") {
				t.Errorf("%d: %v", code, err)
			}
		}
	}
	if len(thief.got()) != 0 {
		t.Error("the redirect was followed")
	}

	home := newServer(t, status(307, "Location", "/elsewhere")) // within the origin it is not followed either
	client, _ := newClient(t, home.URL, nil)
	resp, err := client.Do(request(t.Context(), t, http.MethodPost, home.URL, ""))
	if err == nil {
		resp.Body.Close()
	}
	if !errors.Is(err, wsync.ErrRedirect) || len(home.got()) != 1 {
		t.Errorf("a redirect within the origin: %v after %d requests", err, len(home.got()))
	}
}

type closeRecorder struct {
	io.Reader
	closed bool
}

func (c *closeRecorder) Close() error { c.closed = true; return nil }

func TestOtherOriginsAreRefusedBeforeMinting(t *testing.T) {
	s := newServer(t, status(200))
	client, source := newClient(t, s.URL, nil)
	port := s.URL[strings.LastIndex(s.URL, ":"):]
	for name, change := range map[string]func(*http.Request){
		"host":       func(r *http.Request) { r.URL.Host = "evil.example.com" },
		"port":       func(r *http.Request) { r.URL.Host = "127.0.0.1:1" },
		"scheme":     func(r *http.Request) { r.URL.Scheme = "https" },
		"other name": func(r *http.Request) { r.URL.Host = "localhost" + port },
		"Host":       func(r *http.Request) { r.Host = "evil.example.com" },
		"relative":   func(r *http.Request) { r.URL.Scheme, r.URL.Host = "", "" },
		"no URL":     func(r *http.Request) { r.URL = nil },
	} {
		body := &closeRecorder{Reader: strings.NewReader("query")}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, body)
		if err != nil {
			t.Fatal(err)
		}
		change(r)
		resp, err := client.Do(r)
		if err == nil {
			resp.Body.Close()
			t.Errorf("%s: sent", name)
		}
		if !body.closed {
			t.Errorf("%s: the body was not closed", name)
		}
	}
	if source.minted.Load() != 0 || len(s.got()) != 0 {
		t.Errorf("%d tokens, %d requests", source.minted.Load(), len(s.got()))
	}
}

func TestAnEndedContext(t *testing.T) {
	s := newServer(t, status(200))
	client, source := newClient(t, s.URL, nil)
	why := errors.New("nobody waits")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	resp, err := client.Do(request(ctx, t, http.MethodPost, s.URL, "query"))
	if err == nil {
		resp.Body.Close()
	}
	if !errors.Is(err, why) || source.minted.Load() != 0 || len(s.got()) != 0 {
		t.Errorf("%v, %d tokens, %d requests", err, source.minted.Load(), len(s.got()))
	}
}

func TestWithoutATokenNothingIsSent(t *testing.T) {
	s := newServer(t, status(200))
	client, source := newClient(t, s.URL, nil)
	source.err = errors.New("no credentials")
	body := &closeRecorder{Reader: strings.NewReader("query")}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(r)
	if err == nil {
		resp.Body.Close()
	}
	if !errors.Is(err, source.err) || len(s.got()) != 0 || !body.closed {
		t.Errorf("%v, %d requests, body closed %v", err, len(s.got()), body.closed)
	}
}

func TestRetryAfterBeyondTheDeadlineReturnsTheAnswer(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, value := range []string{"3600", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)} {
		s := newServer(t, status(503, "Retry-After", value, wsync.RetryHeader, wsync.RetrySafe))
		client, _ := newClient(t, s.URL, nil)
		resp, err := client.Do(request(ctx, t, http.MethodPost, s.URL, "query"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := len(s.got()); got != 1 || resp.StatusCode != 503 {
			t.Errorf("Retry-After %s: %d requests, %s", value, got, resp.Status)
		}
	}
}

// TestAContextThatEndsDuringAWait: the error says both that and what was waited for.
func TestAContextThatEndsDuringAWait(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := newServer(t, status(429, "Retry-After", "3600"))
	client, _ := newClient(t, s.URL, func(c *wsync.ClientConfig) {
		transport := &http.Transport{}
		t.Cleanup(transport.CloseIdleConnections)
		c.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			resp, err := transport.RoundTrip(r)
			if err == nil {
				// The answer's body is closed when the wait begins.
				resp.Body = &onClose{resp.Body, cancel}
			}
			return resp, err
		})
	})
	resp, err := client.Do(request(ctx, t, http.MethodPost, s.URL, "query"))
	if err == nil {
		resp.Body.Close()
	}
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "429") {
		t.Errorf("%v", err)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type onClose struct {
	io.ReadCloser
	then func()
}

func (c *onClose) Close() error { defer c.then(); return c.ReadCloser.Close() }

func TestConnectionsAreReused(t *testing.T) {
	var fresh atomic.Int32
	s := &server{Server: httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = w.Write(bytes.Repeat([]byte("x"), 10_000))
	}))}
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			fresh.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	client, _ := newClient(t, s.URL, nil)
	for range 5 {
		resp, err := client.Do(request(t.Context(), t, http.MethodPost, s.URL, "query"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	if fresh.Load() != 1 {
		t.Errorf("%d connections for twenty attempts", fresh.Load())
	}
}

func TestClientConfigReportsEveryProblem(t *testing.T) {
	_, err := wsync.NewClient(wsync.ClientConfig{URL: "http://profiles.example.com", MaxAttempts: -1, MinBackoff: -1})
	for _, part := range []string{"sync: ", "URL", "Audience", "Tokens", "MaxAttempts", "MinBackoff"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("no word of %s in: %v", part, err)
		}
	}
}

func TestAnUntrustedCertificateIsNotTriedAgain(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	defer s.Close()
	client, source := newClient(t, s.URL, nil)
	resp, err := client.Do(request(t.Context(), t, http.MethodGet, s.URL, ""))
	if err == nil {
		resp.Body.Close()
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok || source.minted.Load() != 1 {
		t.Errorf("%v after %d attempts", err, source.minted.Load())
	}
}
