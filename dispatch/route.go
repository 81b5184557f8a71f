package dispatch

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"waybill.dev/internal/names"
)

// Kind is what a route is, and so how its messages travel.
type Kind string

// The kinds of routes.
const (
	KindTask         Kind = "task"         // one receiver, later: Cloud Tasks
	KindEvent        Kind = "event"        // many receivers, later: a Pub/Sub topic
	KindSubscription Kind = "subscription" // one receiver's copy of an event: a Pub/Sub push subscription
	KindCall         Kind = "call"         // one receiver, now, with a reply: authenticated HTTP
)

// Limits that Google's services set, and the defaults of a route that declares nothing else.
const (
	defaultDeadline       = 30 * time.Second
	maxTaskDeadline       = 30*time.Minute - deadlineMargin // a dispatch deadline is 30 minutes at most [cloudtaskspb]
	maxEventDeadline      = 600*time.Second - deadlineMargin
	maxCallDeadline       = 60 * time.Minute // the longest request timeout of Cloud Run
	minDispatchDeadline   = 15 * time.Second
	minAckDeadline        = 10 * time.Second
	deadlineMargin        = 5 * time.Second // the transport waits this much longer than the handler may run
	defaultMaxAttempts    = 10
	defaultMinBackoff     = time.Second
	defaultMaxBackoff     = 10 * time.Minute
	defaultCallAttempts   = 3
	defaultCallMinBackoff = 100 * time.Millisecond
	defaultCallMaxBackoff = 5 * time.Second
	backstopAttempts      = 5 // how many attempts after ours the platform's own dead-lettering steps in
	maxDeliveryAttempts   = 100
	maxEventAttempts      = maxDeliveryAttempts - backstopAttempts
	maxEventBackoff       = 600 * time.Second
)

// route is what every declaration comes down to.
type route struct {
	app  *App
	kind Kind
	name string
	to   *Service   // the receiver; of an event, its owner
	from []*Service // who may send

	event    *route // of a subscription: its event
	ordered  bool   // of an event: it has an ordering key
	path     string
	ceType   string // the CloudEvents type of its messages: APP.ROUTE; a subscription's are its event's
	retry    *Retry
	deadline time.Duration
	expires  *Expires
	rate     Rate     // of a task
	aliases  []string // names that it had before
	codec    Codec    // of the message; of a call, of the question
	schema   *schema  // of the message, if it is not of version 1
	problems []error
}

// newRoute registers a route with the app of the service that it belongs to. Without a service there is nowhere
// to keep the problem but the route itself; whoever uses it gets it then.
func newRoute(kind Kind, to *Service, name string) *route {
	r := &route{kind: kind, name: name, to: to}
	if to == nil {
		r.problem("it has no service; pass the one that it belongs to, from App.Service")
		return r
	}
	r.app = to.app
	r.ceType = to.app.name + "." + name
	if kind != KindEvent {
		r.path = defaultPath(kind, name)
	}
	return r
}

// adopt gives a route without a service the app of whoever may send it, so that the app's Validate reports it.
func (r *route) adopt() {
	if r.app == nil && len(r.from) > 0 && r.from[0] != nil {
		r.app = r.from[0].app
	}
}

// register adds a finished route to its app.
func (r *route) register() {
	if r.app == nil {
		return
	}
	r.app.mu.Lock()
	defer r.app.mu.Unlock()
	if r.schema != nil {
		r.schema.used = true
	}
	r.app.routes = append(r.app.routes, r)
}

func defaultPath(kind Kind, name string) string {
	switch kind {
	case KindTask:
		return "/_waybill/tasks/" + name
	case KindSubscription:
		return "/_waybill/events/" + name
	default:
		return "/_waybill/calls/" + name
	}
}

func (r *route) problem(format string, args ...any) {
	r.problems = append(r.problems, fmt.Errorf("%s: %w", r, fmt.Errorf(format, args...)))
}

// String names the route as errors and logs do: task "send-welcome".
func (r *route) String() string { return fmt.Sprintf("%s %q", r.kind, r.name) }

