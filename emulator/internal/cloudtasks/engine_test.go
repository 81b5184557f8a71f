package cloudtasks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

func TestRateBelowOneASecond(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(&cloudtaskspb.RateLimits{MaxDispatchesPerSecond: 0.5}, nil)
		for range 4 {
			b.create()
		}
		b.after(time.Minute)
		if diff := cmp.Diff([]time.Duration{0, 2 * time.Second, 4 * time.Second, 6 * time.Second}, b.times()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestRateCountsRetries(t *testing.T) {
	inBubble(t, answers(500, 500, 200), func(b *bench) {
		b.queue(&cloudtaskspb.RateLimits{MaxDispatchesPerSecond: 0.1}, &cloudtaskspb.RetryConfig{MinBackoff: durationpb.New(time.Second)})
		b.create()
		b.after(time.Minute)
		if diff := cmp.Diff([]time.Duration{0, 10 * time.Second, 20 * time.Second}, b.times()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestRateChangesWhileTasksWait(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(&cloudtaskspb.RateLimits{MaxDispatchesPerSecond: 0.01}, nil)
		b.create()
		b.create()
		b.after(time.Second)
		_, err := b.UpdateQueue(b.ctx, &cloudtaskspb.UpdateQueueRequest{Queue: &cloudtaskspb.Queue{Name: queueA, RateLimits: &cloudtaskspb.RateLimits{MaxDispatchesPerSecond: 1}}})
		b.must(err)
		b.after(time.Second)
		if got := len(b.got()); got != 2 {
			t.Errorf("%d deliveries a second after the change, want 2", got)
		}
	})
}

func TestConcurrencyLimit(t *testing.T) {
	var now, most atomic.Int32
	inBubble(t, func(context.Context, int, delivery) (*http.Response, error) {
		most.Store(max(most.Load(), now.Add(1)))
		time.Sleep(time.Second)
		now.Add(-1)
		return answer(200), nil
	}, func(b *bench) {
		b.queue(&cloudtaskspb.RateLimits{MaxConcurrentDispatches: 2}, nil)
		for range 5 {
			b.create()
		}
		b.after(time.Minute)
		want := []time.Duration{0, 0, time.Second, time.Second, 2 * time.Second}
		if diff := cmp.Diff(want, b.times()); diff != "" || most.Load() != 2 {
			t.Errorf("at most %d at once; times (-want +got):\n%s", most.Load(), diff)
		}
	})
}

func TestSchedulesAndTheirOrder(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(&cloudtaskspb.RateLimits{MaxConcurrentDispatches: 1}, nil)
		for _, task := range []struct {
			id string
			in time.Duration
		}{{"later", 2 * time.Hour}, {"past", -time.Hour}, {"soon", time.Second}, {"soon-too", time.Second}} {
			b.create(named(task.id), b.in(task.in))
		}
		b.after(3 * time.Second)
		b.clock.Advance(3 * time.Hour)
		synctest.Wait()
		var got []string
		for _, d := range b.got() {
			got = append(got, fmt.Sprint(d.header["X-CloudTasks-TaskName"][0], " ", d.at))
		}
		if diff := cmp.Diff([]string{"past 0s", "soon 1s", "soon-too 1s", "later 3h0m3s"}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestExhaustedTaskIsDeletedOnceBothLimitsAreReached(t *testing.T) {
	inBubble(t, answers(500), func(b *bench) {
		b.queue(nil, &cloudtaskspb.RetryConfig{MaxAttempts: 3, MinBackoff: durationpb.New(time.Second), MaxBackoff: durationpb.New(time.Second)})
		byAttempts := b.create().GetName()
		b.after(time.Hour)
		if got := len(b.got()); got != 3 || b.exists(byAttempts) {
			t.Errorf("%d attempts, exists: %v", got, b.exists(byAttempts))
		}
		both := b.create(func(t *cloudtaskspb.Task) {
			t.RetryConfig = &cloudtaskspb.RetryConfig{
				MaxAttempts: 3, MaxRetryDuration: durationpb.New(10 * time.Second),
				MinBackoff: durationpb.New(time.Second), MaxBackoff: durationpb.New(time.Second),
			}
		}).GetName()
		b.after(time.Hour)
		if got := len(b.got()) - 3; got != 11 || b.exists(both) {
			t.Errorf("%d attempts in ten seconds, exists: %v", got, b.exists(both))
		}
	})
}

func TestTasksEndAfter31Days(t *testing.T) {
	inBubble(t, answers(500), func(b *bench) {
		b.queue(nil, &cloudtaskspb.RetryConfig{MaxAttempts: -1, MinBackoff: durationpb.New(24 * time.Hour), MaxBackoff: durationpb.New(24 * time.Hour)})
		name := b.create().GetName()
		b.after(40 * 24 * time.Hour)
		if got := len(b.got()); got != 31 || b.exists(name) {
			t.Errorf("%d daily attempts, exists: %v", got, b.exists(name))
		}
	})
}

func TestPauseAndResume(t *testing.T) {
	inBubble(t, func(_ context.Context, n int, _ delivery) (*http.Response, error) {
		time.Sleep(10 * time.Second)
		return answer(200), nil
	}, func(b *bench) {
		b.queue(&cloudtaskspb.RateLimits{MaxConcurrentDispatches: 1}, nil)
		b.create(named("in-flight"))
		b.after(time.Second)
		paused, err := b.PauseQueue(b.ctx, &cloudtaskspb.PauseQueueRequest{Name: queueA})
		b.must(err)
		if paused.GetState() != cloudtaskspb.Queue_PAUSED {
			t.Errorf("state %v", paused.GetState())
		}
		b.create(named("while-paused"))
		b.after(time.Second)
		resumed, err := b.ResumeQueue(b.ctx, &cloudtaskspb.ResumeQueueRequest{Name: queueA})
		b.must(err)
		if resumed.GetState() != cloudtaskspb.Queue_RUNNING {
			t.Errorf("state %v", resumed.GetState())
		}
		b.after(time.Second)
		if got := len(b.got()); got != 1 {
			t.Errorf("%d deliveries: the one in flight must keep its slot", got)
		}
		b.after(time.Minute)
		if diff := cmp.Diff([]time.Duration{0, 10 * time.Second}, b.times()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestPauseHoldsRetriesAndSchedules(t *testing.T) {
	inBubble(t, answers(500, 200), func(b *bench) {
		b.queue(nil, &cloudtaskspb.RetryConfig{MinBackoff: durationpb.New(time.Second)})
		b.create()
		b.create(b.in(2 * time.Second))
		b.after(0)
		_, err := b.PauseQueue(b.ctx, &cloudtaskspb.PauseQueueRequest{Name: queueA})
		b.must(err)
		b.after(time.Hour)
		if got := len(b.got()); got != 1 {
			t.Errorf("%d deliveries from a paused queue", got-1)
		}
		_, err = b.ResumeQueue(b.ctx, &cloudtaskspb.ResumeQueueRequest{Name: queueA})
		b.must(err)
		b.after(0)
		if got := len(b.got()); got != 3 {
			t.Errorf("%d deliveries after resuming, want 3", got)
		}
	})
}

// The timer has fired and waits for the engine's lock when the purge comes first.
func TestPurgeWinsAgainstATimerThatHasFired(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(nil, nil)
		name := b.create(b.in(time.Hour)).GetName()
		b.Engine.mu.Lock()
		advanced := make(chan struct{})
		go func() {
			defer close(advanced)
			b.clock.Advance(time.Hour)
		}()
		for { // until the callback has left the clock's heap
			if _, waiting := b.clock.Next(); !waiting {
				break
			}
			runtime.Gosched()
		}
		b.queues[queueA].purge(b.clock.Now())
		b.Engine.mu.Unlock()
		<-advanced
		b.after(time.Hour)
		if len(b.got()) != 0 || b.exists(name) {
			t.Errorf("%d deliveries of a purged task, exists: %v", len(b.got()), b.exists(name))
		}
	})
}

func TestPurgeDeletesWhatWaitsForItsRateAndWhatIsInFlight(t *testing.T) {
	inBubble(t, func(context.Context, int, delivery) (*http.Response, error) {
		time.Sleep(time.Second)
		return answer(500), nil
	}, func(b *bench) {
		b.queue(&cloudtaskspb.RateLimits{MaxDispatchesPerSecond: 0.1}, nil)
		b.create()
		b.create()
		b.after(100 * time.Millisecond)
		q, err := b.PurgeQueue(b.ctx, &cloudtaskspb.PurgeQueueRequest{Name: queueA})
		b.must(err)
		if q.GetPurgeTime().AsTime().Sub(b.start) != 100*time.Millisecond {
			t.Errorf("purge time %v", q.GetPurgeTime().AsTime())
		}
		b.after(time.Hour)
		if got := len(b.got()); got != 1 {
			t.Errorf("%d deliveries, want only the one that was in flight", got)
		}
		b.create() // the queue goes on
		b.after(0)
		if got := len(b.got()); got != 2 {
			t.Errorf("%d deliveries after the purge, want 2", got)
		}
	})
}

func TestDeleteTask(t *testing.T) {
	inBubble(t, func(context.Context, int, delivery) (*http.Response, error) {
		time.Sleep(time.Second)
		return answer(500), nil
	}, func(b *bench) {
		b.queue(nil, nil)
		waiting, flying := b.create(named("waiting"), b.in(time.Minute)).GetName(), b.create(named("flying")).GetName()
		b.after(100 * time.Millisecond)
		for _, name := range []string{waiting, flying} {
			_, err := b.DeleteTask(b.ctx, &cloudtaskspb.DeleteTaskRequest{Name: name})
			b.must(err)
			_, err = b.DeleteTask(b.ctx, &cloudtaskspb.DeleteTaskRequest{Name: name})
			wantError(t, err, codes.NotFound, "The task no longer exists")
		}
		b.after(time.Hour)
		if got := len(b.got()); got != 1 {
			t.Errorf("%d deliveries, want only the one that was in flight", got)
		}
	})
}

func TestNamesAreTakenForAnHour(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(nil, nil)
		b.create(named("once"), b.in(time.Minute))
		_, err := b.tryCreate(named("once"))
		wantError(t, err, codes.AlreadyExists, "Requested entity already exists")
		b.after(time.Minute)
		_, err = b.tryCreate(named("once"))
		wantError(t, err, codes.AlreadyExists, "Requested entity already exists")
		_, err = b.GetTask(b.ctx, &cloudtaskspb.GetTaskRequest{Name: queueA + "/tasks/once"})
		wantError(t, err, codes.NotFound, "The task no longer exists, though a task with this name existed recently.")
		b.after(time.Hour - time.Nanosecond)
		_, err = b.tryCreate(named("once"))
		wantError(t, err, codes.AlreadyExists, "")
		b.after(time.Nanosecond)
		b.create(named("once"))
		b.after(0)
		if got := len(b.got()); got != 2 {
			t.Errorf("%d deliveries, want 2", got)
		}
	})
}

func TestOneOfManyWithTheSameNameIsCreated(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(nil, nil)
		var created atomic.Int32
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				_, err := b.tryCreate(named("same"))
				if err == nil {
					created.Add(1)
				} else if status.Code(err) != codes.AlreadyExists {
					t.Error(err)
				}
			})
		}
		all.Wait()
		b.after(time.Minute)
		if created.Load() != 1 || len(b.got()) != 1 {
			t.Errorf("%d created, %d delivered", created.Load(), len(b.got()))
		}
	})
}

func TestRetryAfterQuietensTheQueue(t *testing.T) {
	inBubble(t, func(_ context.Context, n int, _ delivery) (*http.Response, error) {
		r := answer([]int{503, 200, 200}[n])
		r.Header.Set("Retry-After", "60")
		return r, nil
	}, func(b *bench) {
		b.queue(nil, nil)
		b.create()
		b.after(time.Second)
		b.create()
		b.after(time.Hour)
		if diff := cmp.Diff([]time.Duration{0, time.Minute, time.Minute}, b.times()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestRefusedLoadHalvesTheRateAndOtherAnswersRaiseIt(t *testing.T) {
	q := newQueue(mustComplete(t, &cloudtaskspb.Queue{RateLimits: &cloudtaskspb.RateLimits{MaxDispatchesPerSecond: 8}}), journal{}, time.Now())
	rate := func() time.Duration { return q.bucket.interval }
	for i, step := range []struct {
		status int
		want   time.Duration
	}{
		{500, time.Second / 8},
		{503, time.Second / 4},
		{429, time.Second / 2},
		{429, time.Second},
		{429, time.Second}, // no slower than one a second
		{200, time.Second / 2},
		{404, time.Second / 4},
		{200, time.Second / 8},
		{200, time.Second / 8},
	} {
		q.heed(result{status: step.status, answered: true}, time.Now())
		if rate() != step.want {
			t.Errorf("answer %d, %d: one per %v, want %v", i, step.status, rate(), step.want)
		}
	}
	q.heed(result{status: 503, answered: true}, time.Now())
	q.setState(cloudtaskspb.Queue_PAUSED, time.Now())
	if rate() != time.Second/4 {
		t.Errorf("pausing made it one per %v", rate())
	}
	q.heed(result{status: 200, answered: true}, time.Now())
	q.heed(result{status: 503}, time.Now())
	if rate() != time.Second/8 {
		t.Error("a receiver that cannot be reached does not refuse load")
	}
}

func mustComplete(t *testing.T, q *cloudtaskspb.Queue) *cloudtaskspb.Queue {
	t.Helper()
	q, err := complete(q)
	if err != nil {
		t.Fatal(err)
	}
	q.State = cloudtaskspb.Queue_RUNNING
	return q
}

func TestTheTaskExistsBeforeItIsSent(t *testing.T) {
	var b *bench
	inBubble(t, func(ctx context.Context, _ int, d delivery) (*http.Response, error) {
		if !b.exists(queueA + "/tasks/" + d.header["X-CloudTasks-TaskName"][0]) {
			t.Error("delivered before it existed")
		}
		return answer(200), nil
	}, func(running *bench) {
		b = running
		b.queue(nil, nil)
		for range 20 {
			b.create()
		}
		b.after(time.Second)
		if len(b.got()) != 20 {
			t.Errorf("%d deliveries", len(b.got()))
		}
	})
}

func TestResponsesAreCopies(t *testing.T) {
	inBubble(t, answers(500), func(b *bench) {
		b.queue(nil, &cloudtaskspb.RetryConfig{MinBackoff: durationpb.New(time.Hour)})
		sent := newTask(named("t"), request(func(r *cloudtaskspb.HttpRequest) {
			r.Headers = map[string]string{"A": "1"}
			r.AuthorizationHeader = &cloudtaskspb.HttpRequest_OidcToken{OidcToken: &cloudtaskspb.OidcToken{ServiceAccountEmail: "a@b.test"}}
		}))
		created, err := b.CreateTask(b.ctx, &cloudtaskspb.CreateTaskRequest{Parent: queueA, Task: sent, ResponseView: cloudtaskspb.Task_FULL})
		b.must(err)
		b.after(time.Second)
		for _, spoilt := range []*cloudtaskspb.Task{sent, created} {
			spoilt.GetHttpRequest().Headers["A"] = "spoilt"
			spoilt.GetHttpRequest().Body[0] = 'X'
		}
		created.ScheduleTime.Seconds = 0
		got, err := b.GetTask(b.ctx, &cloudtaskspb.GetTaskRequest{Name: queueA + "/tasks/t", ResponseView: cloudtaskspb.Task_FULL})
		b.must(err)
		if diff := cmp.Diff(map[string]string{"A": "1", "User-Agent": "Google-Cloud-Tasks"}, got.GetHttpRequest().GetHeaders()); diff != "" || string(got.GetHttpRequest().GetBody()) != "hello" || got.GetScheduleTime().GetSeconds() == 0 {
			t.Errorf("%v", got)
		}
		basic, err := b.GetTask(b.ctx, &cloudtaskspb.GetTaskRequest{Name: queueA + "/tasks/t"})
		b.must(err)
		if basic.GetHttpRequest().GetBody() != nil || basic.GetView() != cloudtaskspb.Task_BASIC {
			t.Errorf("BASIC view: %v", basic)
		}
	})
}

func TestResetBreaksOffWhatIsInFlight(t *testing.T) {
	inBubble(t, hang, func(b *bench) {
		b.queue(nil, nil)
		b.create()
		b.create(b.in(time.Hour))
		b.after(time.Second)
		b.Reset()
		if _, err := b.GetQueue(b.ctx, &cloudtaskspb.GetQueueRequest{Name: queueA}); status.Code(err) != codes.NotFound {
			t.Errorf("the queue after Reset: %v", err)
		}
		if _, waiting := b.clock.Next(); waiting {
			t.Error("a timer is left")
		}
		b.queue(nil, nil)
		b.create()
		b.after(time.Second)
		if got := len(b.got()); got != 2 {
			t.Errorf("%d deliveries, want 2", got)
		}
	})
}

func TestCloseWaitsForWhatIsInFlight(t *testing.T) {
	inBubble(t, func(context.Context, int, delivery) (*http.Response, error) {
		time.Sleep(10 * time.Second)
		return answer(200), nil
	}, func(b *bench) {
		b.queue(nil, nil)
		name := b.create().GetName()
		b.create(b.in(time.Second))
		b.after(500 * time.Millisecond)
		b.must(b.Close(b.ctx))
		if got := time.Since(b.start); got != 10*time.Second || b.exists(name) {
			t.Errorf("closed after %v, task exists: %v", got, b.exists(name))
		}
		b.must(b.Close(b.ctx))
		b.after(time.Hour)
		if got := len(b.got()); got != 1 {
			t.Errorf("%d deliveries, want none after Close", got)
		}
	})
}

func TestCloseCutsOffWhenItsContextEnds(t *testing.T) {
	inBubble(t, hang, func(b *bench) {
		b.queue(nil, &cloudtaskspb.RetryConfig{MaxAttempts: 1}) // a failure would be its last
		name := b.create().GetName()
		b.after(time.Second)
		ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
		defer cancel()
		if err := b.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close: %v", err)
		}
		if got := time.Since(b.start); got != 6*time.Second || !b.exists(name) {
			t.Errorf("closed after %v; what was cut off must still be there: %v", got, b.exists(name))
		}
	})
}
