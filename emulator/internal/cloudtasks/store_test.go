package cloudtasks

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
)

func TestStoreIsToldBeforeTheClientIs(t *testing.T) {
	inBubble(t, answers(500, 200), func(b *bench) {
		store := &recordingStore{}
		b.Engine.config.Store = store
		b.queue(nil, nil)
		b.create(named("t"))
		b.after(time.Minute)
		_, err := b.DeleteQueue(b.ctx, &cloudtaskspb.DeleteQueueRequest{Name: queueA})
		b.must(err)
		want := []string{"put queue a", "sync", "put task t 0", "sync", "put task t 1", "delete task t 1h0m0.1s", "delete queue a", "sync"}
		if diff := cmp.Diff(want, store.calls(b.start)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		store.broken = errors.New("disk full")
		_, err = b.CreateQueue(b.ctx, &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{Name: queueA}})
		wantError(t, err, codes.Internal, "The emulator could not store the change")
	})
}

type recordingStore struct {
	mu     sync.Mutex
	events []func(start time.Time) string
	broken error
}

func (s *recordingStore) add(f func(start time.Time) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, f)
}

func (s *recordingStore) calls(start time.Time) (calls []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.events {
		calls = append(calls, f(start))
	}
	return calls
}

func (s *recordingStore) PutQueue(q *cloudtaskspb.Queue) {
	s.add(func(time.Time) string { return "put queue " + q.GetName()[len(location)+len("/queues/"):] })
}

func (s *recordingStore) DeleteQueue(name string, _ time.Time) {
	s.add(func(time.Time) string { return "delete queue " + name[len(location)+len("/queues/"):] })
}

func (s *recordingStore) PutTask(r TaskRecord) {
	_, id := shortNames(r.Spec.GetName())
	s.add(func(time.Time) string { return fmt.Sprint("put task ", id, " ", r.Failures) })
}

func (s *recordingStore) DeleteTask(name string, reusable time.Time) {
	_, id := shortNames(name)
	s.add(func(start time.Time) string { return fmt.Sprint("delete task ", id, " ", reusable.Sub(start)) })
}

func (s *recordingStore) Sync() error {
	s.add(func(time.Time) string { return "sync" })
	return s.broken
}
