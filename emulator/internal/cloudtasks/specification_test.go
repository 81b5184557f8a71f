package cloudtasks

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"time"
)

// The specification of queues once more, from the comments of Google's API and apart from the engine: as simple and
// as slow as possible. Tasks stand in a slice that is searched from its beginning, tokens are counted, and one event
// follows another. Times are since the beginning. A task is known by its number.

// specRetry is a RetryConfig.
type specRetry struct {
	attempts    int           // -1: no limit
	duration    time.Duration // 0: no limit
	least, most time.Duration
	doublings   int
}

// wait is the time after failure n: "a task's retry interval starts at min_backoff, then doubles max_doublings
// times, then increases linearly, and finally retries at intervals of max_backoff".
func (r specRetry) wait(n int) time.Duration {
	wait, step := r.least, r.least
	for i := 1; i < n && wait < r.most; i++ {
		if i <= r.doublings+1 {
			step = wait // the linear growth is by what the doubling has led to: 10, 20, 40, 80, 160, 240 s for three doublings
		}
		wait += step
	}
	return min(wait, r.most)
}

// over tells whether a task has had its last attempt.
func (r specRetry) over(attempts int, since time.Duration) bool {
	switch {
	case r.attempts == -1 && r.duration == 0:
		return false
	case r.attempts == -1:
		return since >= r.duration
	case r.duration == 0:
		return attempts >= r.attempts
	}
	return attempts >= r.attempts && since >= r.duration
}

type specTask struct {
	number    int
	id        string
	generated bool
	created   time.Duration // in whole seconds
	due       time.Duration // in whole microseconds
	deadline  time.Duration
	retry     *specRetry // its own; nil: the queue's

	attempts, responses, executions, failures int
	previous                                  int // status; 0: none
	first                                     time.Duration
	last                                      *specFlight // the attempt that began last
	flights                                   int
}

// specFlight is an attempt on the wire.
type specFlight struct {
	queue     *specQueue
	task      *specTask
	due       time.Duration // as the task was when it began
	began     time.Duration
	ends      time.Duration
	ended     bool
	outcome   outcome
	runByHand bool
}

// outcome is what a receiver does with an attempt.
type outcome struct {
	status     int           // 0: no answer
	hangs      bool          // until the deadline
	after      time.Duration // from the arrival
	retryAfter int           // seconds; 0: not said
	unfinished bool          // the answer's body breaks off
}

func (o outcome) answered() bool { return !o.hangs && o.status != 0 && !o.unfinished }

// counted is the status that an attempt gets: 504 for a deadline, 503 if there was no answer.
func (o outcome) counted() int {
	switch {
	case o.hangs:
		return 504
	case !o.answered():
		return 503
	}
	return o.status
}

type specQueue struct {
	id      string
	rate    float64
	limit   int
	retry   specRetry
	paused  bool
	purged  time.Duration // -1: never
	tasks   []*specTask
	taken   map[string]time.Duration // names of finished tasks, and when they are free again
	flights int
	quiet   time.Duration // no dispatch before
	halved  int           // how often the rate is halved

	interval, burst int64 // between two tokens, in ns; tokens when full
	level           int64 // tokens times interval: the time that filling them up took
	asOf            time.Duration
}

// spec is all queues, and the log of what was delivered.
type spec struct {
	now        time.Duration
	queues     map[string]*specQueue
	flights    []*specFlight
	script     func(task *specTask, attempt int) outcome
	deliveries []string
	tie        bool // two events at one instant, either of which may come first
}

func newSpecQueue(id string, now time.Duration, rate float64, limit int, retry specRetry) *specQueue {
	q := &specQueue{id: id, purged: -1, taken: make(map[string]time.Duration), asOf: now, quiet: now}
	q.configure(now, rate, limit, retry)
	q.level = q.burst * q.interval
	return q
}

func (q *specQueue) configure(now time.Duration, rate float64, limit int, retry specRetry) {
	q.rate, q.limit, q.retry = rate, limit, retry
	q.setRate(now)
}

// setRate follows the rate, or how often it is halved. What was missing in the bucket is still missing: so many
// tokens, but never more than there can be.
func (q *specQueue) setRate(now time.Duration) {
	q.refill(now)
	missing := q.burst*q.interval - q.level
	before := q.interval
	rate := q.rate
	for range q.halved {
		rate = max(rate/2, min(q.rate, 1))
	}
	exact := new(big.Rat).Quo(big.NewRat(int64(time.Second), 1), new(big.Rat).SetFloat64(rate))
	q.interval = ceil(exact)
	q.burst = max(1, int64(math.Ceil(rate)))
	if before > 0 {
		still := ceil(new(big.Rat).Mul(big.NewRat(missing, 1), big.NewRat(q.interval, before)))
		q.level = max(q.burst*q.interval-still, 0)
	}
}

func ceil(r *big.Rat) int64 {
	up := new(big.Int).Add(r.Num(), r.Denom())
	return up.Sub(up, big.NewInt(1)).Div(up, r.Denom()).Int64()
}

func (q *specQueue) refill(now time.Duration) {
	q.level = min(q.level+int64(now-q.asOf), q.burst*q.interval)
	q.asOf = now
}

