package dispatchtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"path"
	"strconv"
	"time"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/internal/wire"
	"waybill.dev/internal/names"
)

// What Cloud Tasks promises, and what ends an endless test.
const (
	nameReuse     = time.Hour // how long the name of a task that has ended stays taken
	maxQuiet      = time.Hour // the longest Retry-After that a queue heeds
	maxDeliveries = 20_000    // in one Run or Advance
)

// delivery is a message on its way to one receiver.
type delivery struct {
	route     *dispatch.RouteInfo
	sequence  int
	due       time.Time
	envelope  dispatch.Envelope
	account   string // that signs
	published time.Time
	busy      bool // an attempt is under way

	failures   int // attempts that were not answered 2xx
	executions int // of a task: attempts that were answered, but for 5xx
	previous   int // of a task: the last answer

	url       string   // of a task
	name      taskName // of a task
	messageID string   // of an event's copy: Pub/Sub's own id
}

// Run delivers what is due now, in the order of its times and of its sending, and what that sends in turn, until nothing is due.
// It does not move the clock, unless a handler takes time.
func (b *Bench) Run() {
	b.t.Helper()
	b.deliverUntil(b.clock.now())
}

// Advance moves the clock by d, and delivers on the way what becomes due, at its time.
func (b *Bench) Advance(d time.Duration) {
	b.t.Helper()
	if d < 0 {
		b.t.Fatalf("dispatchtest: Advance(%v): a clock does not go back", d)
	}
	b.deliverUntil(b.clock.now().Add(d))
}

func (b *Bench) deliverUntil(end time.Time) {
	b.t.Helper()
	for range maxDeliveries {
		now := b.clock.now()
		if now.After(end) { // a handler has taken time
			end = now
		}
		d, due := b.next(end)
		switch {
		case d != nil && !due.After(now):
			b.deliver(d)
		case d != nil:
			b.release(d)
			b.clock.wait(due, b.wake)
		case now.Before(end):
			b.clock.wait(end, b.wake)
		default:
			return
		}
	}
	b.t.Errorf("dispatchtest: %d deliveries and there is no end; do messages cause one another?", maxDeliveries)
}

// next takes the message that is delivered next, at the end at the latest, or returns nil.
func (b *Bench) next(end time.Time) (*delivery, time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var first *delivery
	var firstDue time.Time
	type orderKey struct{ route, key string }
	behind := map[orderKey]bool{}
	for _, d := range b.waiting {
		if d.route.Ordered {
			key := orderKey{d.route.Name, d.envelope.OrderingKey}
			if behind[key] {
				continue
			}
			behind[key] = true
		}
		if d.busy || b.services[d.route.To] == nil {
			continue
		}
		due := d.due
		if quiet := b.quiet[d.name.queue]; quiet.After(due) {
			due = quiet
		}
		if due.After(end) {
			continue
		}
		if first == nil || due.Before(firstDue) || due.Equal(firstDue) && d.due.Before(first.due) {
			first, firstDue = d, due
		}
	}
	if first != nil {
		first.busy = true
	}
	return first, firstDue
}

func (b *Bench) release(d *delivery) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d.busy = false
}

// deliver makes an attempt at a message, which the caller has taken, and settles what becomes of it.
func (b *Bench) deliver(d *delivery) *Attempt {
	b.mu.Lock()
	f := b.takeFault(d.route.Name)
	b.mu.Unlock()
	a, answer := b.attempt(d, f)
	if f.twice && answer != nil {
		second, answer := b.attempt(d, f)
		b.mu.Lock()
		second.conclude(ok(answer)) // it decides nothing any more
		b.mu.Unlock()
	}
	b.settle(d, a, answer)
	return a
}

// ok reports whether an answer acknowledges a message; nil is none.
func ok(answer *httptest.ResponseRecorder) bool { return answer != nil && answer.Code/100 == 2 }

func (b *Bench) attempt(d *delivery, f fault) (*Attempt, *httptest.ResponseRecorder) {
	b.mu.Lock()
	a := b.begin(d.route, d.envelope, d.failures+1)
	b.mu.Unlock()
	var r *http.Request
	if d.route.Kind == dispatch.KindTask {
		r = taskRequest(d)
	} else {
		r = b.pushRequest(d)
	}
	token := Token{}
	if f.token != nil {
		token = *f.token
	}
	setToken(r.Header, b.token(token, d.account, b.audience(d.route.To)))
	answer, err := b.exchange(context.Background(), d.route, r, f, a)
	if err != nil {
		answer = nil
	}
	return a, answer
}

// taskRequest is what Cloud Tasks sends.
func taskRequest(d *delivery) *http.Request {
	r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, d.url, bytes.NewReader(d.envelope.Body))
	for name, value := range d.envelope.Attributes {
		r.Header.Set(name, value)
	}
	r.Header.Set("User-Agent", "Google-Cloud-Tasks")
	r.Header.Set("X-Cloudtasks-Queuename", path.Base(d.name.queue))
	r.Header.Set("X-Cloudtasks-Taskname", strconv.Itoa(d.sequence))
	r.Header.Set("X-Cloudtasks-Taskretrycount", strconv.Itoa(d.failures))
	r.Header.Set("X-Cloudtasks-Taskexecutioncount", strconv.Itoa(d.executions))
	micros := d.due.UnixMicro()
	r.Header.Set("X-Cloudtasks-Tasketa", fmt.Sprintf("%d.%06d", micros/1e6, micros%1e6))
	if d.failures > 0 {
		r.Header.Set("X-Cloudtasks-Taskpreviousresponse", strconv.Itoa(d.previous))
	}
	return r
}

