package cloudtasks

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/grpc"

	"waybill.dev/emulator/internal/clock"
)

// Signer makes the tokens that tasks carry.
type Signer interface {
	IDToken(account, audience string) (string, error)
	AccessToken(account string) (string, error)
}

// Config is what an Engine needs.
type Config struct {
	Clock          *clock.Clock  // required
	Signer         Signer        // required
	HTTPClient     *http.Client  // carries deliveries; its redirect policy is not used: none is followed
	Store          Store         // default: Memory
	Logger         *slog.Logger  // default: slog.Default()
	QueueTombstone time.Duration // how long a deleted queue's name stays taken; default: not at all
}

// Engine runs queues. It is safe for concurrent use. Use [New].
type Engine struct {
	config Config
	client http.Client

	mu      sync.Mutex
	queues  map[string]*queue
	deleted map[string]time.Time // when the name of a deleted queue is free again
	flights *flights
	closed  bool
}

// flights are the requests on the wire since the last Reset.
type flights struct {
	ctx    context.Context
	cancel context.CancelFunc
	wait   sync.WaitGroup
}

func newFlights() *flights {
	f := &flights{}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f
}

// New returns an Engine without queues.
func New(config Config) *Engine {
	if config.HTTPClient == nil {
		config.HTTPClient = &http.Client{}
	}
	if config.Store == nil {
		config.Store = Memory{}
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	e := &Engine{
		config:  config,
		client:  *config.HTTPClient,
		queues:  make(map[string]*queue),
		deleted: make(map[string]time.Time),
		flights: newFlights(),
	}
	// A token belongs to the target that the task names, not to where that points.
	e.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return e
}

// Register adds the service to a gRPC server.
func (e *Engine) Register(s grpc.ServiceRegistrar) {
	cloudtaskspb.RegisterCloudTasksServer(s, service{Engine: e})
}

// Reset forgets every queue and breaks off deliveries. None is left when it returns.
func (e *Engine) Reset() {
	e.mu.Lock()
	for name, q := range e.queues {
		e.drop(name, q, time.Time{})
	}
	clear(e.deleted)
	old := e.flights
	e.flights = newFlights()
	if e.closed {
		e.flights.cancel()
	}
	e.mu.Unlock()

	old.cancel()
	old.wait.Wait()
}

// Close stops dispatching and waits for the requests on the wire. When ctx is done first, it breaks
// them off, waits for that, and returns the context's error; what was broken off counts as not attempted.
func (e *Engine) Close(ctx context.Context) error {
	e.mu.Lock()
	e.closed = true
	for _, q := range e.queues {
		e.disarm(q)
	}
	f := e.flights
	e.mu.Unlock()

	landed := make(chan struct{})
	go func() {
		f.wait.Wait()
		close(landed)
	}()
	defer f.cancel()
	select {
	case <-landed:
		return nil
	case <-ctx.Done():
		f.cancel()
		<-landed
		return ctx.Err()
	}
}

// pump sends what a queue may send now, and sets its timer for what it may send later.
// The caller holds the lock.
func (e *Engine) pump(q *queue) {
	if e.closed {
		return
	}
	now := e.config.Clock.Now()
	for {
		a, wake := q.next(now)
		if a != nil {
			e.dispatch(q, a)
			continue
		}
		if wake.IsZero() {
			e.disarm(q)
		} else {
			e.arm(q, wake.Sub(now))
		}
		return
	}
}

func (e *Engine) arm(q *queue, d time.Duration) {
	if q.timer != nil {
		q.timer.Reset(d)
		return
	}
	q.timer = e.config.Clock.AfterFunc(d, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.pump(q)
	})
}

func (e *Engine) disarm(q *queue) {
	if q.timer != nil {
		q.timer.Stop()
	}
}

// dispatch sends an attempt. The caller holds the lock.
func (e *Engine) dispatch(q *queue, a *attempt) {
	f := e.flights
	f.wait.Go(func() {
		r := e.deliver(f.ctx, q.log, a)
		e.mu.Lock()
		defer e.mu.Unlock()
		if f.ctx.Err() != nil && !r.answered {
			return // broken off by Reset or Close: nobody's failure
		}
		q.finish(a, r, e.config.Clock.Now())
		e.pump(q)
	})
}

// drop removes a queue and its tasks. The caller holds the lock.
func (e *Engine) drop(name string, q *queue, reusable time.Time) {
	delete(e.queues, name)
	e.disarm(q)
	q.tasks, q.waiting = nil, nil // attempts in flight find nothing to change
	e.config.Store.DeleteQueue(name, reusable)
}
