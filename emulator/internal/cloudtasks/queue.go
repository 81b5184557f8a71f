package cloudtasks

import (
	"container/heap"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"cloud.google.com/go/iam/apiv1/iampb"
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
	store    Store
	tasks    map[string]*task
	waiting  taskHeap
	finished tombstones
	bucket   bucket
	inFlight int
	seq      uint64

	quietUntil time.Time // a receiver's Retry-After
	slowness   int       // how many times the rate is halved

	policy *iampb.Policy    // kept for those who ask; nil: none was set
	timer  *clock.Timer     // the engine's
	log    *deliverylog.Log // the engine's
}

func newQueue(config *cloudtaskspb.Queue, store Store, now time.Time) *queue {
	q := &queue{store: store, tasks: make(map[string]*task), bucket: bucket{full: now}}
	q.configure(config, now)
	return q
}

// configure takes a complete configuration, which the caller must not change afterwards.
func (q *queue) configure(config *cloudtaskspb.Queue, now time.Time) {
	q.config = config
	q.retry = policyOf(config.GetRetryConfig())
	q.bucket.setRate(slowed(config.GetRateLimits().GetMaxDispatchesPerSecond(), q.slowness), now)
	q.store.PutQueue(config)
}

func (q *queue) setState(state cloudtaskspb.Queue_State, now time.Time) {
	config := proto.CloneOf(q.config)
	config.State = state
	q.configure(config, now)
}

// taken tells whether the id is a task's or was lately.
func (q *queue) taken(id string, now time.Time) bool {
	_, exists := q.tasks[id]
	return exists || q.finished.has(id, now)
}

// add takes a complete task, which the caller must not change afterwards.
func (q *queue) add(id string, generated bool, spec *cloudtaskspb.Task) *task {
	q.seq++
	t := &task{
		TaskRecord: TaskRecord{Spec: spec, Schedule: spec.GetScheduleTime().AsTime()},
		id:         id,
		generated:  generated,
		seq:        q.seq,
		index:      -1,
	}
	q.tasks[id] = t
	heap.Push(&q.waiting, t)
	q.store.PutTask(t.TaskRecord)
	return t
}

// remove ends a task. An attempt in flight goes on and finds nothing to change.
func (q *queue) remove(t *task, now time.Time) {
	delete(q.tasks, t.id)
	if t.index >= 0 {
		heap.Remove(&q.waiting, t.index)
	}
	var reusable time.Time
	if !t.generated {
		reusable = q.finished.add(t.id, now)
	}
	q.store.DeleteTask(t.Spec.GetName(), reusable)
}

// purge removes every task.
func (q *queue) purge(now time.Time) {
	for _, t := range q.tasks {
		q.remove(t, now)
	}
	config := proto.CloneOf(q.config)
	config.PurgeTime = timestamppb.New(now.Truncate(time.Microsecond))
	q.config = config
	q.store.PutQueue(config)
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
		if now.Sub(t.Spec.GetCreateTime().AsTime()) >= retention {
			q.remove(t, now)
			continue
		}
		q.bucket.take(now)
		return q.begin(t, time.Time{}, now), time.Time{}
	}
	return nil, time.Time{}
}

// run starts an attempt now, whatever the queue's state and limits. It takes the place of the
// firing that the task waits for.
func (q *queue) run(t *task, now time.Time) *attempt { return q.begin(t, now, now) }

func (q *queue) begin(t *task, forced, now time.Time) *attempt {
	if t.index >= 0 {
		heap.Remove(&q.waiting, t.index)
	}
	a := &attempt{
		task:       t,
		spec:       t.Spec,
		schedule:   t.Schedule,
		retries:    t.Dispatches,
		executions: t.Executions,
		previous:   t.Previous,
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
	if q.tasks[t.id] != t {
		return // deleted or purged meanwhile
	}
	if t.Last == a.record {
		ended := *a.record // a copy, since the store may still hold the first
		ended.Response, ended.Status = now, r.status
		t.Last = &ended
	}
	t.Previous = r.status
	if r.answered {
		t.Responses++
		if r.status < 500 {
			t.Executions++
		}
	}
	if r.ok() {
		q.remove(t, now)
		return
	}
	t.Failures++
	retry := q.retry
	if own := t.Spec.GetRetryConfig(); own != nil {
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
	q.store.PutTask(t.TaskRecord)
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
