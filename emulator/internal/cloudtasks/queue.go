package cloudtasks

import (
	"container/heap"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/tidwall/btree"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waybill.dev/emulator/internal/clock"
	"waybill.dev/emulator/internal/deliverylog"
)

const (
	// retention is how long a task may live, dispatched or not.
	retention = 31 * 24 * time.Hour
	// nameReuse is how long the name of a finished task stays taken. The real service promises up
	// to a day; one hour is what nobody may rely on getting less of.
	nameReuse = time.Hour
	// maxQuiet bounds a receiver's Retry-After.
	maxQuiet = time.Hour
)

// queue is a queue and its tasks. It is told the time and does no I/O; the [Engine] guards it by its lock.
type queue struct {
	config   *cloudtaskspb.Queue // replaced, never changed
	retry    retryPolicy
	journal  journal
	tasks    btree.Map[string, *task] // by id; ordered, for ListTasks
	waiting  taskHeap
	finished tombstones
	bucket   bucket
	inFlight int
	seq      uint64

	quietUntil time.Time // a receiver's Retry-After
	slowness   int       // how many times the rate is halved

	timer *clock.Timer     // the engine's
	log   *deliverylog.Log // the engine's
}

// newQueue makes a queue of a complete configuration, which the caller puts into the journal, unless it is there.
func newQueue(config *cloudtaskspb.Queue, j journal, now time.Time) *queue {
	q := &queue{journal: j, bucket: bucket{full: now}}
	q.finished.forget = func(id string) { j.deleteTombstone(config.GetName(), id) }
	q.adopt(config, now)
	return q
}

// configure takes a complete configuration, which the caller must not change afterwards.
func (q *queue) configure(config *cloudtaskspb.Queue, now time.Time) {
	q.adopt(config, now)
	q.journal.putQueue(config)
}

// adopt is configure for what is in the journal already.
func (q *queue) adopt(config *cloudtaskspb.Queue, now time.Time) {
	q.config = config
	q.retry = policyOf(config.GetRetryConfig())
	q.bucket.setRate(slowed(config.GetRateLimits().GetMaxDispatchesPerSecond(), q.slowness), now)
}

func (q *queue) setState(state cloudtaskspb.Queue_State, now time.Time) {
	config := proto.CloneOf(q.config)
	config.State = state
	q.configure(config, now)
}

// taken tells whether the id is a task's or was lately.
func (q *queue) taken(id string, now time.Time) bool {
	_, exists := q.tasks.Get(id)
	return exists || q.finished.has(id, now)
}

// add takes a complete task, which the caller must not change afterwards.
func (q *queue) add(id string, generated bool, spec *cloudtaskspb.Task) *task {
	q.seq++
	t := &task{
		TaskRecord: newRecord(q.config.GetName(), id, spec),
		generated:  generated,
		seq:        q.seq,
		index:      -1,
	}
	q.tasks.Set(t.id, t)
	heap.Push(&q.waiting, t)
	q.journal.putTask(q.config.GetName(), t)
	return t
}

// remove ends a task. An attempt in flight goes on and finds nothing to change.
func (q *queue) remove(t *task, now time.Time) {
	q.forget(t, now)
	q.journal.deleteTask(q.config.GetName(), t)
}

// forget is remove without its last step.
func (q *queue) forget(t *task, now time.Time) {
	q.tasks.Delete(t.id)
	if t.index >= 0 {
		heap.Remove(&q.waiting, t.index)
	}
	if !t.generated {
		q.journal.putTombstone(q.config.GetName(), t.id, q.finished.add(t.id, now))
	}
}

// purge removes every task.
func (q *queue) purge(now time.Time) {
	for _, t := range q.tasks.Values() {
		q.forget(t, now)
	}
	q.journal.deleteTasks(q.config.GetName())
	config := proto.CloneOf(q.config)
	config.PurgeTime = timestamppb.New(now.Truncate(time.Microsecond))
	q.config = config
	q.journal.putQueue(config)
}

