package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"waybill.dev/auth"
	"waybill.dev/tasks"
)

// Dispatcher sends and receives one service's messages. Make it with [Open].
//
// It is an http.Handler that serves the endpoints of the service's tasks, subscriptions and calls. All its methods
// and the functions that take it may be used by several goroutines at once; register handlers before serving.
type Dispatcher struct {
	service    *Service
	env        *Environment
	log        *slog.Logger
	grace      time.Duration
	drainDelay time.Duration
	source     string // the ce-source of what this service sends
	now        func() time.Time

	middleware []Middleware
	sending    SendFunc // through the send middleware; nil without any
	onExpired  func(context.Context, Message)

	transport Transport // nil for Google's clients and the network

	tasks   enqueuer
	pubsub  publisher
	tasksTo map[*route]taskTarget
	topics  map[*route]string // of the events that this service owns
	calls   map[*route]*caller

	receivers map[string]*receiver // by path; like the maps above, it does not change after Open
	setup     sync.Mutex
	verifier  *auth.Verifier          // of all that may send here; nil until somebody may
	problems  []error                 // what was wrong with calls of Handle and Answer
	mounted   map[string]http.Handler // by path: what is served beside the routes

	slots    chan struct{}  // of the handlers that may run at once; nil without a bound
	inbound  *gate          // handlers that run
	outbound *gate          // sends and requests under way
	beside   *background    // what runs beside the handlers
	closers  []func() error // of what Open made beside the clients
	closing  atomic.Bool
	draining chan struct{} // closed when Shutdown begins
	closed   chan struct{} // closed when it has ended
	closeErr error
}

// receiver is an endpoint of one inbound route.
type receiver struct {
	route    *route
	name     string // that its messages come by: the route's, or an alias
	verifier *auth.Verifier
	handler  atomic.Pointer[http.Handler]
	without  http.Handler // answers while there is no handler
}

// taskTarget is where a route's tasks go.
type taskTarget struct {
	task   tasks.Task // what all of them share
	queues []string   // full names, one or more, see Rate
}

func newDispatcher(s *Service, cfg Config) *Dispatcher {
	d := &Dispatcher{
		service:    s,
		env:        cfg.Environment,
		log:        cfg.Logger.With(slog.String("service", s.name)),
		grace:      cfg.ShutdownGrace,
		drainDelay: cfg.DrainDelay,
		source:     "/" + s.app.name + "/" + s.name,
		now:        cfg.Now,

		middleware: cfg.Middleware,
		onExpired:  cfg.OnExpired,
		transport:  cfg.Transport,

		tasksTo:   map[*route]taskTarget{},
		topics:    map[*route]string{},
		calls:     map[*route]*caller{},
		receivers: map[string]*receiver{},
		mounted:   map[string]http.Handler{},
		inbound:   newGate(),
		outbound:  newGate(),
		beside:    newBackground(),
		draining:  make(chan struct{}),
		closed:    make(chan struct{}),
	}
	if cfg.Concurrency > 0 {
		d.slots = make(chan struct{}, cfg.Concurrency)
	}
	d.sending = chainSends(cfg.SendMiddleware)
	return d
}

// Service is the service that this Dispatcher belongs to.
func (d *Dispatcher) Service() *Service { return d.service }

// Environment is where this Dispatcher runs. It must not be changed.
func (d *Dispatcher) Environment() *Environment { return d.env }

// Check reports everything that is wrong with the handlers: a declared route without one, a route with two, a
// handler for another service's route. ListenAndServe calls it; who mounts the Dispatcher elsewhere should, too.
func (d *Dispatcher) Check() error {
	d.setup.Lock()
	defer d.setup.Unlock()
	problems := append([]error(nil), d.problems...)
	for _, r := range d.service.app.declared() { // in the order of declaration
		if at := d.receivers[r.path]; at != nil && at.route == r && at.handler.Load() == nil {
			problems = append(problems, fmt.Errorf("%s has no handler; add one with dispatch.%s", r, r.registration()))
		}
	}
	return joinProblems("the handlers of "+d.service.String(), problems)
}

func (r *route) registration() string {
	if r.kind == KindCall {
		return "Answer"
	}
	return "Handle"
}

