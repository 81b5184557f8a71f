package emulator

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"waybill.dev/emulator/internal/faults"
)

// Fault says which deliveries go wrong, and how. Use [Emulator.AddFault].
//
// It applies to the deliveries of a queue or of a push subscription, to those whose target URL begins with a prefix, or,
// when none of these is set, to all. It makes them late, and at most one of three things more: an answer in the
// receiver's place, a lost connection, or a duplicate.
type Fault struct {
	// Queue and Subscription are names, full or short, as in mails. The resource needs not exist yet. At most one of
	// them; a short name is of the Emulator's project and location.
	Queue, Subscription string

	// URL is what the target begins with, as in http://127.0.0.1:8080/send. Without a path it means the whole origin.
	URL string

	// Latency is waited before the request is sent, on the wall clock: the deadline of the delivery, which started
	// before, may end it. If MaxLatency is above Latency, it is a random time between the two.
	Latency, MaxLatency time.Duration

	// Status is answered, and the receiver sees nothing: 200 to 599. RetryAfter, in whole seconds, goes with it.
	Status     int
	RetryAfter time.Duration

	// Drop loses the connection.
	Drop Drop

	// Duplicate delivers twice: the same request again, once the receiver has answered. The first answer counts.
	Duplicate bool

	// Times is how many deliveries the Fault acts on before it is gone. Default: 0, until it is removed.
	Times int

	// Probability that it acts on a delivery, above 0 and at most 1. Default: 1. Seed decides what is left to chance,
	// latencies included: with the same seed the same deliveries, in the same order, go wrong.
	Probability float64
	Seed        uint64
}

// Drop says at which moment a delivery's connection is lost.
type Drop int

const (
	// DropNothing leaves the connection alone.
	DropNothing = Drop(faults.DropNothing)

	// DropRequest loses it before the request is sent: the receiver sees nothing.
	DropRequest = Drop(faults.DropRequest)

	// DropAnswer loses it after the receiver has answered. The delivery has failed and will be repeated, though the
	// receiver has done its work: the case for which receivers must be idempotent.
	DropAnswer = Drop(faults.DropAnswer)
)

// ActiveFault is a [Fault] that has been added. It is safe for concurrent use.
type ActiveFault struct{ active *faults.Active }

// AddFault makes deliveries go wrong from now on, until the Fault is used up, [ActiveFault.Remove],
// [Emulator.ClearFaults] or [Emulator.Reset].
//
// At most one fault acts on a delivery: the oldest of those that apply. So several with Times follow each other, as in
// two answers of 503 and then a lost connection. It fails when the Fault is wrong, reporting every problem.
func (e *Emulator) AddFault(f Fault) (*ActiveFault, error) {
	if err := f.validate(); err != nil {
		return nil, err
	}
	return &ActiveFault{e.faults.Add(faults.Rule{
		Source:      e.config.queueName(f.Queue) + e.config.subscriptionName(f.Subscription), // at most one of them
		URLPrefix:   f.URL,
		Latency:     f.Latency,
		MaxLatency:  f.MaxLatency,
		Status:      f.Status,
		RetryAfter:  f.RetryAfter,
		Drop:        faults.Drop(f.Drop),
		Duplicate:   f.Duplicate,
		Times:       f.Times,
		Probability: f.Probability,
		Seed:        f.Seed,
	})}, nil
}

// Faults returns those that are in force, oldest first.
func (e *Emulator) Faults() []*ActiveFault {
	var list []*ActiveFault
	for _, active := range e.faults.List() {
		list = append(list, &ActiveFault{active})
	}
	return list
}

// ClearFaults removes every fault. A delivery that waits for its latency goes on waiting.
func (e *Emulator) ClearFaults() { e.faults.Clear() }

// ID tells it from the Emulator's other faults, in the HTTP API.
func (f *ActiveFault) ID() string { return f.active.ID() }

