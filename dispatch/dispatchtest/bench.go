package dispatchtest

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"time"

	"waybill.dev/dispatch"
	"waybill.dev/internal/authtest"
	"waybill.dev/internal/names"
)

// The bench's deployment of an app.
const (
	project    = "waybill-test"
	location   = "us-central1"
	keysHost   = "issuer.test"
	hostSuffix = ".service.test" // of each service's address
)

// T is what the bench needs of a *testing.T.
type T interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Named is a declared route: a *dispatch.Task, *dispatch.Subscription, *dispatch.Event or *dispatch.Call.
type Named interface{ Name() string }

// Bench carries the messages of an app's services in memory. Make it with [New].
type Bench struct {
	t      T
	app    *dispatch.App
	env    *dispatch.Environment
	routes routes
	clock  clock
	log    *logBuffer
	wake   chan struct{} // has an element when a message has come

	mu       sync.Mutex
	services map[string]*dispatch.Dispatcher // by name; those that are open
	down     map[string]int                  // by service: how many outages it has
	faults   map[string][]*fault             // by route
	refusals map[string][]*refusal           // by route
	waiting  []*delivery                     // in the order of sending
	quiet    map[string]time.Time            // by queue: a receiver's Retry-After
	taken    map[taskName]time.Time          // until when a task's name is taken; the zero time while it waits
	sequence int
	sent     []record
	attempts []*Attempt
	tokens   map[claims]signed
	asked    map[string]int // by a call's message: how many attempts it had
	dead     []record
}

// record is a message of a route.
type record struct {
	route    string
	envelope dispatch.Envelope
}

// taskName is a task's name: its key in its queue.
type taskName struct{ queue, key string }

// New makes a bench for an app. Inside a bubble of testing/synctest, t must be the bubble's.
func New(t T, app *dispatch.App) *Bench {
	t.Helper()
	if err := app.Validate(); err != nil {
		t.Fatalf("dispatchtest: %v", err)
	}
	b := &Bench{
		t: t, app: app, clock: newClock(), log: &logBuffer{}, wake: make(chan struct{}, 1),
		services: map[string]*dispatch.Dispatcher{}, down: map[string]int{}, faults: map[string][]*fault{}, refusals: map[string][]*refusal{},
		quiet: map[string]time.Time{}, taken: map[taskName]time.Time{}, asked: map[string]int{}, tokens: map[claims]signed{},
	}
	b.env = &dispatch.Environment{
		Project: project, Location: location, KeysURL: "https://" + keysHost + "/keys", Services: map[string]dispatch.ServiceEnvironment{},
	}
	for _, name := range app.Services() {
		asserts := false // so that every token's signature is verified
		b.env.Services[name] = dispatch.ServiceEnvironment{URL: "https://" + name + hostSuffix, PlatformAsserts: &asserts}
	}
	b.routes = newRoutes(app, b.env)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("dispatchtest: the services' log:\n%s", b.log)
		}
	})
	return b
}

