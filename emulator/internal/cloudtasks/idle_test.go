package cloudtasks

import (
	"fmt"
	"runtime"
	"runtime/metrics"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
)

// An emulator that waits does nothing: it has the goroutines of an empty one, however many queues and tasks it has,
// and no timer fires before something is due. A timer's callback runs on a goroutine that is made for it, so
// counting those that were ever made tells.
func TestIdleCostsNothing(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		synctest.Wait()
		empty := goroutines(0) // those of the tests before have their turns to end
		for q := range 1000 {
			name := queueNamed(fmt.Sprint(q))
			_, err := b.CreateQueue(b.ctx, &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{Name: name}})
			b.must(err)
			for i := range 10 {
				task := newTask(b.in(24*time.Hour + time.Duration(i*q)*time.Second))
				_, err := b.CreateTask(b.ctx, &cloudtaskspb.CreateTaskRequest{Parent: name, Task: task})
				b.must(err)
			}
		}
		synctest.Wait()
		if got := goroutines(empty); got != empty {
			t.Errorf("%d goroutines with 1,000 queues and 10,000 tasks, %d without", got, empty)
		}

		made := uint64(1)
		for range 3 { // the garbage collector makes goroutines too, but not in every hour
			runtime.GC()
			before := goroutinesMade()
			b.after(time.Hour)
			if made = goroutinesMade() - before; made == 0 {
				break
			}
		}
		if made > 0 {
			t.Errorf("%d goroutines were made in an hour in which nothing was due", made)
		}

		before := goroutinesMade()
		b.after(48 * time.Hour)
		if got, made := len(b.got()), goroutinesMade()-before; got != 10_000 || made < 10_000 {
			t.Errorf("then %d deliveries and %d goroutines: if the latter is small, this test sees nothing", got, made)
		}
		if got := goroutines(empty); got != empty {
			t.Errorf("%d goroutines after the deliveries, %d before", got, empty)
		}
	})
}

// goroutines is how many there are. If there are more than expected, it lets those end that are about to, the runtime's own
// among them; on a busy machine that takes many turns. The clock is of no use here: in a bubble it stands still.
func goroutines(expected int) (n int) {
	for range 1_000_000 {
		if n = runtime.NumGoroutine(); n <= expected {
			break
		}
		runtime.Gosched()
	}
	return n
}

// goroutinesMade is how many this process has started so far.
func goroutinesMade() uint64 {
	sample := []metrics.Sample{{Name: "/sched/goroutines-created:goroutines"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
