package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"google.golang.org/api/option"

	"waybill.dev/auth"
	"waybill.dev/internal/httpserve"
	"waybill.dev/pubsub"
	wsync "waybill.dev/sync"
	"waybill.dev/tasks"
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
	// Now is the clock that messages are stamped and schedules counted by. Default: time.Now.
	Now func() time.Time
	// Transport carries calls. Default: one made for calls between services, see waybill.dev/sync.
	Transport http.RoundTripper
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
	problems := slices.Concat(env.validate(s.app), requirements(s, env, edges))
	if len(problems) > 0 {
		return nil, joinProblems(fmt.Sprintf("opening %s in %s", s, env), problems)
	}

	d := newDispatcher(s, cfg)
	if err := d.connect(ctx, edges, cfg.Transport); err != nil {
		d.disconnect(ctx)
		return nil, fmt.Errorf("dispatch: opening %s in %s: %w", s, env, err)
	}
	d.lookForEmulators(ctx)
	d.log.InfoContext(ctx, "opened", slog.String("environment", env.String()), slog.String("project", env.Project))
	return d, nil
}

// connect makes the clients and the verifiers that the service's edges need.
func (d *Dispatcher) connect(ctx context.Context, edges edges, transport http.RoundTripper) error {
	own := d.env.Service(d.service.app, d.service.name)
	var err error
	if len(edges.sendsTasks) > 0 {
		options := own.clientOptions()
		if host := d.env.TasksEndpoint(); host != "" {
			options = tasks.EmulatorOptions(host)
		}
		if d.tasks, err = tasks.NewClient(ctx, tasks.Config{ServiceAccount: own.ServiceAccount, Now: d.now}, options...); err != nil {
			return err
		}
	}
	for _, r := range edges.sendsTasks {
		to := d.env.Service(r.app, r.to.name)
		d.tasksTo[r] = tasks.Task{Queue: d.env.queueOf(r), URL: to.URL + r.path, Audience: to.Audience, DispatchDeadline: r.transportDeadline()}
	}
	for _, r := range edges.owns {
		d.topics[r] = d.env.topicOf(r)
	}
	if edges.needsPubSub() {
		options := own.clientOptions()
		if host := d.env.PubSubEndpoint(); host != "" {
			options = pubsub.EmulatorOptions(host)
		}
		if d.pubsub, err = pubsub.NewClient(ctx, pubsub.Config{Project: d.env.Project}, options...); err != nil {
			return err
		}
	}
	if err := d.connectCalls(edges.calls, own, transport); err != nil {
		return err
	}
	return d.prepareReceivers(edges.receives, own)
}

// connectCalls makes a client for each call: they share connections, and differ in how they retry.
func (d *Dispatcher) connectCalls(calls []*route, own ServiceEnvironment, transport http.RoundTripper) error {
	if len(calls) == 0 {
		return nil
	}
	config := auth.MinterConfig{CredentialsFile: own.Credentials, CredentialsJSON: own.CredentialsJSON, Logger: d.log}
	if d.env.local() && len(own.CredentialsJSON) == 0 {
		// Named here, the file is checked now and not at the first call.
		config.CredentialsFile = firstOf(own.Credentials, os.Getenv(envCredentials))
	}
	if !d.env.onCloudRun && !d.env.local() {
		// On a developer's machine the credentials are a person's, who must act as the service to be its caller. Where
		// they are the service's own already, this changes nothing.
		config.Impersonate = own.ServiceAccount
	}
	minter, err := auth.NewMinter(config)
	if err != nil {
		return err
	}
	d.closers = append(d.closers, minter.Close)
	if transport == nil {
		t := wsync.NewTransport()
		d.closers = append(d.closers, func() error { t.CloseIdleConnections(); return nil })
		transport = t
	}
	for _, r := range calls {
		to := d.env.Service(r.app, r.to.name)
		retry := r.effectiveRetry()
		client, err := wsync.NewClient(wsync.ClientConfig{
			URL: to.URL, Audience: to.Audience, Tokens: minter, Transport: transport,
			MaxAttempts: retry.MaxAttempts, MinBackoff: retry.MinBackoff, MaxBackoff: retry.MaxBackoff,
		})
		if err != nil {
			return fmt.Errorf("%s: %w", r, err)
		}
		d.calls[r], err = newCaller(client, to.URL+r.path)
		if err != nil {
			return fmt.Errorf("%s: %w", r, err)
		}
	}
	return nil
}

// clientOptions hand a service's own credentials to Google's clients; without any they find the application default ones.
func (s ServiceEnvironment) clientOptions() []option.ClientOption {
	switch {
	case len(s.CredentialsJSON) > 0:
		return []option.ClientOption{option.WithCredentialsJSON(s.CredentialsJSON)} //nolint:staticcheck // whatever type of credentials was given
	case s.Credentials != "":
		return []option.ClientOption{option.WithCredentialsFile(s.Credentials)} //nolint:staticcheck // whatever type of credentials was given
	}
	return nil
}

// prepareReceivers puts an endpoint in place for each receiving route: it verifies its own callers from the first
// moment, and answers 503 until it has a handler.
func (d *Dispatcher) prepareReceivers(routes []*route, own ServiceEnvironment) error {
	if len(routes) == 0 {
		return nil
	}
	keys, err := auth.NewKeySet(auth.KeySetConfig{URL: d.env.keysURL(), Logger: d.log})
	if err != nil {
		return err
	}
	d.closers = append(d.closers, keys.Close)
	var everybody []string
	for _, r := range routes {
		everybody = append(everybody, callersOf(r, d.env)...)
	}
	verifier, err := auth.NewVerifier(auth.VerifierConfig{
		Audiences:       []string{own.Audience},
		Callers:         everybody,
		Keys:            keys,
		PlatformAsserts: *own.PlatformAsserts,
		Logger:          d.log,
	})
	if err != nil {
		return err
	}
	for _, r := range routes {
		v, err := verifier.ForCallers(callersOf(r, d.env)...)
		if err != nil {
			return fmt.Errorf("%s: %w", r, err)
		}
		d.receivers[r.path] = &receiver{route: r, verifier: v, without: httpserve.Guard(v, d.log, d.withoutHandler(r), slog.String("route", r.name))}
	}
	return nil
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
