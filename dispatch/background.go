package dispatch

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"waybill.dev/internal/httpserve"
)

// Background runs f beside the handlers, from now until the Dispatcher shuts down: an outbox's relay, an inbox's clean-up.
//
// Shutdown ends f's context once the handlers have ended, and waits for f before sending stops, so that f can still send
// what the last handlers left. An error of f, or its panic, is logged at once and returned by Shutdown; the service goes on.
// After Shutdown has begun f is not run.
func (d *Dispatcher) Background(name string, f func(context.Context) error) {
	started := d.beside.run(name, f, func(err error) {
		d.log.LogAttrs(d.beside.ctx, slog.LevelError, "background work ended with an error", httpserve.ErrorAttrs([]slog.Attr{slog.String("name", name)}, err)...)
	})
	if !started {
		d.log.WarnContext(d.beside.ctx, "background work not started: the dispatcher is shutting down", slog.String("name", name))
	}
}

// background is what runs until it is closed.
type background struct {
	ctx  context.Context // of all of it; its end is no deadline of anybody's
	stop context.CancelFunc

	mu      sync.Mutex
	closed  bool
	running map[string]int // how many of each name
	errs    []error
	changed chan struct{} // closed and replaced when one ends
}

func newBackground() *background {
	ctx, stop := context.WithCancel(context.Background())
	return &background{ctx: ctx, stop: stop, running: map[string]int{}, changed: make(chan struct{})}
}

// run starts f, unless it is too late, and reports its error.
func (b *background) run(name string, f func(context.Context) error, report func(error)) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.running[name]++
	go func() {
		err := httpserve.Run(b.ctx, 0, f)
		if err != nil {
			report(err)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if err != nil {
			b.errs = append(b.errs, fmt.Errorf("%s: %w", name, err))
		}
		if b.running[name]--; b.running[name] == 0 {
			delete(b.running, name)
		}
		close(b.changed)
		b.changed = make(chan struct{})
	}()
	return true
}

// count is how many run.
func (b *background) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.running)
}

// close ends the context, waits until all has ended, or for ctx, and returns what went wrong.
func (b *background) close(ctx context.Context) []error {
	b.stop()
	for {
		b.mu.Lock()
		b.closed = true
		changed, left, errs := b.changed, len(b.running), b.errs
		b.mu.Unlock()
		if left == 0 {
			return errs
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return append(errs, fmt.Errorf("%d background functions still run: %w", left, ctx.Err()))
		}
	}
}
