package gate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Services is the gates of an emulator. The zero value has none. It is safe for concurrent use.
type Services struct {
	mu     sync.Mutex
	closed bool
	gates  map[string]*Gate // by the service's full name; nil while one is being opened
}

var errClosed = errors.New("emulator: it has been shut down")

// Open returns a Gate that accepts requests. The context bounds the opening, not the Gate's life. One service has one
// gate.
func (s *Services) Open(ctx context.Context, c Config) (*Gate, error) {
	if err := s.reserve(c.Name); err != nil {
		return nil, err
	}
	g, err := open(ctx, c)
	if err != nil {
		s.replace(c.Name, nil, nil)
		return nil, err
	}
	if !s.replace(c.Name, nil, g) {
		return nil, errors.Join(errClosed, g.shutdown(ctx))
	}
	return g, nil
}

// Close shuts a gate down: requests in flight have until the context is done. It may be called twice.
func (s *Services) Close(ctx context.Context, g *Gate) error {
	err := g.shutdown(ctx)
	s.replace(g.config.Name, g, nil)
	return err
}

// Shutdown closes every gate, all at the same time, and refuses new ones. It may be called twice.
func (s *Services) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	gates := slices.Collect(maps.Values(s.gates))
	s.mu.Unlock()
	errs := make([]error, len(gates))
	var closing sync.WaitGroup
	for i, g := range gates {
		if g != nil { // else it finds out itself that it comes too late
			closing.Go(func() { errs[i] = s.Close(ctx, g) })
		}
	}
	closing.Wait()
	return errors.Join(errs...)
}

func (s *Services) reserve(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	if _, taken := s.gates[name]; taken {
		return fmt.Errorf("emulator: %s has a gate already: close it first", name)
	}
	if s.gates == nil {
		s.gates = make(map[string]*Gate)
	}
	s.gates[name] = nil
	return nil
}

// replace puts a gate where another was; a nil one takes it away. It fails if the other is not there any more, or if
// all of them have been shut down.
func (s *Services) replace(name string, before, after *Gate) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gates[name] != before || s.closed && after != nil {
		return false
	}
	if after == nil {
		delete(s.gates, name)
	} else {
		s.gates[name] = after
	}
	return true
}

func (s *Services) find(name string) (*Gate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.gates[name]; g != nil {
		return g, nil
	}
	return nil, status.Errorf(codes.NotFound, "Resource '%s' does not exist: the emulator knows the services that have a gate.", name)
}