// mount puts a handler at its route's endpoint. What is wrong is kept for Check.
func (d *Dispatcher) mount(r *route, options []HandleOption, run HandlerFunc, build func(*receiver, HandlerFunc) (http.Handler, error)) {
	d.setup.Lock()
	defer d.setup.Unlock()
	at := d.receivers[r.path]
	switch {
	case r.app != d.service.app:
		d.problems = append(d.problems, fmt.Errorf("%s belongs to another app; use the contracts of app %q", r, d.service.app.name))
		return
	case at == nil || at.route != r:
		d.problems = append(d.problems, fmt.Errorf("%s is service %q's, and this is %q; remove the handler, or open the service that it is for",
			r, r.to.name, d.service.name))
		return
	case at.handler.Load() != nil:
		d.problems = append(d.problems, fmt.Errorf("%s has two handlers; keep one", r))
		return
	case run == nil:
		d.problems = append(d.problems, fmt.Errorf("%s: dispatch.%s got no function", r, r.registration()))
		return
	}
	o, err := d.handleOptions(options)
	if err != nil {
		d.problems = append(d.problems, fmt.Errorf("%s: %w", r, err))
		return
	}
	slots, run := o.slots(), chain(run, o.middleware)
	for _, at := range d.receiversOf(r) {
		h, err := build(at, run)
		if err != nil {
			d.problems = append(d.problems, fmt.Errorf("%s: %w", r, err))
			return
		}
		if slots != nil {
			h = &limiter{slots: slots, next: h, log: d.log.With(slog.String("route", at.name))}
		}
		at.handler.Store(&h)
	}
}

// receiversOf are the endpoints of a route of this service: by its name, and by each alias.
func (d *Dispatcher) receiversOf(r *route) []*receiver {
	all := []*receiver{d.receivers[r.path]}
	for _, alias := range r.aliases {
		all = append(all, d.receivers[r.pathOf(alias)])
	}
	return all
}

// ServeHTTP receives a task, a push or a call. It verifies who sends before it reads the body.
//
// Apart from the handlers' own answers it answers 404 for an unknown path, and 503 for a route without a handler and
// while it shuts down.
func (d *Dispatcher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at := d.receivers[r.URL.Path]
	other := d.mountedAt(at, r.URL.Path)
	if at == nil && other == nil {
		if d.health(w, r) {
			return
		}
		d.log.WarnContext(r.Context(), "request refused: no route at this path", slog.String("path", r.URL.Path))
		http.Error(w, fmt.Sprintf("service %q has no route at this path; compare the sender's contracts and URL with the receiver's", d.service.name), http.StatusNotFound)
		return
	}
	if !d.inbound.enter() {
		unavailable(w, "this instance is shutting down; try again")
		return
	}
	defer d.inbound.leave()
	if other != nil {
		other.ServeHTTP(w, r)
		return
	}
	if d.slots != nil {
		select {
		case d.slots <- struct{}{}:
			defer func() { <-d.slots }()
		default:
			d.log.WarnContext(r.Context(), "request refused: the process's concurrency is used up", slog.String("route", at.name), slog.Int("concurrency", cap(d.slots)))
			refuseForNow(w, http.StatusTooManyRequests, "this instance runs as much as it may; try again")
			return
		}
	}
	if h := at.handler.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	at.without.ServeHTTP(w, r)
}

// withoutHandler answers declared callers of a route that has no handler yet; to others it says no more than with one.
func (d *Dispatcher) withoutHandler(r *route) http.HandlerFunc {
	return func(w http.ResponseWriter, request *http.Request) {
		d.log.ErrorContext(request.Context(), "a message came for a route without a handler; add one", slog.String("route", r.name))
		unavailable(w, "this route is declared, but the receiver has no handler for it")
	}
}

// unavailable answers 503: nothing ran, so whoever sent it may send it again.
func unavailable(w http.ResponseWriter, reason string) {
	refuseForNow(w, http.StatusServiceUnavailable, reason)
}

// refuseForNow says that nothing was done, and that it may be tried again.
func refuseForNow(w http.ResponseWriter, status int, reason string) {
	w.Header().Set("Retry-After", "1")
	w.Header().Set(retryHeader, retrySafe)
	http.Error(w, reason, status)
}