// Open opens a service on the bench. It is closed when the test ends, or before by its Close. Opening it again replaces it, as a
// new process does.
//
// Of a Config that is given, Environment, Transport and Now are the bench's; a Logger takes the place of the one that is shown if
// the test fails.
func (b *Bench) Open(s *dispatch.Service, config ...dispatch.Config) *dispatch.Dispatcher {
	b.t.Helper()
	var cfg dispatch.Config
	switch {
	case s == nil:
		b.t.Fatalf("dispatchtest: Open got no service; pass one of the contracts'")
	case len(config) > 1:
		b.t.Fatalf("dispatchtest: Open got %d Configs; give one", len(config))
	case len(config) == 1:
		cfg = config[0]
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	cfg.Environment, cfg.Transport, cfg.Now = b.env, &way{b, s.Name()}, b.clock.now
	cfg.Middleware = append([]dispatch.Middleware{b.keepError}, cfg.Middleware...)
	told := cfg.OnExpired
	cfg.OnExpired = func(ctx context.Context, m dispatch.Message) {
		b.note(ctx, func(a *Attempt) { a.expired = true })
		if told != nil {
			told(ctx, m)
		}
	}
	d, err := dispatch.Open(b.t.Context(), s, cfg)
	if err != nil {
		b.t.Fatalf("dispatchtest: %v", err)
	}
	b.t.Cleanup(func() {
		if err := d.Close(); err != nil {
			b.t.Errorf("dispatchtest: closing %s: %v", s, err)
		}
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.services[s.Name()] = d
	return d
}

// Now is the time on the bench's clock.
func (b *Bench) Now() time.Time { return b.clock.now() }

// account is the one that a service runs as.
func (b *Bench) account(service string) string { return b.env.Service(b.app, service).ServiceAccount }

// audience is the one that tokens for a service have.
func (b *Bench) audience(service string) string { return b.env.Service(b.app, service).Audience }

// received returns the name of a route that somebody receives. It ends the test if a route is not of the bench's app, or an event, which nobody receives by that name.
func (b *Bench) received(r Named, what string) string {
	b.t.Helper()
	info, ok := b.routes.byName[r.Name()]
	switch {
	case !ok:
		b.t.Fatalf("dispatchtest: %s: the contracts of app %q have no route %q; make the bench with the app that the route belongs to", what, b.app.Name(), r.Name())
	case info.Kind == dispatch.KindEvent:
		b.t.Fatalf("dispatchtest: %s: %q is an event, and each of its subscriptions gets its own copy; name one of them", what, r.Name())
	}
	return r.Name()
}

// routes are an app's, by what the bench meets them as.
type routes struct {
	byName        map[string]*dispatch.RouteInfo
	byQueue       map[string]*dispatch.RouteInfo   // by the queue's full name
	byTopic       map[string]*dispatch.RouteInfo   // events
	byDead        map[string]*dispatch.RouteInfo   // by the dead-letter topic
	byPath        map[string]*dispatch.RouteInfo   // calls, by SERVICE/PATH
	subscriptions map[string][]*dispatch.RouteInfo // by event, in the order of their declaration
}

func newRoutes(app *dispatch.App, env *dispatch.Environment) routes {
	r := routes{
		byName: map[string]*dispatch.RouteInfo{}, byQueue: map[string]*dispatch.RouteInfo{}, byTopic: map[string]*dispatch.RouteInfo{},
		byDead: map[string]*dispatch.RouteInfo{}, byPath: map[string]*dispatch.RouteInfo{}, subscriptions: map[string][]*dispatch.RouteInfo{},
	}
	for _, info := range app.Routes() {
		resource := env.Resource(app, info.Name)
		r.byName[info.Name] = &info
		switch info.Kind {
		case dispatch.KindTask:
			for i := range info.Queues {
				r.byQueue[names.Queue(project, location, names.Shard(resource, i+1))] = &info
			}
			r.byDead[names.Topic(project, names.Dead(resource))] = &info
		case dispatch.KindEvent:
			r.byTopic[names.Topic(project, resource)] = &info
		case dispatch.KindSubscription:
			r.subscriptions[info.Event] = append(r.subscriptions[info.Event], &info)
			r.byDead[names.Topic(project, names.Dead(resource))] = &info
		case dispatch.KindCall:
			r.byPath[info.To+info.Path] = &info
			for _, alias := range info.Aliases {
				r.byPath[info.To+"/_waybill/calls/"+alias] = &info
			}
		}
	}
	return r
}

// issuer and stranger sign the tokens of every bench: the one whose key the services know, and another.
//
//nolint:gochecknoglobals // a key takes its time to be made, so a process has one
var (
	issuer   = sync.OnceValue(authtest.Offline)
	stranger = sync.OnceValue(authtest.Offline)
)

// logBuffer keeps what the services log, until it is known whether the test fails.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
