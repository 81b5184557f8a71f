package dispatch_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"waybill.dev/dispatch"
)

// A route with more than one queue's rate: deploy creates all of its queues, each message goes into one of them by its key, and
// a second one with the same key is still dropped there.
func TestARateBeyondOneQueueStillDeduplicates(t *testing.T) {
	app := dispatch.NewApp("shop")
	from, to := app.Service("login"), app.Service("mailer")
	task := dispatch.NewTask[welcome](to, "fast", dispatch.From(from), dispatch.Rate{PerSecond: 1200, Concurrent: 90})
	w := newWorld(t, app)
	receiver, sender := w.open(to), w.open(from)
	got := make(chan string, 100)
	dispatch.Handle(receiver, task, func(_ context.Context, m welcome) error { got <- m.To; return nil })
	w.serve(to, receiver)
	queues := map[string]bool{}
	const messages = 20
	for i := range messages {
		key := dispatch.Key(fmt.Sprint("welcome:", i))
		first, err := dispatch.Send(t.Context(), sender, task, welcome{To: fmt.Sprint(i)}, key)
		if err != nil {
			t.Fatal(err)
		}
		second, err := dispatch.Send(t.Context(), sender, task, welcome{To: fmt.Sprint(i)}, key, dispatch.After(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if first.Duplicate || !second.Duplicate || first.Name != second.Name {
			t.Errorf("%s: %s, then %s", key, first, second)
		}
		_, queue, _ := strings.Cut(first.Name, "/queues/")
		queue, _, _ = strings.Cut(queue, "/tasks/")
		queues[queue] = true
	}
	for _, queue := range []string{"shop--fast", "shop--fast--2", "shop--fast--3"} {
		if !queues[queue] {
			t.Errorf("no message in %s", queue)
		}
	}
	if len(queues) != 3 {
		t.Errorf("queues %v", queues)
	}
	seen := map[string]bool{}
	for range messages {
		seen[receive(t, got, "a task")] = true
	}
	if len(seen) != messages {
		t.Errorf("%d of %d messages came", len(seen), messages)
	}
}

// Without a key a message's own ID spreads it.
func TestMessagesWithoutAKeyAreSpread(t *testing.T) {
	app := dispatch.NewApp("shop")
	from, to := app.Service("login"), app.Service("mailer")
	task := dispatch.NewTask[welcome](to, "fast", dispatch.From(from), dispatch.Rate{PerSecond: 1000})
	w := newCarrier(t, app)
	sender := w.open(from)
	count := map[string]int{}
	for range 100 {
		if _, err := dispatch.Send(t.Context(), sender, task, welcome{}); err != nil {
			t.Fatal(err)
		}
		count[w.task().Queue]++
	}
	if len(count) != 2 || count["projects/waybill-local/locations/us-central1/queues/shop--fast--2"] < 20 {
		t.Errorf("%v", count)
	}
}