// next starts the next attempt, or says when to ask again; the zero time means not before
// something else has changed.
func (q *queue) next(now time.Time) (*attempt, time.Time) {
	limit := int(q.config.GetRateLimits().GetMaxConcurrentDispatches())
	for q.config.GetState() == cloudtaskspb.Queue_RUNNING && q.inFlight < limit && len(q.waiting) > 0 {
		t := q.waiting[0]
		if at := latest(t.Schedule, q.quietUntil, q.bucket.ready()); at.After(now) {
			return nil, at
		}
		spec := t.unpack()
		if now.Sub(spec.GetCreateTime().AsTime()) >= retention {
			q.remove(t, now)
			continue
		}
		q.bucket.take(now)
		return q.begin(t, spec, time.Time{}, now), time.Time{}
	}
	return nil, time.Time{}
}

// run starts an attempt now, whatever the queue's state and limits. It takes the place of the
// firing that the task waits for.
func (q *queue) run(t *task, now time.Time) *attempt { return q.begin(t, t.unpack(), now, now) }

func (q *queue) begin(t *task, spec *cloudtaskspb.Task, forced, now time.Time) *attempt {
	if t.index >= 0 {
		heap.Remove(&q.waiting, t.index)
	}
	a := &attempt{
		task:       t,
		spec:       spec,
		queue:      q.config,
		schedule:   t.Schedule,
		retries:    t.Dispatches,
		executions: t.Executions,
		previous:   int(t.Previous),
		record:     &AttemptRecord{Schedule: t.Schedule, Dispatch: now},
		forced:     forced,
	}
	q.inFlight++
	t.inFlight++
	t.Dispatches++
	t.Last = a.record
	if t.FirstDispatch.IsZero() {
		t.FirstDispatch = now
	}
	return a
}

// finish takes an attempt's result: the task is done, waits for its retry, or has had its last.
func (q *queue) finish(a *attempt, r result, now time.Time) {
	t := a.task
	q.inFlight--
	t.inFlight--
	q.heed(r, now)
	if kept, _ := q.tasks.Get(t.id); kept != t {
		return // deleted or purged meanwhile
	}
	if t.Last == a.record {
		ended := *a.record // a copy, since a response may still be made of the first
		ended.Response, ended.Status = now, r.status
		t.Last = &ended
	}
	t.Previous = int32(r.status)
	if r.answered {
		t.Responses++
	}
	if r.executed() {
		t.Executions++
	}
	if r.ok() {
		q.remove(t, now)
		return
	}
	t.Failures++
	retry := q.retry
	if own := a.spec.GetRetryConfig(); own != nil {
		retry = policyOf(own)
	}
	if t.inFlight == 0 { // else the attempt that ends last decides
		if retry.exhausted(t.Dispatches, now.Sub(t.FirstDispatch)) {
			q.remove(t, now)
			return
		}
		from := now
		if !a.forced.IsZero() {
			from = a.forced
		}
		t.Schedule = from.Add(retry.delay(t.Failures)).Truncate(time.Microsecond)
		heap.Push(&q.waiting, t)
	}
	q.journal.putAttempts(q.config.GetName(), t)
}

// heed lets an answer slow the queue down or speed it up again. A receiver that refuses load and says for
// how long gets that much quiet; one that does not say gets half the rate, down to one a second. Each other
// answer doubles the rate again, up to the configured one.
func (q *queue) heed(r result, now time.Time) {
	rate := q.config.GetRateLimits().GetMaxDispatchesPerSecond()
	slowness := q.slowness
	switch {
	case r.refusesLoad() && r.retryAfter > 0:
		q.quietUntil = latest(q.quietUntil, now.Add(min(r.retryAfter, maxQuiet)))
	case r.refusesLoad() && slowed(rate, slowness) > 1:
		slowness++
	case r.answered && !r.refusesLoad() && slowness > 0:
		slowness--
	}
	if slowness != q.slowness {
		q.slowness = slowness
		q.bucket.setRate(slowed(rate, slowness), now)
	}
}

// slowed halves a rate so many times, but not below one a second, unless it was lower to begin with.
func slowed(rate float64, times int) float64 {
	return max(rate/float64(int(1)<<times), min(rate, 1))
}

func latest(first time.Time, others ...time.Time) time.Time {
	for _, t := range others {
		if t.After(first) {
			first = t
		}
	}
	return first
}