// Hits is how many deliveries it has acted on. It can be asked also when the fault is gone.
func (f *ActiveFault) Hits() int { return f.active.Hits() }

// Remove ends it. A delivery that waits for its latency goes on waiting. It may be called twice.
func (f *ActiveFault) Remove() { f.active.Remove() }

// Fault is what was added, with full names.
func (f *ActiveFault) Fault() Fault {
	r := f.active.Rule()
	fault := Fault{
		URL:         r.URLPrefix,
		Latency:     r.Latency,
		MaxLatency:  r.MaxLatency,
		Status:      r.Status,
		RetryAfter:  r.RetryAfter,
		Drop:        Drop(r.Drop),
		Duplicate:   r.Duplicate,
		Times:       r.Times,
		Probability: r.Probability,
		Seed:        r.Seed,
	}
	if strings.Contains(r.Source, "/queues/") {
		fault.Queue = r.Source
	} else {
		fault.Subscription = r.Source
	}
	return fault
}

// maxFaultLatency is the longest deadline that a delivery has: of a task, 30 minutes.
const maxFaultLatency = 30 * time.Minute

// validate reports every problem at once.
func (f Fault) validate() error {
	var problems []error
	add := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("emulator: "+format, args...))
	}

	if f.Queue != "" && f.Subscription != "" {
		add("Fault.Queue and Fault.Subscription exclude each other: add two faults")
	}
	if strings.Contains(f.Queue, "/") && !isName(f.Queue, queueForm) {
		add("Fault.Queue %q is not a queue: use its id, or projects/P/locations/L/queues/Q", f.Queue)
	}
	if strings.Contains(f.Subscription, "/") && !isName(f.Subscription, subscriptionForm) {
		add("Fault.Subscription %q is not a subscription: use its id, or projects/P/subscriptions/S", f.Subscription)
	}
	if u, err := url.Parse(f.URL); f.URL != "" && (err != nil || u.Scheme == "" || u.Host == "") {
		add("Fault.URL is not the beginning of a URL: use a scheme and a host, as in http://127.0.0.1:8080")
	}
	if f.Latency < 0 || f.Latency > maxFaultLatency {
		add("Fault.Latency is %v: use at most %v", f.Latency, maxFaultLatency)
	}
	if f.MaxLatency != 0 && (f.MaxLatency < f.Latency || f.MaxLatency > maxFaultLatency) {
		add("Fault.MaxLatency is %v: use no less than Fault.Latency, and at most %v", f.MaxLatency, maxFaultLatency)
	}
	if f.Status != 0 && (f.Status < http.StatusOK || f.Status > 599) {
		add("Fault.Status is %d: use 200 to 599", f.Status)
	}
	if f.RetryAfter != 0 && f.Status == 0 || f.RetryAfter < 0 {
		add("Fault.RetryAfter is %v: it goes with Fault.Status, and is not negative", f.RetryAfter)
	}
	if f.Drop < DropNothing || f.Drop > DropAnswer {
		add("Fault.Drop is %d: use one of the named values", f.Drop)
	}
	switch n := count(f.Status != 0, f.Drop != DropNothing, f.Duplicate); {
	case n > 1:
		add("Fault.Status, Fault.Drop and Fault.Duplicate exclude each other: add one fault for each")
	case n == 0 && f.Latency == 0 && f.MaxLatency == 0:
		add("the Fault does nothing: set Latency, MaxLatency, Status, Drop or Duplicate")
	}
	if f.Times < 0 {
		add("Fault.Times is %d: use 0 for a fault that stays", f.Times)
	}
	if !(f.Probability >= 0 && f.Probability <= 1) { // NaN as well
		add("Fault.Probability is %v: use above 0, and at most 1", f.Probability)
	}
	return errors.Join(problems...)
}

func count(conditions ...bool) int {
	n := 0
	for _, c := range conditions {
		if c {
			n++
		}
	}
	return n
}