// pushRequest is what Pub/Sub sends.
func (b *Bench) pushRequest(d *delivery) *http.Request {
	message := map[string]any{
		"attributes": d.envelope.Attributes, "data": d.envelope.Body, "messageId": d.messageID,
		"publishTime": d.published.UTC().Format(time.RFC3339Nano), "orderingKey": d.envelope.OrderingKey,
	}
	body, err := json.Marshal(map[string]any{
		"message": message, "deliveryAttempt": d.failures + 1,
		"subscription": names.Subscription(project, b.env.Resource(b.app, d.route.Name)),
	})
	if err != nil {
		b.t.Fatalf("dispatchtest: a push of %q cannot be encoded: %v", d.route.Name, err)
	}
	r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, b.env.Service(b.app, d.route.To).URL+d.route.Path, bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return r
}

func setToken(h http.Header, token string) {
	h.Del("X-Serverless-Authorization")
	h.Del("Authorization")
	if token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
}

var (
	errLost    = errors.New("dispatchtest: the answer was lost")
	errTooLate = errors.New("dispatchtest: there was no answer in time")
)

// exchange has a service answer a request. The error is that of a connection.
func (b *Bench) exchange(ctx context.Context, route *dispatch.RouteInfo, r *http.Request, f fault, a *Attempt) (*httptest.ResponseRecorder, error) {
	b.mu.Lock()
	to, down := b.services[route.To], b.down[route.To] > 0
	b.mu.Unlock()
	if down || to == nil || f.refuse {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("dispatchtest: nobody is at service %q", route.To)}
	}
	w := httptest.NewRecorder()
	if f.status != 0 {
		http.Error(w, "dispatchtest: a fault", f.status)
		b.answered(a, w)
		return w, nil
	}
	// Of the sender's context only its end reaches a server, as its connection closes.
	serving, cancel := context.WithCancel(context.WithValue(context.Background(), attemptKey{}, a))
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	began := b.clock.now()
	serving, passed := b.clock.within(serving, route.Deadline)
	defer passed()
	if err := serve(to, w, r.WithContext(serving)); err != nil { //nolint:contextcheck // see above
		return nil, err
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err() // as a sender that did not wait for the answer
	case f.lose:
		return nil, errLost
	case b.clock.now().Sub(began) > route.TransportDeadline:
		return nil, errTooLate
	}
	b.answered(a, w)
	return w, nil
}

// answered records an answer that has arrived.
func (b *Bench) answered(a *Attempt, w *httptest.ResponseRecorder) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a.Status = w.Code
}

// serve is what net/http does around a handler.
func serve(h http.Handler, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("dispatchtest: the handler aborted its request: %v", p)
		}
	}()
	h.ServeHTTP(w, r)
	return nil
}

// settle says what becomes of a message after an attempt.
func (b *Bench) settle(d *delivery, a *Attempt, answer *httptest.ResponseRecorder) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock.now()
	d.busy = false
	if a.conclude(ok(answer)) {
		b.remove(d, now)
		return
	}
	d.failures++
	d.due = now.Add(backoff(d.route.Retry, d.failures))
	if d.route.Kind == dispatch.KindTask {
		b.heed(d, answer, now)
		return
	}
	if d.failures >= d.route.BackstopAttempts {
		b.moveToDead(d)
		b.remove(d, now)
		a.Outcome = Died
	}
}

// heed notes a task's answer, and how much quiet the receiver asks for.
func (b *Bench) heed(d *delivery, answer *httptest.ResponseRecorder, now time.Time) {
	d.previous = http.StatusServiceUnavailable // what Cloud Tasks says when there was no answer
	if answer == nil {
		return
	}
	d.previous = answer.Code
	if d.previous < http.StatusInternalServerError {
		d.executions++
	}
	if d.previous != http.StatusTooManyRequests && d.previous != http.StatusServiceUnavailable {
		return
	}
	seconds, err := strconv.ParseUint(answer.Header().Get("Retry-After"), 10, 31)
	if err != nil {
		return
	}
	until := now.Add(min(time.Duration(seconds)*time.Second, maxQuiet))
	if until.After(b.quiet[d.name.queue]) {
		b.quiet[d.name.queue] = until
	}
}

// moveToDead is Pub/Sub's own dead-lettering.
func (b *Bench) moveToDead(d *delivery) {
	e := d.envelope
	e.Attributes = maps.Clone(e.Attributes)
	e.Attributes[wire.PlatformCount] = strconv.Itoa(d.failures)
	e.Attributes[wire.PlatformSubscription] = b.env.Resource(b.app, d.route.Name)
	b.dead = append(b.dead, record{d.route.Name, e})
}

// remove ends a message. The name of a task stays taken for a while.
func (b *Bench) remove(d *delivery, now time.Time) {
	for i, other := range b.waiting {
		if other == d {
			b.waiting = append(b.waiting[:i], b.waiting[i+1:]...)
			break
		}
	}
	if d.name.key != "" {
		b.taken[d.name] = now.Add(nameReuse)
	}
}

// backoff is the wait after a message's nth failure: it doubles from the least to the longest.
func backoff(r dispatch.Retry, failures int) time.Duration {
	wait := r.MinBackoff
	for i := 1; i < failures && wait < r.MaxBackoff; i++ {
		wait *= 2
	}
	return min(wait, r.MaxBackoff)
}
