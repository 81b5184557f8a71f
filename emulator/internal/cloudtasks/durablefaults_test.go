package cloudtasks

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"waybill.dev/emulator/internal/store"
	"waybill.dev/emulator/internal/store/storetest"
)

// audit is what clients know of tasks and queues, to be compared with what is there in the end.
type audit struct {
	mu    sync.Mutex
	known map[string]bool // by name: whether it exists; missing: not known
	done  map[string]int  // by task: deliveries that were answered with 200
}

func newAudit() *audit { return &audit{known: make(map[string]bool), done: make(map[string]int)} }

// say takes the outcome of a call after which the name exists, or does not. An error leaves it open.
func (a *audit) say(name string, exists bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch status.Code(err) {
	case codes.OK:
		a.known[name] = exists
	case codes.Unavailable: // said to have changed nothing
	default:
		delete(a.known, name)
	}
}

// check compares with what is there. A task that is known to exist may be gone if it was delivered.
func (a *audit) check(b *bench) {
	b.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(a.known)) {
		var exists bool
		if strings.Contains(name, "/tasks/") {
			exists = b.exists(name)
		} else {
			_, err := b.GetQueue(b.ctx, &cloudtaskspb.GetQueueRequest{Name: name})
			exists = err == nil
		}
		if known := a.known[name]; known != exists && (!known || a.done[name] == 0) {
			b.t.Errorf("%s: exists %v, acknowledged %v, delivered %d times", name, exists, known, a.done[name])
		}
	}
}

// lives runs an engine twice on a disk that may fail, with calls of every kind. Callers try again for as long as it takes.
func lives(b *bench, fs vfs.FS, a *audit) {
	b.t.Helper()
	retry := func(name string, exists bool, call func() error) {
		b.t.Helper()
		for range 60 {
			err := call()
			a.say(name, exists, err)
			switch status.Code(err) {
			case codes.OK:
				return
			case codes.AlreadyExists, codes.NotFound: // by a call that had failed
				a.say(name, exists, nil)
				return
			case codes.Internal, codes.Unavailable:
				if !strings.Contains(err.Error(), "store: the directory") {
					b.t.Errorf("not a clear error: %v", err)
				}
			default:
				b.t.Fatalf("unexpected: %v", err)
			}
			time.Sleep(time.Second)
		}
		b.t.Errorf("%s: still fails", name)
	}
	create := func(id string, options ...func(*cloudtaskspb.Task)) {
		b.t.Helper()
		retry(queueA+"/tasks/"+id, true, func() error {
			_, err := b.tryCreate(append(options, named(id))...)
			return err
		})
	}
	remove := func(id string) {
		b.t.Helper()
		retry(queueA+"/tasks/"+id, false, func() error {
			_, err := b.DeleteTask(b.ctx, &cloudtaskspb.DeleteTaskRequest{Name: queueA + "/tasks/" + id})
			return err
		})
	}
	for life := range 2 {
		var s *store.Store
		var err error
		for range 60 {
			if s, err = b.open(fs, 0); err == nil {
				break
			}
			time.Sleep(time.Second)
		}
		b.must(err)
		a.check(b)
		retry(queueA, true, func() error {
			_, err := b.CreateQueue(b.ctx, &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{Name: queueA}})
			return err
		})
		for i := range 6 {
			create(fmt.Sprintf("now-%d-%d", life, i))
			create(fmt.Sprintf("later-%d-%d", life, i), b.in(time.Duration(1+i)*time.Hour))
			create(fmt.Sprintf("dropped-%d-%d", life, i), b.in(time.Hour))
			remove(fmt.Sprintf("dropped-%d-%d", life, i))
		}
		other := location + "/queues/b"
		retry(other, true, func() error {
			_, err := b.CreateQueue(b.ctx, &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{Name: other}})
			return err
		})
		retry(other, false, func() error {
			_, err := b.DeleteQueue(b.ctx, &cloudtaskspb.DeleteQueueRequest{Name: other})
			return err
		})
		b.after(90 * time.Minute)
		a.check(b)
		b.cutOff()
		_ = s.Close() // a last failure may leave nothing but what nobody was told
	}
}

func TestEveryCallToTheDiskFails(t *testing.T) {
	storetest.EachCall(t, storetest.Failures(), func(t *testing.T, failing vfs.FS, disk *vfs.MemFS) {
		inBubble(t, nil, func(b *bench) {
			a := newAudit()
			b.receive = a.receiver(b)
			lives(b, failing, a)
			for _, after := range []*vfs.MemFS{disk, crash(disk, powerLoss)} {
				b.inLife(after, func() { a.check(b) })
			}
		})
	})
}

// receiver answers every other attempt of each task with 500, the others with 200.
func (a *audit) receiver(b *bench) receiver {
	tries := make(map[string]int)
	return func(_ context.Context, _ int, d delivery) (*http.Response, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		name := queueA + "/tasks/" + d.header["X-CloudTasks-TaskName"][0]
		if known, ok := a.known[name]; ok && !known {
			b.t.Errorf("%s was deleted, and is delivered", name)
		}
		if tries[name]++; tries[name]%2 == 1 {
			return answer(500), nil
		}
		a.done[name]++
		return answer(200), nil
	}
}
