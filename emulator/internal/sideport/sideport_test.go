package sideport_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"waybill.dev/emulator/internal/sideport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, h http.HandlerFunc) (s *sideport.Server, address string) {
	t.Helper()
	listener, err := sideport.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s = sideport.Serve(t.Context(), listener, h, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { _ = s.Shutdown(cancelled()) })
	return s, sideport.Reachable(listener.Addr())
}

func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// send sends a request and leaves the connection open.
func send(t *testing.T, address string) *bufio.Reader {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return bufio.NewReader(c)
}

func TestShutdownWaitsForRequestsInFlight(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	s, address := start(t, func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_, _ = io.WriteString(w, "done")
	})
	answer := send(t, address)
	<-arrived
	ended := make(chan error)
	go func() { ended <- s.Shutdown(context.WithoutCancel(t.Context())) }()
	for err := error(nil); !errors.Is(err, syscall.ECONNREFUSED); { // until it has stopped listening
		var c net.Conn
		if c, err = (&net.Dialer{}).DialContext(t.Context(), "tcp", address); err == nil {
			_ = c.Close()
		}
	}
	select {
	case err := <-ended:
		t.Fatalf("Shutdown did not wait: %v", err)
	default:
	}
	close(release)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	response, err := http.ReadResponse(answer, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "done" {
		t.Errorf("answer %q, %v", body, err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("a second Shutdown: %v", err)
	}
}

func TestAnImpatientShutdownCutsOff(t *testing.T) {
	for name, hijack := range map[string]bool{"request": false, "upgraded connection": true} {
		t.Run(name, func(t *testing.T) {
			arrived, left := make(chan struct{}), make(chan struct{})
			s, address := start(t, func(w http.ResponseWriter, r *http.Request) {
				defer close(left)
				if hijack {
					c, _, err := http.NewResponseController(w).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					defer func() { _ = c.Close() }()
				}
				close(arrived)
				<-r.Context().Done()
			})
			send(t, address)
			<-arrived
			if err := s.Shutdown(cancelled()); !hijack && !errors.Is(err, context.Canceled) {
				t.Errorf("Shutdown: %v", err)
			}
			select {
			case <-left:
			default:
				t.Error("Shutdown returned before the handler")
			}
		})
	}
}

func TestAPortInUse(t *testing.T) {
	_, address := start(t, func(http.ResponseWriter, *http.Request) {})
	_, err := sideport.Listen(t.Context(), address)
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "port 0 picks a free one") {
		t.Errorf("%v", err)
	}
	if _, err := sideport.Listen(t.Context(), "127.0.0.1"); err == nil {
		t.Error("an address without a port was taken")
	}
}

func TestReachable(t *testing.T) {
	for _, c := range []struct{ ip, want string }{
		{"0.0.0.0", "127.0.0.1:80"}, {"::", "127.0.0.1:80"}, {"127.0.0.2", "127.0.0.2:80"}, {"::1", "[::1]:80"},
	} {
		if got := sideport.Reachable(&net.TCPAddr{IP: net.ParseIP(c.ip), Port: 80}); got != c.want {
			t.Errorf("%s: %s, want %s", c.ip, got, c.want)
		}
	}
}
