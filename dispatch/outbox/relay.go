package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// batchesAtOnce lets a relay go on while a slow message holds up its batch.
	batchesAtOnce = 4
	// leastPoll is how soon a relay looks again: after a hint, when what it was told of is not committed yet, from where it doubles; and after a batch
	// that was not full, so that the next has time to fill.
	leastPoll = 5 * time.Millisecond
	// leastPause and mostPause bound the pauses of a whole relay, when nothing gets through or the database does not answer. They are short,
	// since they hold up every message.
	leastPause = 100 * time.Millisecond
	mostPause  = 5 * time.Second
	// stopGrace is for what is under way when Run is told to stop, and for what the last handlers have left.
	stopGrace = 3 * time.Second
)

// Run relays messages until ctx ends: it leases a batch, sends it, marks it, and so on; when nothing is left it waits for a Send of this
// process or for [Config.PollInterval]. Then it finishes what it has begun and sends what is due, for 3 s at most, and returns nil.
//
// Errors of the database and of the transport are logged, and it goes on. Several relays, in one process or many, share the work. It is made for
// [dispatch.Dispatcher.Background], which stops it before the Dispatcher stops sending; an error says that this was the other way round.
func (b *Outbox) Run(ctx context.Context) error {
	working, release := linger(ctx, stopGrace)
	defer release()
	r := relay{Outbox: b, slots: make(chan struct{}, batchesAtOnce)}
	for ctx.Err() == nil && !r.isClosed() {
		r.round(ctx, working)
	}
	r.batches.Wait()
	if r.isClosed() {
		return errors.New("outbox: the Dispatcher was shut down while the relay ran; start it with Dispatcher.Background, messages wait for the next start")
	}
	if err := b.Flush(working); err != nil {
		b.log.WarnContext(ctx, "messages wait for the next start", slog.Any("error", err))
	}
	return nil
}

// linger returns a context that ends a while after ctx does.
func linger(ctx context.Context, grace time.Duration) (context.Context, func()) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var timer *time.Timer
	var mu sync.Mutex
	unwatch := context.AfterFunc(ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		timer = time.AfterFunc(grace, cancel)
	})
	return longer, func() {
		unwatch()
		cancel()
		mu.Lock()
		defer mu.Unlock()
		if timer != nil {
			timer.Stop()
		}
	}
}

// relay is one Run.
type relay struct {
	*Outbox
	slots   chan struct{} // one for each batch that is under way
	batches sync.WaitGroup

	idle     time.Duration // how long it waited last for something to do
	looked   time.Time     // when it last looked for something to do
	full     bool          // it found a whole batch then, so there may be more
	reported time.Time

	mu     sync.Mutex
	pause  time.Duration // of the whole relay; 0: none
	closed bool
}

// round leases one batch and has it sent, or waits. ctx is for waiting, working for what must be finished.
func (r *relay) round(ctx, working context.Context) {
	if r.holdBack(ctx) != nil {
		return
	}
	r.report(working)
	if early := leastPoll - time.Since(r.looked); early > 0 && !r.full && wait(ctx, early) != nil {
		return
	}
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return
	}
	r.looked = time.Now()
	taken, err := r.next(working)
	r.full = taken.looked == r.config.BatchSize
	if err == nil && len(taken.rows) > 0 {
		r.idle = 0
		r.batches.Go(func() {
			r.learn(r.send(working, taken))
			<-r.slots
		})
		return
	}
	<-r.slots
	switch {
	case err != nil:
		r.slower()
		r.log.ErrorContext(ctx, "outbox cannot be read, to be tried again", slog.Any("error", err))
	case taken.looked == 0:
		r.rest(ctx)
	}
}

// next leases what is due, if anything is.
func (b *Outbox) next(ctx context.Context) (batch, error) {
	waiting, err := b.isWaiting(ctx)
	if err != nil || !waiting {
		return batch{}, err
	}
	return b.lease(ctx)
}

// rest waits for a hint or the next poll. After a hint the waits are short and double, since the hint comes before the commit.
func (r *relay) rest(ctx context.Context) {
	r.idle = min(max(2*r.idle, leastPoll), r.config.PollInterval)
	timer := time.NewTimer(r.idle - r.idle/10 + rand.N(r.idle/5+1))
	defer timer.Stop()
	select {
	case <-r.hints:
		r.idle = 0
	case <-timer.C:
	case <-ctx.Done():
	}
}

// learn slows the relay while nothing gets through, so that a target that is down is not hammered with a whole backlog.
func (r *relay) learn(t tally) {
	switch {
	case t.closed:
		r.mu.Lock()
		r.closed = true
		r.mu.Unlock()
	case t.stuck() || t.lost != nil:
		r.slower()
	case t.sent > 0:
		r.mu.Lock()
		r.pause = 0
		r.mu.Unlock()
	}
}

func (r *relay) slower() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pause = min(max(2*r.pause, leastPause), mostPause)
}

// holdBack waits while the relay is to be slow.
func (r *relay) holdBack(ctx context.Context) error {
	r.mu.Lock()
	pause := r.pause
	r.mu.Unlock()
	if pause == 0 {
		return nil
	}
	return wait(ctx, pause/2+rand.N(pause/2+1))
}

func (r *relay) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

// report logs the backlog from time to time.
func (r *relay) report(ctx context.Context) {
	now := time.Now()
	if r.reported.IsZero() {
		r.reported = now
	}
	if now.Sub(r.reported) < r.config.ReportInterval {
		return
	}
	r.reported = now
	err := r.sweep(ctx)
	var s Stats
	if err == nil {
		s, err = r.Stats(ctx)
	}
	switch {
	case err != nil:
		r.log.ErrorContext(ctx, "outbox cannot be read, to be tried again", slog.Any("error", err))
	case s.Parked > 0 || s.Lag > r.config.ReportInterval:
		r.log.WarnContext(ctx, "outbox is behind", s.attrs()...)
	case s.Waiting > 0:
		r.log.InfoContext(ctx, "outbox", s.attrs()...)
	}
}

// Flush sends what is due, and returns when nothing is, or ctx ends. It is for processes that have no time of their own between requests, as on
// Cloud Run with throttled CPU: call it after the commit, with a context that says how long the request may wait, and see [Outbox.Handler] for
// what it leaves.
//
// An error says that something is left that should have been sent; it stays in the outbox and will be tried again. Messages that pause after an
// earlier failure are not due, nor are those that another relay has.
func (b *Outbox) Flush(ctx context.Context) error {
	var failed int
	var first error
	for {
		taken, err := b.next(ctx)
		if err != nil {
			return fmt.Errorf("outbox: reading %soutbox: %w", b.config.Prefix, err)
		}
		if taken.looked == 0 {
			break
		}
		t := b.send(ctx, taken)
		switch {
		case t.closed:
			return errors.New("outbox: the Dispatcher is shut down: flush before")
		case ctx.Err() != nil:
			return fmt.Errorf("outbox: some messages were not sent in time and wait: %w", context.Cause(ctx))
		case t.lost != nil:
			return fmt.Errorf("outbox: %d messages were sent and could not be marked, they will be sent again: %w", t.sent, t.lost)
		case t.stuck():
			return fmt.Errorf("outbox: %d messages could not be sent and will be tried again: %w", failed+t.failed, t.first)
		}
		failed += t.failed
		if first == nil {
			first = t.first
		}
	}
	if failed > 0 {
		return fmt.Errorf("outbox: %d messages could not be sent and will be tried again: %w", failed, first)
	}
	return nil
}
