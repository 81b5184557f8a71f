package cloudtasks

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

var modelSeed = flag.Uint64("seed", 0, "let TestModel run this seed alone")

// TestModel does at random what clients and receivers do, and compares the engine with the specification after each
// step: what was delivered, when to the nanosecond and with which counts, every answer, and every task that is left.
//
//	go test -run TestModel -seed 17 ./emulator/internal/cloudtasks
func TestModel(t *testing.T) {
	seeds := uint64(2000)
	if testing.Short() {
		seeds = 200
	}
	if *modelSeed != 0 {
		runModel(t, *modelSeed)
		return
	}
	var total modelCounts
	for seed := uint64(1); seed <= seeds && !t.Failed(); seed++ {
		total.add(runModel(t, seed))
	}
	t.Logf("%+v", total)
	if total.ties*100 > int(seeds) {
		t.Errorf("%d of %d seeds ended early, since two events came at the same instant", total.ties, seeds)
	}
	if perSeed := total.deliveries / int(seeds); perSeed < 20 {
		t.Errorf("%d deliveries a seed: the model does not try much", perSeed)
	}
}

// modelCounts are what a run has tried.
type modelCounts struct{ deliveries, retries, refused, runByHand, ties int }

func (c *modelCounts) add(other modelCounts) {
	c.deliveries += other.deliveries
	c.retries += other.retries
	c.refused += other.refused
	c.runByHand += other.runByHand
	c.ties += other.ties
}

// model drives an engine and its specification.
type model struct {
	*bench
	spec   *spec
	seed   uint64
	random *rand.Rand
	unit   time.Duration // what times are multiples of, roughly
	slept  time.Duration // of the wall clock
	number int           // of the next task
	seen   int           // deliveries that have been compared
	steps  []string
	counts modelCounts
}

func runModel(t *testing.T, seed uint64) (counts modelCounts) {
	t.Helper()
	inBubble(t, nil, func(b *bench) {
		m := &model{bench: b, seed: seed, random: rand.New(rand.NewPCG(seed, 4)), spec: &spec{queues: make(map[string]*specQueue)}}
		m.unit = []time.Duration{time.Millisecond, 100 * time.Millisecond, time.Second, time.Minute, 24 * time.Hour}[m.random.IntN(5)]
		m.spec.script = func(t *specTask, attempt int) outcome { return m.outcome(t.number, attempt) }
		b.receive = m.answer
		m.run()
		counts = m.counts
	})
	return counts
}

func (m *model) run() {
	for range 20 + m.random.IntN(60) {
		m.step()
		if m.spec.tie {
			m.counts.ties++
			return
		}
		m.compare()
	}
	for id := range m.spec.queues { // and let everything end
		m.pause(id, false)
	}
	for i := range 13 {
		m.pass(max(m.unit, time.Second) << i)
		if m.spec.tie {
			m.counts.ties++
			return
		}
		m.compare()
	}
}

// outcome is what the receiver does with an attempt: the same whenever it is asked. In the end everything succeeds.
func (m *model) outcome(number, attempt int) outcome {
	random := rand.New(rand.NewPCG(m.seed, uint64(number)<<20|uint64(attempt)))
	most := min(m.unit, 20*time.Second)
	o := outcome{status: 200}
	// The nanoseconds tell apart what would otherwise end at one instant.
	o.after = time.Duration(random.Int64N(int64(most))).Truncate(100*time.Microsecond) + time.Duration(1+number*200+attempt)
	if attempt > 12 {
		return o
	}
	switch random.IntN(20) {
	case 0:
		o.status = 0
	case 1:
		o.hangs = true
	case 2:
		o.unfinished = true
	case 3, 4:
		o.status, o.retryAfter = 429, 1+random.IntN(1+int(4*m.unit/time.Second))
	case 5:
		o.status, o.retryAfter = 503, 7200
	case 6, 7:
		o.status = 503
	case 8:
		o.status = 429
	case 9, 10, 11:
		o.status = []int{500, 501, 504, 599}[random.IntN(4)]
	case 12, 13:
		o.status = []int{301, 302, 400, 404, 499}[random.IntN(5)]
	case 14:
		o.status = []int{201, 204, 299}[random.IntN(3)]
	}
	return o
}

