package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"time"
)

// Config holds what [Open] may be told. Its zero value works.
type Config struct {
	// Environment is where the services are. Default: what [Discover] finds.
	Environment *Environment
	// Logger gets one line when the Dispatcher opens, and one for each refused or failed message. Default: slog.Default().
	Logger *slog.Logger
	// ShutdownGrace bounds Close and the draining of ListenAndServe. Default: 8 s, since Cloud Run kills a
	// container 10 s after SIGTERM.
	ShutdownGrace time.Duration
	// DrainDelay is how long new messages are still taken after readiness has turned false, so that a load balancer which
	// looks at [ReadyPath] can notice. It is part of the grace. Default: none, since Cloud Run sends nothing to an instance that it
	// has told to stop; behind a Kubernetes Service a few seconds are usual, with a longer grace.
	DrainDelay time.Duration
	// Concurrency bounds how many handlers this process runs at once, over all routes. What comes beyond is answered 429 with
	// Retry-After, as with the option [Concurrency] of one handler. Default: no bound but the platform's.
	Concurrency int
	// Now is the clock that messages are stamped and schedules counted by. Default: time.Now.
	Now func() time.Time
	// Middleware runs around every handler of the service, the first outermost.
	Middleware []Middleware
	// SendMiddleware runs around every Send and Request, the first outermost.
	SendMiddleware []SendMiddleware
	// OnExpired is told of each message that was dropped because it had expired, for a counter. It must not block.
	OnExpired func(ctx context.Context, m Message)
	// Transport is another way out than Google's clients and the network, for tests. Default: those.
	Transport Transport
}

func (c Config) validate() []error {
	var problems []error
	if c.DrainDelay < 0 || c.DrainDelay >= c.ShutdownGrace {
		problems = append(problems, fmt.Errorf("Config.DrainDelay is %v and Config.ShutdownGrace %v; the delay is a part of the grace that leaves the handlers time, or 0", c.DrainDelay, c.ShutdownGrace))
	}
	if c.Concurrency < 0 {
		problems = append(problems, fmt.Errorf("Config.Concurrency is %d; give 1 or more, or 0 for no bound", c.Concurrency))
	}
	if slices.ContainsFunc(c.Middleware, func(m Middleware) bool { return m == nil }) ||
		slices.ContainsFunc(c.SendMiddleware, func(m SendMiddleware) bool { return m == nil }) {
		problems = append(problems, errors.New("Config has a middleware that is nil; leave it out"))
	}
	return problems
}

const defaultShutdownGrace = 8 * time.Second

// OpenOption is an option of [Open]: a [Config].
type OpenOption interface{ applyOpen(*Config) }

func (c Config) applyOpen(to *Config) { *to = c }

// Open makes the Dispatcher of one service: the one through which it sends and receives.
//
// It checks the contracts and the environment first and reports every problem at once, each with its mend. It then
// makes the clients that the service's own routes need, and no others. It makes no administrative call and creates
// nothing; see waybill.dev/dispatch/deploy for that.
func Open(ctx context.Context, s *Service, options ...OpenOption) (*Dispatcher, error) {
	if s == nil {
		return nil, errors.New("dispatch: Open got no service; pass one from App.Service")
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("dispatch: opening %s: the context is already done: %w", s, err)
	}
	var cfg Config
	for _, o := range options {
		o.applyOpen(&cfg)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.ShutdownGrace <= 0 {
		cfg.ShutdownGrace = defaultShutdownGrace
	}
	contracts := s.app.Validate()
	if cfg.Environment == nil {
		found, err := Discover(ctx, s.app)
		if err != nil {
			return nil, errors.Join(contracts, err)
		}
		cfg.Environment = found
	}
	env := cfg.Environment
	if contracts != nil {
		// What follows reads the routes and relies on their being sound.
		return nil, errors.Join(contracts, env.Validate(s.app))
	}
	edges := edgesOf(s)
	edges.carried = cfg.Transport != nil
	problems := slices.Concat(cfg.validate(), env.validate(s.app), requirements(s, env, edges))
	if len(problems) > 0 {
		return nil, joinProblems(fmt.Sprintf("opening %s in %s", s, env), problems)
	}

	d := newDispatcher(s, cfg)
	if err := d.connect(ctx, edges); err != nil {
		d.disconnect(ctx)
		return nil, fmt.Errorf("dispatch: opening %s in %s: %w", s, env, err)
	}
	if d.transport == nil {
		d.lookForEmulators(ctx)
	}
	d.log.InfoContext(ctx, "opened", slog.String("environment", env.String()), slog.String("project", env.Project))
	return d, nil
}

// lookForEmulators says at once if nothing listens where an emulator should, since that is the first thing to look at when
// messages go nowhere. It is no error: the emulator may start later.
func (d *Dispatcher) lookForEmulators(ctx context.Context) {
	seen := map[string]bool{"": true}
	for _, host := range []string{d.env.TasksEndpoint(), d.env.PubSubEndpoint()} {
		if seen[host] {
			continue
		}
		seen[host] = true
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", host)
		if err != nil {
			d.log.WarnContext(ctx, "nothing answers where the emulator should be; start it with: waybill emulator", slog.String("address", host), slog.Any("error", err))
			continue
		}
		_ = conn.Close() // it was only to see
	}
}

// onCloudRun reports whether this process runs on Cloud Run, where listening on every interface is expected.
func onCloudRun() bool { return os.Getenv(envCloudRun) != "" }
