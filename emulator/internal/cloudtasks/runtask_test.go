package cloudtasks

import (
	"context"
	"net/http"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
)

func TestRunTaskTakesThePlaceOfTheFiring(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(&cloudtaskspb.RateLimits{MaxDispatchesPerSecond: 0.001}, nil)
		b.create() // takes the only token
		name := b.create(b.in(time.Hour)).GetName()
		_, err := b.PauseQueue(b.ctx, &cloudtaskspb.PauseQueueRequest{Name: queueA})
		b.must(err)
		task, err := b.RunTask(b.ctx, &cloudtaskspb.RunTaskRequest{Name: name})
		b.must(err)
		if task.GetDispatchCount() != 1 {
			t.Errorf("dispatch count %d", task.GetDispatchCount())
		}
		_, err = b.ResumeQueue(b.ctx, &cloudtaskspb.ResumeQueueRequest{Name: queueA})
		b.must(err)
		b.after(24 * time.Hour)
		if got := len(b.got()); got != 2 || b.exists(name) {
			t.Errorf("%d deliveries of two tasks, exists: %v", got, b.exists(name))
		}
		_, err = b.RunTask(b.ctx, &cloudtaskspb.RunTaskRequest{Name: name})
		wantError(t, err, codes.NotFound, "")
	})
}

func TestRunTaskThatFailsIsRetriedFromTheCall(t *testing.T) {
	inBubble(t, func(_ context.Context, n int, _ delivery) (*http.Response, error) {
		if n == 0 {
			time.Sleep(4 * time.Second)
			return answer(500), nil
		}
		return answer(200), nil
	}, func(b *bench) {
		b.queue(nil, &cloudtaskspb.RetryConfig{MinBackoff: durationpb.New(10 * time.Second)})
		name := b.create(b.in(time.Hour)).GetName()
		b.after(time.Second)
		_, err := b.RunTask(b.ctx, &cloudtaskspb.RunTaskRequest{Name: name})
		b.must(err)
		b.after(2 * time.Hour)
		if diff := cmp.Diff([]time.Duration{time.Second, 11 * time.Second}, b.times()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// RunTask runs a task that is running already; then the attempt that ends last decides.
func TestRunTaskWhileTheTaskIsInFlight(t *testing.T) {
	inBubble(t, func(_ context.Context, n int, _ delivery) (*http.Response, error) {
		time.Sleep([]time.Duration{5 * time.Second, time.Second, 0}[n])
		return answer([]int{500, 500, 200}[n]), nil
	}, func(b *bench) {
		b.queue(nil, &cloudtaskspb.RetryConfig{MinBackoff: durationpb.New(10 * time.Second)})
		name := b.create().GetName()
		b.after(time.Second)
		_, err := b.RunTask(b.ctx, &cloudtaskspb.RunTaskRequest{Name: name})
		b.must(err)
		b.after(time.Hour)
		if diff := cmp.Diff([]time.Duration{0, time.Second, 25 * time.Second}, b.times()); diff != "" {
			t.Errorf("two failures, the last at 5 s, then 20 s (-want +got):\n%s", diff)
		}
	})
}
