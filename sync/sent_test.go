package sync_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"waybill.dev/internal/outcome"
	wsync "waybill.dev/sync"
)

// TestAmbiguity: which failures leave open whether the receiver acted on the request.
func TestAmbiguity(t *testing.T) {
	silent := func(ctx context.Context, cancel context.CancelFunc) http.HandlerFunc {
		return func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if cancel != nil {
				cancel()
			}
			select {
			case <-ctx.Done():
			case <-r.Context().Done():
			}
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	canceled, cancel := context.WithCancel(t.Context())
	defer cancel()
	timeout, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	dialing, stopDialing := context.WithCancel(t.Context())
	defer stopDialing()
	released := make(chan struct{}) // net/http goes on with a dial that nobody waits for
	defer close(released)
	for _, test := range []struct {
		name      string
		ctx       context.Context
		handler   http.HandlerFunc
		change    func(*wsync.ClientConfig)
		ambiguous bool
		is        error
	}{
		{"a broken connection", t.Context(), func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, nil, true, io.EOF},
		{"a missed deadline", timeout, silent(t.Context(), nil), nil, true, context.DeadlineExceeded},
		{"canceled while it was under way", canceled, silent(t.Context(), cancel), nil, true, context.Canceled},
		{"a transport that tells nothing", t.Context(), nil, func(c *wsync.ClientConfig) {
			c.Transport = roundTripper(func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF })
		}, true, io.ErrUnexpectedEOF},
		{"an ended context", ended, silent(t.Context(), nil), nil, false, context.Canceled},
		{"no token", t.Context(), silent(t.Context(), nil), func(c *wsync.ClientConfig) { c.Tokens = &tokens{err: io.ErrNoProgress} }, false, io.ErrNoProgress},
		{"a refused connection", t.Context(), nil, func(c *wsync.ClientConfig) {
			transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, closedPort(t))
			}}
			c.Transport = transport
		}, false, nil},
		{"ended while it connected", dialing, nil, func(c *wsync.ClientConfig) {
			c.Transport = &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
				stopDialing()
				<-released
				return nil, io.ErrClosedPipe
			}}
		}, false, context.Canceled},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := httptest.NewServer(test.handler)
			defer s.Close()
			client, _ := newClient(t, s.URL, test.change)
			resp, err := client.Do(request(test.ctx, t, http.MethodPost, s.URL, "query"))
			if err == nil {
				resp.Body.Close()
				t.Fatal("no error")
			}
			if errors.Is(err, wsync.ErrAmbiguous) != test.ambiguous || errors.Is(err, outcome.ErrAmbiguous) != test.ambiguous {
				t.Errorf("ambiguous: %v, want %v: %v", !test.ambiguous, test.ambiguous, err)
			}
			if strings.Contains(err.Error(), "the receiver may have acted on it") != test.ambiguous || strings.Contains(err.Error(), "with a key") {
				t.Errorf("it reads: %v", err)
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%v is not %v", err, test.is)
			}
		})
	}
}

// TestAnEarlierAttemptLeavesItOpen: the last was never sent, but one before it broke.
func TestAnEarlierAttemptLeavesItOpen(t *testing.T) {
	for status, ambiguous := range map[int]bool{500: true, 429: false} {
		s := newServer(t, func(w http.ResponseWriter, _ int) { w.WriteHeader(status) })
		sent := false
		client, _ := newClient(t, s.URL, func(c *wsync.ClientConfig) {
			transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				if sent {
					addr = closedPort(t)
				}
				sent = true
				return new(net.Dialer).DialContext(ctx, network, addr)
			}}
			c.Transport = transport
		})
		resp, err := client.Do(request(t.Context(), t, http.MethodPut, s.URL, "query"))
		if err == nil {
			resp.Body.Close()
			t.Fatal("no error")
		}
		if errors.Is(err, wsync.ErrAmbiguous) != ambiguous {
			t.Errorf("after %d: %v", status, err)
		}
	}
}
