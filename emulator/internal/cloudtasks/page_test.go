package cloudtasks

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/protobuf/proto"
)

// fill adds tasks for later, past the checks of CreateTask.
func fill(tb testing.TB, b service, n int, size int) {
	tb.Helper()
	spec := newTask(request(func(r *cloudtaskspb.HttpRequest) { r.Body = make([]byte, size) }))
	spec.ScheduleTime = microseconds(b.config.Clock.Now().Add(time.Hour))
	spec.CreateTime = microseconds(b.config.Clock.Now())
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.queues[queueA]
	for i := range n {
		id := fmt.Sprintf("t%07d", (i*7919)%n) // not in order
		s := proto.CloneOf(spec)
		s.Name = queueA + "/tasks/" + id
		q.add(id, false, s)
	}
}

func TestListTasksPagesThroughAll(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(nil, nil)
		const n = 2500
		fill(t, b.service, n, 10)
		last, seen, pages := "", 0, 0
		for token := ""; pages < 5; pages++ {
			r, err := b.ListTasks(b.ctx, &cloudtaskspb.ListTasksRequest{Parent: queueA, PageToken: token, PageSize: math.MaxInt32})
			b.must(err)
			if len(r.GetTasks()) > maxTaskPage {
				t.Errorf("a page of %d", len(r.GetTasks()))
			}
			for _, task := range r.GetTasks() {
				if task.GetName() <= last || task.GetView() != cloudtaskspb.Task_BASIC || task.GetHttpRequest().GetBody() != nil {
					t.Fatalf("%v after %s", task, last)
				}
				last = task.GetName()
				seen++
			}
			// Tasks that come or go do not shift the pages.
			b.create(named(fmt.Sprint("a-new-one", pages)), b.in(time.Hour))
			if token = r.GetNextPageToken(); token == "" {
				break
			}
		}
		if seen != n || pages != 2 {
			t.Errorf("%d tasks on %d pages", seen, pages+1)
		}
	})
}

// A page of large tasks ends before it becomes too large for a client.
func TestListTasksEndsAPageBySize(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(nil, nil)
		fill(t, b.service, 10, 1<<20)
		pages, seen := 0, 0
		for token := ""; pages < 20; {
			r, err := b.ListTasks(b.ctx, &cloudtaskspb.ListTasksRequest{Parent: queueA, PageToken: token, ResponseView: cloudtaskspb.Task_FULL})
			b.must(err)
			pages, seen = pages+1, seen+len(r.GetTasks())
			if size := proto.Size(r); size > 4<<20 || len(r.GetTasks()[0].GetHttpRequest().GetBody()) != 1<<20 {
				t.Errorf("a page of %d bytes", size)
			}
			if token = r.GetNextPageToken(); token == "" {
				break
			}
		}
		if pages != 5 || seen != 10 {
			t.Errorf("%d tasks on %d pages", seen, pages)
		}
		r, err := b.ListTasks(b.ctx, &cloudtaskspb.ListTasksRequest{Parent: queueA})
		b.must(err)
		if len(r.GetTasks()) != 10 {
			t.Errorf("%d tasks without their bodies", len(r.GetTasks()))
		}
	})
}

func TestListQueuesEndsAPageBySize(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		for i := range 100 {
			_, err := b.CreateQueue(b.ctx, &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{
				Name: fmt.Sprintf("%s/queues/q%02d", location, i),
				HttpTarget: &cloudtaskspb.HttpTarget{HeaderOverrides: []*cloudtaskspb.HttpTarget_HeaderOverride{
					{Header: &cloudtaskspb.HttpTarget_Header{Key: "A", Value: strings.Repeat("x", 80000)}},
				}},
			}})
			b.must(err)
		}
		pages, seen := 0, 0
		for token := ""; pages < 10; {
			r, err := b.ListQueues(b.ctx, &cloudtaskspb.ListQueuesRequest{Parent: location, PageToken: token})
			b.must(err)
			pages, seen = pages+1, seen+len(r.GetQueues())
			if size := proto.Size(r); size > 4<<20 {
				t.Errorf("a page of %d bytes", size)
			}
			if token = r.GetNextPageToken(); token == "" {
				break
			}
		}
		if pages != 3 || seen != 100 {
			t.Errorf("%d queues on %d pages", seen, pages)
		}
	})
}

// BenchmarkListTasks: a page of 100 tasks out of a million.
func BenchmarkListTasks(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			engine, stop := newBenchEngine(b)
			defer stop()
			fill(b, engine, n, 200)
			after := cursor{}.token(fmt.Sprintf("t%07d", n/2), true)
			b.ResetTimer()
			for b.Loop() {
				r, err := engine.ListTasks(b.Context(), &cloudtaskspb.ListTasksRequest{Parent: queueA, PageSize: 100, PageToken: after})
				if err != nil || len(r.GetTasks()) != 100 {
					b.Fatal(len(r.GetTasks()), err)
				}
			}
		})
	}
}