// answer is the receiver.
func (m *model) answer(ctx context.Context, _ int, d delivery) (*http.Response, error) {
	number, _ := strconv.Atoi(path.Base(d.url))
	o := m.outcome(number, header(d, "X-CloudTasks-TaskRetryCount"))
	if o.hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	select {
	case <-time.After(o.after):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if o.status == 0 {
		return nil, errors.New("connection refused")
	}
	r := answer(o.status)
	if o.retryAfter > 0 {
		r.Header.Set("Retry-After", strconv.Itoa(o.retryAfter))
	}
	if o.unfinished {
		r.Body = io.NopCloser(readerFunc(func([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }))
	}
	return r, nil
}

func header(d delivery, name string) int {
	if len(d.header[name]) == 0 {
		return 0
	}
	n, err := strconv.Atoi(d.header[name][0])
	if err != nil {
		return -1
	}
	return n
}

// pass lets time go by on both sides.
func (m *model) pass(d time.Duration) {
	m.after(d)
	m.slept += d
	m.spec.pass(m.clock.Now().Sub(m.start))
}

func (m *model) step() {
	if m.random.IntN(3) > 0 {
		m.pass(time.Duration(m.random.Int64N(int64(m.unit))))
	}
	id := []string{"a", "b"}[m.random.IntN(2)]
	if m.spec.queues[id] == nil && m.random.IntN(4) > 0 {
		m.createQueue(id)
	}
	switch m.random.IntN(30) {
	case 0:
		m.pause(id, true)
	case 1, 2:
		m.pause(id, false)
	case 3:
		m.purge(id)
	case 4:
		m.deleteQueue(id)
	case 5:
		m.createQueue(id)
	case 6:
		m.updateQueue(id)
	case 7, 8, 9:
		m.runTask(id)
	case 10, 11:
		m.deleteTask(id)
	case 12:
		d := time.Duration(m.random.Int64N(int64(3 * m.unit)))
		m.say("advance by %v", d)
		m.clock.Advance(d)
		synctest.Wait()
		m.spec.skip(d)
	default:
		for range 1 + m.random.IntN(3) {
			m.createTask(id)
		}
	}
	synctest.Wait()
}

func (m *model) say(format string, args ...any) {
	m.steps = append(m.steps, fmt.Sprintf("%v: ", m.spec.now)+fmt.Sprintf(format, args...))
}

func (m *model) fail(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("seed %d, after\n\t%s\n%s\nreplay it by: go test -run TestModel -seed %d ./emulator/internal/cloudtasks",
		m.seed, strings.Join(m.steps, "\n\t"), fmt.Sprintf(format, args...), m.seed)
}

// expect compares an answer's code with the specification's.
func (m *model) expect(err error, want codes.Code) {
	m.t.Helper()
	if got := status.Code(err); got != want {
		m.fail("the answer is %v, want %v", err, want)
	}
}

func queueNamed(id string) string { return location + "/queues/" + id }

// limits makes up a queue's rates and retries, for both sides.
func (m *model) limits(id string) (*cloudtaskspb.Queue, float64, int, specRetry) {
	rates := []float64{0.1, 0.25, 0.5, 0.7, 1, 1.5, 2, 2.5, 3, 7, 10, 33.3, 100, 500, 500 * m.random.Float64()}
	rate := rates[m.random.IntN(len(rates))]
	if m.unit >= time.Minute && m.random.IntN(2) == 0 {
		rate /= 1000
	}
	limit := []int{1, 1, 2, 3, 10, 1000}[m.random.IntN(6)]
	config, retry := m.retry()
	return &cloudtaskspb.Queue{
		Name:        queueNamed(id),
		RateLimits:  &cloudtaskspb.RateLimits{MaxDispatchesPerSecond: rate, MaxConcurrentDispatches: int32(limit)},
		RetryConfig: config,
	}, rate, limit, retry
}

// retry makes up a retry configuration, for both sides.
func (m *model) retry() (*cloudtaskspb.RetryConfig, specRetry) {
	r := specRetry{
		attempts:  []int{-1, 1, 2, 3, 5, 100}[m.random.IntN(6)],
		least:     time.Duration(m.random.Int64N(int64(m.unit))),
		doublings: 1 + m.random.IntN(5),
	}
	var duration time.Duration
	if m.random.IntN(2) == 0 {
		duration = time.Duration(m.random.Int64N(int64(5 * max(m.unit, time.Second))))
		r.duration = duration.Truncate(time.Second) // "max_retry_duration will be truncated to the nearest second"
	}
	if m.random.IntN(8) == 0 {
		r.least = 0
	}
	r.most = r.least + time.Duration(m.random.Int64N(int64(5*m.unit)))
	return &cloudtaskspb.RetryConfig{
		MaxAttempts:      int32(r.attempts),
		MaxRetryDuration: durationpb.New(duration),
		MinBackoff:       durationpb.New(r.least),
		MaxBackoff:       durationpb.New(r.most),
		MaxDoublings:     int32(r.doublings),
	}, r
}

func (m *model) createQueue(id string) {
	config, rate, limit, retry := m.limits(id)
	m.say("create queue %s: %v/s, %d at once, %+v", id, rate, limit, retry)
	_, err := m.CreateQueue(m.ctx, &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: config})
	if m.spec.queues[id] != nil {
		m.expect(err, codes.AlreadyExists)
		return
	}
	m.expect(err, codes.OK)
	m.spec.queues[id] = newSpecQueue(id, m.spec.now, rate, limit, retry)
}

func (m *model) updateQueue(id string) {
	if m.spec.queues[id] == nil {
		return
	}
	config, rate, limit, retry := m.limits(id)
	m.say("update queue %s: %v/s, %d at once, %+v", id, rate, limit, retry)
	_, err := m.UpdateQueue(m.ctx, &cloudtaskspb.UpdateQueueRequest{Queue: config})
	m.expect(err, codes.OK)
	m.spec.queues[id].configure(m.spec.now, rate, limit, retry)
	m.spec.settle()
}

// known tells whether there is such a queue, and the code that a call gets.
func (m *model) known(id string) (*specQueue, codes.Code) {
	if q := m.spec.queues[id]; q != nil {
		return q, codes.OK
	}
	return nil, codes.NotFound
}

func (m *model) pause(id string, paused bool) {
	m.say("pause queue %s: %v", id, paused)
	q, code := m.known(id)
	var err error
	if paused {
		_, err = m.PauseQueue(m.ctx, &cloudtaskspb.PauseQueueRequest{Name: queueNamed(id)})
	} else {
		_, err = m.ResumeQueue(m.ctx, &cloudtaskspb.ResumeQueueRequest{Name: queueNamed(id)})
	}
	m.expect(err, code)
	if q != nil {
		q.paused = paused
		m.spec.settle()
	}
}

func (m *model) purge(id string) {
	m.say("purge queue %s", id)
	_, err := m.PurgeQueue(m.ctx, &cloudtaskspb.PurgeQueueRequest{Name: queueNamed(id)})
	q, code := m.known(id)
	m.expect(err, code)
	if q != nil {
		for len(q.tasks) > 0 {
			q.remove(q.tasks[0], m.spec.now)
		}
		q.purged = m.spec.now.Truncate(time.Microsecond)
	}
}

func (m *model) deleteQueue(id string) {
	m.say("delete queue %s", id)
	_, err := m.DeleteQueue(m.ctx, &cloudtaskspb.DeleteQueueRequest{Name: queueNamed(id)})
	q, code := m.known(id)
	m.expect(err, code)
	if q != nil { // what is on the wire finds nothing to change
		q.tasks = nil
		delete(m.spec.queues, id)
	}
}

func (m *model) createTask(id string) {
	m.number++
	t := &specTask{number: m.number, created: m.spec.now.Truncate(time.Second), due: m.spec.now, generated: true}
	sent := newTask(target(fmt.Sprintf("http://mailer.test/%d", t.number)))
	if m.random.IntN(2) == 0 {
		t.id, t.generated = fmt.Sprint("n", m.random.IntN(10)), false
		sent.Name = queueNamed(id) + "/tasks/" + t.id
	}
	if m.random.IntN(2) == 0 {
		at := m.spec.now + time.Duration(m.random.Int64N(int64(4*m.unit))) - m.unit
		t.due = max(t.due, at)
		sent.ScheduleTime = timestamppb.New(m.start.Add(at))
	}
	t.due = t.due.Truncate(time.Microsecond)
	if m.random.IntN(3) == 0 {
		var own specRetry
		sent.RetryConfig, own = m.retry()
		t.retry = &own
	}
	t.deadline = 15*time.Second + time.Duration(m.random.IntN(20))*time.Second + time.Duration(t.number)*time.Millisecond
	sent.DispatchDeadline = durationpb.New(t.deadline)
	m.say("create task %d in %s: name %q, due %v, deadline %v, retry %+v", t.number, id, t.id, t.due, t.deadline, t.retry)

	created, err := m.CreateTask(m.ctx, &cloudtaskspb.CreateTaskRequest{Parent: queueNamed(id), Task: sent})
	q, code := m.known(id)
	if q != nil && q.isTaken(t.id, m.spec.now) {
		q, code = nil, codes.AlreadyExists
	}
	m.expect(err, code)
	if q == nil {
		m.counts.refused++
		return
	}
	t.id = path.Base(created.GetName())
	q.tasks = append(q.tasks, t)
	m.spec.settle()
}

// pick returns the id of a task in the queue, of one that was there, or of none.
func (m *model) pick(id string) string {
	if q := m.spec.queues[id]; q != nil && len(q.tasks) > 0 && m.random.IntN(5) > 0 {
		return q.tasks[m.random.IntN(len(q.tasks))].id
	}
	return fmt.Sprint("n", m.random.IntN(12))
}

func (m *model) deleteTask(id string) {
	task := m.pick(id)
	m.say("delete task %s in %s", task, id)
	_, err := m.DeleteTask(m.ctx, &cloudtaskspb.DeleteTaskRequest{Name: queueNamed(id) + "/tasks/" + task})
	if q, t := m.find(id, task, err); t != nil {
		q.remove(t, m.spec.now)
		m.spec.settle()
	}
}

func (m *model) runTask(id string) {
	task := m.pick(id)
	m.say("run task %s in %s", task, id)
	_, err := m.RunTask(m.ctx, &cloudtaskspb.RunTaskRequest{Name: queueNamed(id) + "/tasks/" + task})
	if q, t := m.find(id, task, err); t != nil {
		m.counts.runByHand++
		m.spec.dispatch(q, t, true)
		m.spec.settle()
	}
}

// find returns the task that a call was about, and checks the call's error.
func (m *model) find(id, task string, err error) (*specQueue, *specTask) {
	q := m.spec.queues[id]
	if q == nil || q.find(task) == nil {
		m.expect(err, codes.NotFound)
		return nil, nil
	}
	m.expect(err, codes.OK)
	return q, q.find(task)
}

// compare compares the deliveries since the last time, and what there is now.
func (m *model) compare() {
	m.t.Helper()
	var got []string
	for _, d := range m.got()[m.seen:] {
		var seconds, micros int64
		if _, err := fmt.Sscanf(d.header["X-CloudTasks-TaskETA"][0], "%d.%06d", &seconds, &micros); err != nil {
			m.fail("ETA %q: %v", d.header["X-CloudTasks-TaskETA"], err)
		}
		number, _ := strconv.Atoi(path.Base(d.url))
		got = append(got, record(d.at, d.header["X-CloudTasks-QueueName"][0], number, d.header["X-CloudTasks-TaskName"][0],
			header(d, "X-CloudTasks-TaskRetryCount"), header(d, "X-CloudTasks-TaskExecutionCount"), header(d, "X-CloudTasks-TaskPreviousResponse"),
			time.Unix(seconds, micros*1000).Sub(m.start)))
		if header(d, "X-CloudTasks-TaskRetryCount") > 0 {
			m.counts.retries++
		}
	}
	m.seen += len(got)
	m.counts.deliveries += len(got)
	want := m.spec.deliveries
	m.spec.deliveries = nil
	slices.Sort(got) // what comes at one instant may come in any order
	slices.Sort(want)
	if !slices.Equal(want, got) {
		m.fail("deliveries (-want +got):\n%s", cmp.Diff(want, got))
	}
	for id, q := range m.spec.queues {
		if want, got := m.wantState(q), m.gotState(id); !want.equal(got) {
			m.fail("queue %s (-want +got):\n%s", id, cmp.Diff(want, got))
		}
	}
}

// modelTask is what the API shows of a task.
type modelTask struct {
	ID                            string
	Due, First                    time.Duration
	Attempts, Responses           int
	LastDue, LastBegan, LastEnded time.Duration
	LastStatus                    string
}

type modelState struct {
	Paused bool
	Purged time.Duration
	Tasks  []modelTask
}

func (m *model) wantState(q *specQueue) modelState {
	s := modelState{Paused: q.paused, Purged: q.purged}
	for _, t := range q.tasks {
		shown := modelTask{ID: t.id, Due: t.due, First: -1, Attempts: t.attempts, Responses: t.responses, LastDue: -1, LastBegan: -1, LastEnded: -1}
		if t.last != nil {
			shown.First = t.first.Truncate(time.Microsecond)
			shown.LastDue, shown.LastBegan = t.last.due, t.last.began.Truncate(time.Microsecond)
			if t.last.ended {
				shown.LastEnded = t.last.ends.Truncate(time.Microsecond)
				shown.LastStatus = strconv.Itoa(t.last.outcome.counted())
			}
		}
		s.Tasks = append(s.Tasks, shown)
	}
	return sorted(s)
}

func (m *model) gotState(id string) modelState {
	q, err := m.GetQueue(m.ctx, &cloudtaskspb.GetQueueRequest{Name: queueNamed(id)})
	m.expect(err, codes.OK)
	list, err := m.ListTasks(m.ctx, &cloudtaskspb.ListTasksRequest{Parent: queueNamed(id)})
	m.expect(err, codes.OK)
	since := func(t *timestamppb.Timestamp) time.Duration {
		if t == nil {
			return -1
		}
		return t.AsTime().Sub(m.start)
	}
	s := modelState{Paused: q.GetState() == cloudtaskspb.Queue_PAUSED, Purged: since(q.GetPurgeTime())}
	for _, t := range list.GetTasks() {
		last := t.GetLastAttempt()
		message := last.GetResponseStatus().GetMessage()
		s.Tasks = append(s.Tasks, modelTask{
			ID: path.Base(t.GetName()), Due: since(t.GetScheduleTime()), First: since(t.GetFirstAttempt().GetDispatchTime()),
			Attempts: int(t.GetDispatchCount()), Responses: int(t.GetResponseCount()),
			LastDue: since(last.GetScheduleTime()), LastBegan: since(last.GetDispatchTime()), LastEnded: since(last.GetResponseTime()),
			LastStatus: message[strings.LastIndexByte(message, ' ')+1:],
		})
	}
	return sorted(s)
}

func (s modelState) equal(other modelState) bool {
	return s.Paused == other.Paused && s.Purged == other.Purged && slices.Equal(s.Tasks, other.Tasks)
}

func sorted(s modelState) modelState {
	slices.SortFunc(s.Tasks, func(a, b modelTask) int { return strings.Compare(a.ID, b.ID) })
	return s
}