// token is when there will be one.
func (q *specQueue) token(now time.Duration) time.Duration {
	q.refill(now)
	return now + time.Duration(max(q.interval-q.level, 0))
}

func (q *specQueue) find(id string) *specTask {
	for _, t := range q.tasks {
		if t.id == id {
			return t
		}
	}
	return nil
}

// isTaken tells whether a task has the name or had it within an hour.
func (q *specQueue) isTaken(id string, now time.Duration) bool {
	free, had := q.taken[id]
	return q.find(id) != nil || had && now < free
}

func (q *specQueue) remove(t *specTask, now time.Duration) {
	q.tasks = slices.DeleteFunc(q.tasks, func(other *specTask) bool { return other == t })
	if !t.generated {
		q.taken[t.id] = now + time.Hour
	}
}

// next is the task that comes next and when it may be dispatched; nil: none before something changes.
func (q *specQueue) next(now time.Duration) (*specTask, time.Duration) {
	if q.paused || q.flights >= q.limit {
		return nil, 0
	}
	var first *specTask
	for _, t := range q.tasks { // in the order of their creation
		if t.flights == 0 && (first == nil || t.due < first.due) {
			first = t
		}
	}
	if first == nil {
		return nil, 0
	}
	return first, max(first.due, q.quiet, q.token(now))
}

// settle dispatches what may be dispatched now.
func (s *spec) settle() {
	for _, q := range s.queues {
		for {
			t, at := q.next(s.now)
			if t == nil || at > s.now {
				break
			}
			if s.now-t.created >= 31*24*time.Hour {
				q.remove(t, s.now)
				continue
			}
			q.level -= q.interval
			s.dispatch(q, t, false)
		}
	}
}

func (s *spec) dispatch(q *specQueue, t *specTask, runByHand bool) {
	o := s.script(t, t.attempts)
	if !o.hangs && o.after >= t.deadline {
		o.hangs = true
	}
	f := &specFlight{queue: q, task: t, due: t.due, began: s.now, ends: s.now + o.after, outcome: o, runByHand: runByHand}
	if o.hangs {
		f.ends = s.now + t.deadline
	}
	s.flights = append(s.flights, f)
	s.deliveries = append(s.deliveries, record(s.now, q.id, t.number, t.id, t.attempts, t.executions, t.previous, t.due))
	q.flights++
	t.flights++
	if t.attempts == 0 {
		t.first = s.now
	}
	t.attempts++
	t.last = f
}

// record is a delivery as it arrives, by its headers.
func record(at time.Duration, queue string, number int, id string, retries, executions, previous int, due time.Duration) string {
	if retries == 0 {
		previous = 0
	}
	return fmt.Sprintf("%020d %s #%d %s retry=%d executions=%d previous=%d eta=%d", at, queue, number, id, retries, executions, previous, due.Microseconds())
}

// land ends an attempt.
func (s *spec) land(f *specFlight) {
	q, t, o := f.queue, f.task, f.outcome
	f.ended = true
	q.flights--
	t.flights--
	halved := q.halved
	switch refused := o.answered() && (o.status == 429 || o.status == 503); {
	case refused && o.retryAfter > 0:
		q.quiet = max(q.quiet, s.now+min(time.Duration(o.retryAfter)*time.Second, time.Hour))
	case refused && max(q.rate/math.Pow(2, float64(q.halved)), min(q.rate, 1)) > 1:
		q.halved++
	case o.answered() && !refused && q.halved > 0:
		q.halved--
	}
	if q.halved != halved {
		q.setRate(s.now)
	}
	if !slices.Contains(q.tasks, t) {
		return // deleted meanwhile
	}
	t.previous = o.counted()
	if o.answered() {
		t.responses++
		if o.status < 500 {
			t.executions++
		}
		if o.status >= 200 && o.status < 300 {
			q.remove(t, s.now)
			return
		}
	}
	t.failures++
	if t.flights > 0 {
		return // the attempt that ends last decides
	}
	retry := q.retry
	if t.retry != nil {
		retry = *t.retry
	}
	if retry.over(t.attempts, s.now-t.first) {
		q.remove(t, s.now)
		return
	}
	from := s.now
	if f.runByHand {
		from = f.began
	}
	t.due = (from + retry.wait(t.failures)).Truncate(time.Microsecond)
}

// pass lets time go by until then.
func (s *spec) pass(until time.Duration) {
	for {
		s.settle()
		landing, dispatch := until, until
		for _, f := range s.flights {
			landing = min(landing, f.ends)
		}
		for _, q := range s.queues {
			if t, at := q.next(s.now); t != nil {
				dispatch = min(dispatch, at)
			}
		}
		s.now = min(landing, dispatch)
		ended := 0
		for _, f := range slices.Clone(s.flights) {
			if f.ends == s.now {
				s.flights = slices.DeleteFunc(s.flights, func(other *specFlight) bool { return other == f })
				s.land(f)
				ended++
			}
		}
		s.tie = s.tie || ended > 1 || ended == 1 && dispatch == landing && landing < until
		if s.now == until {
			s.settle()
			return
		}
	}
}

// skip moves the clock, and not the time of what is on the wire.
func (s *spec) skip(d time.Duration) {
	for _, f := range s.flights {
		f.ends += d
	}
	s.now += d
	s.settle()
}