// Shutdown turns readiness false, waits Config.DrainDelay, stops receiving, waits for the handlers that run, ends what
// [Dispatcher.Background] runs, then stops sending, flushes what is not yet sent and frees the clients. Once the delay is over, new
// messages are answered 503 and come again; Send and Request return [ErrClosed] once handlers and background work have ended.
//
// It blocks until all of that is done, or ctx is: then it says what was left behind. Where there is background work, the handlers
// have three quarters of the time. A second call waits for the first. ListenAndServe and Serve return after it.
func (d *Dispatcher) Shutdown(ctx context.Context) error {
	if d.closing.CompareAndSwap(false, true) {
		close(d.draining)
		d.closeErr = d.shutdown(ctx)
		close(d.closed)
	}
	select {
	case <-d.closed: // looked at first: what was left behind says more than that the time is over
		return d.closeErr
	default:
	}
	select {
	case <-d.closed:
		return d.closeErr
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *Dispatcher) shutdown(ctx context.Context) error {
	var problems []error
	d.waitForBalancers(ctx)
	handlers, cancel := d.timeForHandlers(ctx)
	defer cancel()
	if err := d.inbound.close(handlers); err != nil {
		problems = append(problems, fmt.Errorf("%d handlers still run, and their messages will be delivered again; a longer Config.ShutdownGrace gives them time: %w", d.inbound.count(), err))
	}
	problems = append(problems, d.beside.close(ctx)...)
	if err := d.outbound.close(ctx); err != nil {
		problems = append(problems, fmt.Errorf("%d sends are still under way, and may or may not be accepted: %w", d.outbound.count(), err))
	}
	problems = append(problems, d.disconnect(ctx)...)
	return joinProblems("shutting down "+d.service.String(), problems)
}

// waitForBalancers gives whoever looks at the readiness the time to see it.
func (d *Dispatcher) waitForBalancers(ctx context.Context) {
	if d.drainDelay <= 0 {
		return
	}
	timer := time.NewTimer(d.drainDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// timeForHandlers keeps a quarter of what is left for background work, if there is any: a handler that hangs must not
// take away the time in which a relay sends what the others have left.
func (d *Dispatcher) timeForHandlers(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok || d.beside.count() == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, time.Until(deadline)*3/4)
}

// Close is Shutdown within Config.ShutdownGrace.
func (d *Dispatcher) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), d.grace)
	defer cancel()
	return d.Shutdown(ctx)
}

// disconnect flushes and closes the clients that were made.
func (d *Dispatcher) disconnect(ctx context.Context) []error {
	var problems []error
	if d.pubsub != nil {
		if err := d.pubsub.Shutdown(ctx); err != nil {
			problems = append(problems, err)
		}
	}
	if d.tasks != nil {
		if err := d.tasks.Close(); err != nil {
			problems = append(problems, err)
		}
	}
	for _, closeIt := range d.closers {
		if err := closeIt(); err != nil {
			problems = append(problems, err)
		}
	}
	return problems
}

// known reports a route that was declared too late.
func (d *Dispatcher) known(r *route) error {
	ok := false
	switch r.kind {
	case KindTask:
		_, ok = d.tasksTo[r]
	case KindEvent:
		_, ok = d.topics[r]
	case KindCall:
		_, ok = d.calls[r]
	}
	if !ok {
		return fmt.Errorf("dispatch: %s was declared after %s was opened; declare everything in package-level variables", r, d.service)
	}
	return nil
}

// permit checks what every send needs: an open Dispatcher, a live context, a declaration.
func (d *Dispatcher) permit(ctx context.Context, r *route) error {
	if d == nil {
		return fmt.Errorf("dispatch: %s: there is no Dispatcher to send it; pass the one that Open returned", r)
	}
	if r == nil {
		return errors.New("dispatch: there is no route; pass one that the contracts declare")
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("dispatch: %s: the context is already done, nothing was sent: %w", r, err)
	}
	if r.app != d.service.app {
		return fmt.Errorf("dispatch: %w: %s belongs to another app than %s; use the contracts of app %q", ErrNotDeclared, r, d.service, d.service.app.name)
	}
	if r.mayBeSentBy(d.service) {
		return d.known(r)
	}
	if r.kind == KindEvent {
		return fmt.Errorf("dispatch: %w: service %q may not send %s, which is service %q's; declare an event of its own with dispatch.NewEvent",
			ErrNotDeclared, d.service.name, r, r.to.name)
	}
	return fmt.Errorf("dispatch: %w: service %q may not send %s to service %q; if it should, add %[2]q to the dispatch.From of %[3]s",
		ErrNotDeclared, d.service.name, r, r.to.name)
}