// Name is the route's name, unique in its app. It is promoted to Task, Event, Subscription and Call.
func (r *route) Name() string { return r.name }

// validate reports what is wrong with this route alone.
func (r *route) validate() []error {
	checked := &route{kind: r.kind, name: r.name, problems: slices.Clone(r.problems)}
	p := checked.problem
	if err := names.Check(string(r.kind), r.name, names.MaxName); err != nil {
		checked.problems = append(checked.problems, err)
	}
	for _, s := range r.from {
		if s == nil {
			p("dispatch.From got no service; pass one from App.Service")
		} else if s.app != r.app {
			p("%s is a service of another app; only services of app %q may be in its contracts", s, r.app.name)
		}
	}
	if r.to != nil && r.to.app != r.app {
		p("%s is a service of another app; only services of app %q may be in its contracts", r.to, r.app.name)
	}
	if len(r.from) == 0 && (r.kind == KindTask || r.kind == KindCall) {
		p("nobody may send it; name the senders with dispatch.From")
	}
	if r.kind != KindEvent && r.to != nil && (!strings.HasPrefix(r.path, "/") || strings.ContainsAny(r.path, "?#%{} ") || strings.Contains(r.path, "//") ||
		strings.Contains(r.path, "/../") || strings.HasSuffix(r.path, "/..")) {
		p("dispatch.Path(%q): a path starts with a slash and has no query, escape, space or empty segment", r.path)
	}
	if r.kind != KindEvent && (r.path == ReadyPath || r.path == LivePath) {
		p("dispatch.Path(%q) is where the process says how it is; use another path", r.path)
	}
	r.validateRetry(p)
	r.validateDeadline(p)
	r.validateExpires(p)
	r.validateRate(p)
	r.validateAliases(p)
	return checked.problems
}

func (r *route) validateRetry(p func(string, ...any)) {
	if r.retry == nil {
		return
	}
	retry := r.effectiveRetry()
	if retry.MaxAttempts < 1 {
		p("Retry.MaxAttempts is %d; it is 1 at least", retry.MaxAttempts)
	}
	if retry.MinBackoff < 0 || retry.MaxBackoff < retry.MinBackoff {
		p("Retry waits from %v to %v; MinBackoff is 0 at least and MaxBackoff no less", retry.MinBackoff, retry.MaxBackoff)
	}
	if r.kind == KindSubscription && retry.MaxAttempts > maxEventAttempts {
		p("Retry.MaxAttempts is %d; Pub/Sub counts 100 attempts and Waybill keeps %d of them as a backstop, so %d at most",
			retry.MaxAttempts, backstopAttempts, maxEventAttempts)
	}
	if r.kind == KindSubscription && retry.MaxBackoff > maxEventBackoff {
		p("Retry.MaxBackoff is %v; Pub/Sub waits %v at most", retry.MaxBackoff, maxEventBackoff)
	}
}

func (r *route) validateDeadline(p func(string, ...any)) {
	var longest time.Duration
	var why string
	switch r.kind {
	case KindTask:
		longest, why = maxTaskDeadline, "Cloud Tasks waits 30 minutes at most and gets 5 seconds more than the handler"
	case KindSubscription:
		longest, why = maxEventDeadline, "Pub/Sub waits 600 seconds at most and gets 5 seconds more than the handler"
	case KindCall:
		longest, why = maxCallDeadline, "Cloud Run ends a request after 60 minutes at most"
	default:
		return
	}
	if r.deadline < 0 || r.deadline > longest {
		p("Deadline(%v): %s, so a deadline is between 0 and %v", r.deadline, why, longest)
	}
}

