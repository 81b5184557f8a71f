package cloudtasks

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc"

	"waybill.dev/emulator/internal/clock"
	"waybill.dev/emulator/internal/deliverylog"
	"waybill.dev/emulator/internal/iam"
	"waybill.dev/emulator/internal/store"
)

// Signer makes the tokens that tasks carry.
type Signer interface {
	IDToken(account, audience string) (string, error)
	AccessToken(account string) (string, error)
}

// Config is what an Engine needs.
type Config struct {
	Clock      *clock.Clock // required
	Signer     Signer       // required
	HTTPClient *http.Client // carries deliveries; its redirect policy is not used: none is followed
	Store      *store.Store // keeps everything; default: none, and it ends with the process
	Logger     *slog.Logger // default: slog.Default()
	Location   string       // a location that ListLocations names beside those of queues; default: none
	AppEngine  string       // URL of the App Engine application; default: none, and its tasks are refused

	// Where the emulator differs from the real service on purpose, these restore what that does.

	QueueTombstone  time.Duration // how long a deleted queue's name stays taken; default: not at all; the real service: days
	TaskTombstone   time.Duration // how long a finished task's name stays taken; default: an hour; the real service: up to a day
	StrictTokens    bool          // refuse tokens for http:// targets and of another project's accounts
	FollowRedirects bool          // follow redirects of HTTP targets, within the attempt
}

// Engine runs queues. It is safe for concurrent use. Use [New].
type Engine struct {
	config   Config
	journal  journal
	client   http.Client
	follower http.Client // follows redirects

	mu      sync.Mutex
	queues  map[string]*queue
	deleted map[string]time.Time // when the name of a deleted queue is free again
	flights *flights
	closed  bool

	policies   iam.Policies
	cmek       map[string]*cloudtaskspb.CmekConfig // by name; never changed in place
	operations operations
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

// New returns an Engine without queues; [Engine.Load] brings back those in the Store.
func New(config Config) *Engine {
	if config.HTTPClient == nil {
		config.HTTPClient = &http.Client{}
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	e := &Engine{
		config:   config,
		journal:  journal{config.Store},
		client:   *config.HTTPClient,
		follower: http.Client{Transport: config.HTTPClient.Transport, Timeout: config.HTTPClient.Timeout},
		queues:   make(map[string]*queue),
		deleted:  make(map[string]time.Time),
		cmek:     make(map[string]*cloudtaskspb.CmekConfig),
		flights:  newFlights(),

		operations: operations{journal: journal{config.Store}},
	}
	// A token belongs to the target that the task names, not to where that points.
	e.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return e
}

// Register adds the service to a gRPC server, with those that it mixes in: locations and long-running operations.
func (e *Engine) Register(s grpc.ServiceRegistrar) {
	cloudtaskspb.RegisterCloudTasksServer(s, service{Engine: e})
	registerLocations(s, locations{Engine: e})
	longrunningpb.RegisterOperationsServer(s, lro{Engine: e})
}

// Reset forgets every queue and breaks off deliveries. None is left when it returns.
func (e *Engine) Reset() {
	e.mu.Lock()
	for name, q := range e.queues {
		e.drop(name, q, time.Time{})
	}
	clear(e.deleted)
	clear(e.cmek)
	e.policies.Clear()
	e.operations = operations{journal: e.journal}
	e.journal.clear()
	old := e.flights
	e.flights = newFlights()
	if e.closed {
		e.flights.cancel()
	}
	e.mu.Unlock()

	old.cancel()
	old.wait.Wait()
	if err := e.journal.Sync(); err != nil {
		e.config.Logger.Error("what was reset may come back at the next start", "error", err)
	}
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
			e.arm(q, wake)
		}
		return
	}
}

func (e *Engine) arm(q *queue, at time.Time) {
	if q.timer != nil {
		q.timer.ResetTo(at)
		return
	}
	q.timer = e.config.Clock.At(at, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.pump(q)
		e.journal.Flush() // tasks that were too old
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
	e.config.Clock.Begin()
	f.wait.Go(func() {
		defer e.config.Clock.End()
		r := e.deliver(f.ctx, q.log, a)
		e.mu.Lock()
		defer e.mu.Unlock()
		if f.ctx.Err() != nil && !r.answered {
			return // broken off by Reset or Close: nobody's failure
		}
		q.finish(a, r, e.config.Clock.Now())
		e.pump(q)
		e.journal.Flush() // the receiver has its answer, so nobody waits
	})
}

// addQueue adds a queue that is in the journal already, or will be. The caller holds the lock.
func (e *Engine) addQueue(config *cloudtaskspb.Queue, now time.Time) {
	q := newQueue(config, e.journal, now)
	q.finished.keep = e.config.TaskTombstone
	q.log = deliverylog.New(e.config.Logger, slog.String("queue", config.GetName()))
	e.queues[config.GetName()] = q
}

// drop removes a queue and its tasks. The caller holds the lock.
func (e *Engine) drop(name string, q *queue, reusable time.Time) {
	delete(e.queues, name)
	e.policies.Delete(name)
	e.disarm(q)
	q.tasks.Clear() // attempts in flight find nothing to change
	q.waiting = nil
	e.journal.deleteQueue(name, reusable)
}
