package cloudtasks

import (
	"context"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// What stops a task: both limits, when both are set; the one that is set; neither.
func TestStopConditions(t *testing.T) {
	second := durationpb.New(time.Second)
	for _, c := range []struct {
		name     string
		attempts int32
		duration time.Duration
		want     int
	}{
		{"attempts alone", 3, 0, 3},
		{"duration alone", -1, 5 * time.Second, 6},
		{"attempts last", 9, 5 * time.Second, 9},
		{"duration last", 2, 5 * time.Second, 6},
		{"a duration below a second is truncated to none", -1, 999 * time.Millisecond, 61},
		{"neither", -1, 0, 61},
		{"the default", 0, 0, 61},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, answers(500), func(b *bench) {
				b.queue(nil, &cloudtaskspb.RetryConfig{MaxAttempts: c.attempts, MaxRetryDuration: durationpb.New(c.duration), MinBackoff: second, MaxBackoff: second})
				b.create()
				b.after(time.Minute)
				if got := len(b.got()); got != c.want {
					t.Errorf("%d attempts in a minute, want %d", got, c.want)
				}
			})
		})
	}
}

func TestTaskRetryConfigOverridesTheQueues(t *testing.T) {
	inBubble(t, answers(500), func(b *bench) {
		b.queue(nil, &cloudtaskspb.RetryConfig{MaxAttempts: 9, MinBackoff: durationpb.New(time.Second), MaxBackoff: durationpb.New(time.Second)})
		created := b.create(func(task *cloudtaskspb.Task) {
			task.RetryConfig = &cloudtaskspb.RetryConfig{MaxAttempts: 2, MinBackoff: durationpb.New(10 * time.Second), MaxDoublings: 3}
		})
		want := retryPolicy{maxAttempts: 2, minBackoff: 10 * time.Second, maxBackoff: time.Hour, maxDoublings: 3}
		if got := policyOf(created.GetRetryConfig()); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		b.after(time.Hour)
		if diff := cmp.Diff([]time.Duration{0, 10 * time.Second}, b.times()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func (b *bench) update(q *cloudtaskspb.Queue, paths ...string) {
	b.t.Helper()
	q.Name = queueA
	_, err := b.UpdateQueue(b.ctx, &cloudtaskspb.UpdateQueueRequest{Queue: q, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
	b.must(err)
}

// A change of the retry configuration is for the next failure, that of a task in flight included.
func TestRetryConfigChangesWhileATaskIsInFlight(t *testing.T) {
	inBubble(t, func(context.Context, int, delivery) (*http.Response, error) {
		time.Sleep(time.Second)
		return answer(500), nil
	}, func(b *bench) {
		b.queue(nil, &cloudtaskspb.RetryConfig{MaxAttempts: 3, MinBackoff: durationpb.New(time.Second)})
		b.create()
		b.after(500 * time.Millisecond)
		b.update(&cloudtaskspb.Queue{RetryConfig: &cloudtaskspb.RetryConfig{MaxAttempts: 2, MinBackoff: durationpb.New(time.Minute)}}, "retry_config")
		b.after(time.Hour)
		if diff := cmp.Diff([]time.Duration{0, 61 * time.Second}, b.times()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestConcurrencyChangesWhileTasksAreInFlight(t *testing.T) {
	inBubble(t, func(context.Context, int, delivery) (*http.Response, error) {
		time.Sleep(10 * time.Second)
		return answer(200), nil
	}, func(b *bench) {
		limit := func(n int32) *cloudtaskspb.Queue {
			return &cloudtaskspb.Queue{RateLimits: &cloudtaskspb.RateLimits{MaxConcurrentDispatches: n}}
		}
		b.queue(limit(1).RateLimits, nil)
		for range 7 {
			b.create()
		}
		b.after(time.Second)
		b.update(limit(3), "rate_limits.max_concurrent_dispatches") // two more at once
		b.after(time.Second)
		b.update(limit(1), "rate_limits.max_concurrent_dispatches") // those three end, then one at a time
		b.after(time.Hour)
		want := []time.Duration{0, time.Second, time.Second, 11 * time.Second, 21 * time.Second, 31 * time.Second, 41 * time.Second}
		if diff := cmp.Diff(want, b.times()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// A task that waits for its rate is not lost, and not early, when the queue is paused meanwhile.
func TestPauseWhileATaskWaitsForItsRate(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(&cloudtaskspb.RateLimits{MaxDispatchesPerSecond: 0.1}, nil)
		b.create()
		b.create()
		b.after(time.Second)
		for _, wait := range []time.Duration{time.Second, time.Second} {
			_, err := b.PauseQueue(b.ctx, &cloudtaskspb.PauseQueueRequest{Name: queueA})
			b.must(err)
			b.after(wait)
			_, err = b.ResumeQueue(b.ctx, &cloudtaskspb.ResumeQueueRequest{Name: queueA})
			b.must(err)
			b.after(wait)
		}
		b.after(time.Minute)
		if diff := cmp.Diff([]time.Duration{0, 10 * time.Second}, b.times()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// afterTheTimerFired calls do when the timer of a task has fired and waits for the engine's lock.
func (b *bench) afterTheTimerFired(d time.Duration, do func(q *queue)) {
	b.Engine.mu.Lock()
	advanced := make(chan struct{})
	go func() {
		defer close(advanced)
		b.clock.Advance(d)
	}()
	for { // until the callback has left the clock's heap
		if _, waiting := b.clock.Next(); !waiting {
			break
		}
		runtime.Gosched()
	}
	do(b.queues[queueA])
	b.Engine.mu.Unlock()
	<-advanced
}

func TestDeleteTaskWinsAgainstATimerThatHasFired(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(nil, nil)
		name := b.create(named("t"), b.in(time.Hour)).GetName()
		b.afterTheTimerFired(time.Hour, func(q *queue) {
			task, _ := q.tasks.Get("t")
			q.remove(task, b.clock.Now())
		})
		b.after(time.Hour)
		if len(b.got()) != 0 || b.exists(name) {
			t.Errorf("%d deliveries of a deleted task, exists: %v", len(b.got()), b.exists(name))
		}
	})
}

func TestRunTaskAgainstATimerThatHasFiredDeliversOnce(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(nil, nil)
		name := b.create(named("t"), b.in(time.Hour)).GetName()
		b.afterTheTimerFired(time.Hour, func(q *queue) {
			task, _ := q.tasks.Get("t")
			b.dispatch(q, q.run(task, b.clock.Now()))
		})
		b.after(time.Hour)
		if len(b.got()) != 1 || b.exists(name) {
			t.Errorf("%d deliveries, exists: %v", len(b.got()), b.exists(name))
		}
	})
}

// What is in flight when its queue is deleted has no effect on a new queue of that name.
func TestDeleteQueueWhileATaskIsInFlight(t *testing.T) {
	inBubble(t, func(context.Context, int, delivery) (*http.Response, error) {
		time.Sleep(time.Second)
		return answer(500), nil
	}, func(b *bench) {
		b.queue(&cloudtaskspb.RateLimits{MaxConcurrentDispatches: 1}, nil)
		b.create(named("t"))
		b.create(b.in(time.Hour))
		b.after(100 * time.Millisecond)
		_, err := b.DeleteQueue(b.ctx, &cloudtaskspb.DeleteQueueRequest{Name: queueA})
		b.must(err)
		b.queue(nil, &cloudtaskspb.RetryConfig{MaxAttempts: 1})
		b.create(named("t"))
		b.after(2 * time.Hour)
		if diff := cmp.Diff([]time.Duration{0, 100 * time.Millisecond}, b.times()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// Errors that do not refuse load, however many, leave the queue's rate alone: documented, see docs/emulator-cloud-tasks.md.
func TestErrorsDoNotSlowTheQueueDown(t *testing.T) {
	inBubble(t, answers(500), func(b *bench) {
		b.queue(&cloudtaskspb.RateLimits{MaxDispatchesPerSecond: 10}, &cloudtaskspb.RetryConfig{MinBackoff: durationpb.New(100 * time.Millisecond), MaxBackoff: durationpb.New(100 * time.Millisecond)})
		b.create()
		b.after(10 * time.Second)
		if got := len(b.got()); got != 100 && got != 101 {
			t.Errorf("%d attempts in ten seconds at ten a second", got)
		}
	})
}

func TestFollowRedirects(t *testing.T) {
	redirect := func(code int, to string) *http.Response {
		r := answer(code)
		r.Header.Set("Location", to)
		return r
	}
	inBubble(t, func(_ context.Context, n int, _ delivery) (*http.Response, error) {
		switch n {
		case 0:
			return redirect(307, "/other"), nil
		case 1:
			return redirect(308, "http://elsewhere.test/"), nil
		}
		return answer(200), nil
	}, func(b *bench) {
		b.config.FollowRedirects = true
		b.queue(nil, nil)
		name := b.create(request(func(r *cloudtaskspb.HttpRequest) {
			r.AuthorizationHeader = &cloudtaskspb.HttpRequest_OidcToken{OidcToken: &cloudtaskspb.OidcToken{ServiceAccountEmail: account}}
		})).GetName()
		b.after(time.Minute)
		var got []string
		for _, d := range b.got() {
			got = append(got, strings.Join([]string{d.method, d.url, d.body, d.header["X-CloudTasks-TaskRetryCount"][0], d.header.Get("Authorization")}, " "))
		}
		const token = "Bearer id-token(" + account + ",http://mailer.test/send)"
		want := []string{
			"POST http://mailer.test/send hello 0 " + token,
			"POST http://mailer.test/other hello 0 " + token,
			"POST http://elsewhere.test/ hello 0 ", // the token does not go to another host
		}
		if diff := cmp.Diff(want, got); diff != "" || b.exists(name) {
			t.Errorf("exists: %v (-want +got):\n%s", b.exists(name), diff)
		}
	})
}

// A circle of redirects ends, and is one failed attempt.
func TestRedirectsInACircle(t *testing.T) {
	inBubble(t, func(_ context.Context, n int, _ delivery) (*http.Response, error) {
		r := answer(307)
		r.Header.Set("Location", "/send")
		return r, nil
	}, func(b *bench) {
		b.config.FollowRedirects = true
		b.queue(nil, &cloudtaskspb.RetryConfig{MaxAttempts: 1})
		b.create()
		b.after(time.Minute)
		if got := len(b.got()); got != 10 || !strings.Contains(b.log.String(), "stopped after 10 redirects") {
			t.Errorf("%d requests, log %s", got, b.log)
		}
	})
}

func TestStrictTokens(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(nil, nil)
		task := func(url, email string) error {
			_, err := b.tryCreate(b.in(time.Hour), target(url), request(func(r *cloudtaskspb.HttpRequest) {
				r.AuthorizationHeader = &cloudtaskspb.HttpRequest_OauthToken{OauthToken: &cloudtaskspb.OAuthToken{ServiceAccountEmail: email, Scope: "https://www.googleapis.com/auth/pubsub"}}
			}))
			return err
		}
		b.must(task("http://mailer.test/", "login@other.iam.gserviceaccount.com")) // allowed on purpose
		b.config.StrictTokens = true
		err := task("http://mailer.test/", account)
		wantError(t, err, codes.InvalidArgument, "HttpRequest.url must start with 'https://' for tasks with an authorization header.")
		wantField(t, err, "task.http_request.url")
		err = task("https://mailer.test/", "login@other.iam.gserviceaccount.com")
		wantError(t, err, codes.InvalidArgument, "The service account must be within the queue's project shop.")
		wantField(t, err, "task.http_request.oauth_token.service_account_email")
		b.must(task("https://mailer.test/", account))
		b.must(task("https://mailer.test/", "123-compute@developer.gserviceaccount.com")) // whose project nobody can tell
		for _, email := range []string{"", "login", "@a.test", "a@", "a b@c.test", "a@b@c.test", "a@b/c"} {
			wantError(t, task("https://mailer.test/", email), codes.InvalidArgument, "The service account must be an email address")
		}
	})
}

func TestTaskTombstone(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.config.TaskTombstone = 24 * time.Hour
		b.queue(nil, nil)
		b.create(named("once"))
		b.after(24*time.Hour - time.Nanosecond)
		_, err := b.tryCreate(named("once"))
		wantError(t, err, codes.AlreadyExists, "Requested entity already exists")
		b.after(time.Nanosecond)
		b.create(named("once"))
	})
}