// effectiveRetry is the declared retry with the defaults filled in.
func (r *route) effectiveRetry() Retry {
	retry := Retry{MaxAttempts: defaultMaxAttempts, MinBackoff: defaultMinBackoff, MaxBackoff: defaultMaxBackoff}
	if r.kind == KindCall {
		retry = Retry{MaxAttempts: defaultCallAttempts, MinBackoff: defaultCallMinBackoff, MaxBackoff: defaultCallMaxBackoff}
	}
	if r.retry == nil {
		return retry
	}
	if r.retry.MaxAttempts != 0 {
		retry.MaxAttempts = r.retry.MaxAttempts
	}
	if r.retry.MinBackoff != 0 {
		retry.MinBackoff = r.retry.MinBackoff
		retry.MaxBackoff = max(retry.MaxBackoff, retry.MinBackoff)
	}
	if r.retry.MaxBackoff != 0 {
		retry.MaxBackoff = r.retry.MaxBackoff
		if r.retry.MinBackoff == 0 {
			retry.MinBackoff = min(retry.MinBackoff, retry.MaxBackoff)
		}
	}
	return retry
}

// effectiveDeadline is how long a handler may run: the declared deadline, or 30 seconds.
func (r *route) effectiveDeadline() time.Duration {
	if r.deadline == 0 {
		return defaultDeadline
	}
	return r.deadline
}

// transportDeadline is how long Cloud Tasks or Pub/Sub waits for the handler's answer: longer than the handler may
// run, so that a handler that uses all of its time still answers in time.
func (r *route) transportDeadline() time.Duration {
	d := r.effectiveDeadline() + deadlineMargin
	switch r.kind {
	case KindTask:
		return max(d, minDispatchDeadline)
	case KindSubscription:
		return max(d+time.Second-1, minAckDeadline).Truncate(time.Second) // an ack deadline has whole seconds
	default:
		return d
	}
}

// mayBeSentBy reports whether the declaration lets s send here.
func (r *route) mayBeSentBy(s *Service) bool {
	if r.kind == KindEvent {
		return s == r.to
	}
	return slices.Contains(r.from, s)
}

// receives reports whether s gets this route's messages.
func (r *route) receivedBy(s *Service) bool { return r.kind != KindEvent && r.to == s }

// RouteInfo describes a declared route with its defaults filled in, for what works on whole contracts:
// creating resources, exporting them, drawing them.
type RouteInfo struct {
	Kind  Kind
	Name  string
	To    string   // the receiver's name; of an event, its owner's
	From  []string // who may send; of a subscription, the event's owner
	Event string   // of a subscription: the event's name

	Path              string        // of the receiver's endpoint; empty for an event
	Retry             Retry         // zero for an event
	Deadline          time.Duration // how long a handler may run; zero for an event
	TransportDeadline time.Duration // the task's dispatch deadline, or the subscription's ack deadline
	BackstopAttempts  int           // of a subscription: the attempts of Pub/Sub's own dead-letter policy
	Ordered           bool          // of an event and its subscriptions
	Queues            []Rate        // of a task: the share of its rate that each of its queues has, one or more
	Aliases           []string      // names that it had before, and still receives by
}

// Routes lists the app's routes in the order of their declaration.
func (a *App) Routes() []RouteInfo {
	var infos []RouteInfo
	for _, r := range a.declared() {
		info := RouteInfo{Kind: r.kind, Name: r.name, Path: r.path, Ordered: r.ordered}
		if r.to != nil {
			info.To = r.to.name
		}
		for _, s := range r.from {
			if s != nil {
				info.From = append(info.From, s.name)
			}
		}
		if r.event != nil {
			info.Event, info.Ordered = r.event.name, r.event.ordered
		}
		if r.kind != KindEvent {
			info.Retry, info.Deadline, info.TransportDeadline = r.effectiveRetry(), r.effectiveDeadline(), r.transportDeadline()
		}
		info.Aliases = slices.Clone(r.aliases)
		if r.kind == KindTask {
			info.Queues = r.rate.shares()
		}
		if r.kind == KindSubscription {
			info.BackstopAttempts = min(info.Retry.MaxAttempts+backstopAttempts, maxDeliveryAttempts)
		}
		infos = append(infos, info)
	}
	return infos
}

// Services lists the names of the app's services in the order of their declaration.
func (a *App) Services() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := make([]string, len(a.services))
	for i, s := range a.services {
		list[i] = s.name
	}
	return list
}
