// Package sideport serves HTTP on a listener beside the emulator's one port, for what needs an address of its own.
package sideport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// Server is a running HTTP server. Use [Serve]. It is safe for concurrent use.
type Server struct {
	http    *http.Server
	cut     context.CancelFunc // ends the context of every request
	serving sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	pending sync.WaitGroup // handlers that run, also those whose connection is no longer net/http's
}

// Listen listens on the address, as host:port. A port in use matches [syscall.EADDRINUSE].
func Listen(ctx context.Context, address string) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("emulator: %s is in use: stop what listens there (another emulator?), or choose another address; port 0 picks a free one: %w", address, err)
	case err != nil:
		return nil, fmt.Errorf("emulator: cannot listen on %s: %w", address, err)
	}
	return listener, nil
}

// Serve serves on the listener, which the Server then owns. The context gives requests its values; the Server's life is
// its own.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler, logger *slog.Logger) *Server {
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	s := &Server{cut: cut}
	s.http = &http.Server{
		Handler:     s.counted(handler),
		BaseContext: func(net.Listener) context.Context { return base },
		// Clients may be slow, and their requests take as long as they take: what bounds them is the handler's affair.
		ReadHeaderTimeout: time.Minute,
		IdleTimeout:       10 * time.Minute,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	s.serving.Go(func() {
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("emulator: HTTP ended", "address", listener.Addr().String(), "error", err)
		}
	})
	return s
}

// Shutdown stops listening and waits for the requests in flight until the context is done; then they are cut off, and
// it returns the context's error. Connections that were upgraded to another protocol are cut off at once. When it
// returns, no goroutine of the Server's is left. It may be called twice.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	s.cut()
	_ = s.http.Close() // those whom Shutdown has waited for in vain; it cannot fail once the listener is closed
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.pending.Wait()
	s.serving.Wait()
	return err
}

// counted lets Shutdown wait for handlers.
func (s *Server) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.enter() {
			panic(http.ErrAbortHandler)
		}
		defer s.pending.Done()
		next.ServeHTTP(w, r)
	})
}

func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.pending.Add(1)
	return true
}

// Reachable is the address, as host:port, that a client on this machine uses for one that is listened on: loopback for
// one that means every interface.
func Reachable(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return a.String()
	}
	loopback := net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: tcp.Port}
	return loopback.String()
}
