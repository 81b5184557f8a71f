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
	"waybill.dev/pubsub"
	"waybill.dev/tasks"
)

// Dispatcher sends and receives one service's messages. Make it with [Open].
//
// It is an http.Handler that serves the endpoints of the service's tasks, subscriptions and calls. All its methods
// and the functions that take it may be used by several goroutines at once; register handlers before serving.
type Dispatcher struct {
	service *Service
	env     *Environment
	log     *slog.Logger
	grace   time.Duration
	source  string // the ce-source of what this service sends
	now     func() time.Time

	tasks   *tasks.Client
	pubsub  *pubsub.Client
	tasksTo map[*route]tasks.Task // what all tasks of a route share
	topics  map[*route]string     // of the events that this service owns
	calls   map[*route]*caller

	receivers map[string]*receiver // by path; like the maps above, it does not change after Open
	setup     sync.Mutex
	problems  []error // what was wrong with calls of Handle and Answer

	inbound  *gate          // handlers that run
	outbound *gate          // sends and requests under way
	closers  []func() error // of what Open made beside the clients
	closing  atomic.Bool
	draining chan struct{} // closed when Shutdown begins
	closed   chan struct{} // closed when it has ended
	closeErr error
}

// receiver is the endpoint of one inbound route.
type receiver struct {
	route    *route
	verifier *auth.Verifier
	handler  atomic.Pointer[http.Handler]
	without  http.Handler // answers while there is no handler
}

func newDispatcher(s *Service, cfg Config) *Dispatcher {
	return &Dispatcher{
		service:   s,
		env:       cfg.Environment,
		log:       cfg.Logger.With(slog.String("service", s.name)),
		grace:     cfg.ShutdownGrace,
		source:    "/" + s.app.name + "/" + s.name,
		now:       cfg.Now,
		tasksTo:   map[*route]tasks.Task{},
		topics:    map[*route]string{},
		calls:     map[*route]*caller{},
		receivers: map[string]*receiver{},
		inbound:   newGate(),
		outbound:  newGate(),
		draining:  make(chan struct{}),
		closed:    make(chan struct{}),
	}
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
func (d *Dispatcher) mount(r *route, options []HandleOption, build func(*receiver) (http.Handler, error)) {
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
	}
	h, err := build(at)
	if err == nil {
		h, err = d.limited(r, h, options)
	}
	if err != nil {
		d.problems = append(d.problems, fmt.Errorf("%s: %w", r, err))
		return
	}
	at.handler.Store(&h)
}

// ServeHTTP receives a task, a push or a call. It verifies who sends before it reads the body.
//
// Apart from the handlers' own answers it answers 404 for an unknown path, and 503 for a route without a handler and
// while it shuts down.
func (d *Dispatcher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at := d.receivers[r.URL.Path]
	if at == nil {
		d.log.WarnContext(r.Context(), "request refused: no route at this path", slog.String("path", r.URL.Path))
		http.Error(w, fmt.Sprintf("service %q has no route at this path; compare the sender's contracts and URL with the receiver's", d.service.name), http.StatusNotFound)
		return
	}
	if !d.inbound.enter() {
		unavailable(w, "this instance is shutting down; try again")
		return
	}
	defer d.inbound.leave()
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

// Shutdown stops receiving, waits for the handlers that run, then stops sending, flushes what is not yet sent and
// frees the clients. New requests are answered 503 from the first moment; Send and Request return [ErrClosed] once
// the handlers have ended. It blocks until all of that is done, or ctx is: then it says what was left behind. A second call waits
// for the first. ListenAndServe and Serve return after it.
func (d *Dispatcher) Shutdown(ctx context.Context) error {
	if d.closing.CompareAndSwap(false, true) {
		close(d.draining)
		d.closeErr = d.shutdown(ctx)
		close(d.closed)
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
	if err := d.inbound.close(ctx); err != nil {
		problems = append(problems, fmt.Errorf("%d handlers still run, and their messages will be delivered again; a longer Config.ShutdownGrace gives them time: %w", d.inbound.count(), err))
	}
	if err := d.outbound.close(ctx); err != nil {
		problems = append(problems, fmt.Errorf("%d sends are still under way, and may or may not be accepted: %w", d.outbound.count(), err))
	}
	problems = append(problems, d.disconnect(ctx)...)
	return joinProblems("shutting down "+d.service.String(), problems)
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
