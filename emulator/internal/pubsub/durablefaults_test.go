package pubsub

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"waybill.dev/emulator/internal/store/storetest"
)

// audit is what clients know, to be compared with what is there in a later life.
type audit struct {
	t         *testing.T
	exists    map[string]bool // by name of a topic, subscription or snapshot; missing: not known
	published map[string]bool // texts that were acknowledged
	acked     map[string]bool // texts whose acknowledgement was confirmed; false: it has failed
}

func newAudit(t *testing.T) *audit {
	return &audit{t, make(map[string]bool), make(map[string]bool), make(map[string]bool)}
}

// retry calls until it works, as clients do. What exists or does not exist already does so by a call that had failed.
func (a *audit) retry(call func() error) {
	a.t.Helper()
	for range 60 {
		err := call()
		switch status.Code(err) {
		case codes.OK, codes.AlreadyExists, codes.NotFound:
			return
		case codes.Internal, codes.Unavailable:
			if !strings.Contains(err.Error(), "store: the directory") {
				a.t.Errorf("not a clear error: %v", err)
			}
		default:
			a.t.Fatalf("unexpected: %v", err)
		}
		time.Sleep(time.Second)
	}
	a.t.Error("still fails")
}

func call[Q, R any](a *audit, method func(Q) (R, error), req Q) {
	a.t.Helper()
	a.retry(func() error {
		_, err := method(req)
		return err
	})
}

// check compares with what is there. It leases everything for a while.
func (a *audit) check(l *life) {
	a.t.Helper()
	for name, exists := range a.exists {
		l.mu.RLock()
		is := l.topics[name] != nil || l.subscriptions[name] != nil || l.snapshots[name] != nil
		l.mu.RUnlock()
		if is != exists {
			a.t.Errorf("%s: exists %v, acknowledged %v", name, is, exists)
		}
	}
	if !a.exists[subName] {
		return
	}
	req := &pubsubpb.PullRequest{Subscription: subName, MaxMessages: 1000}
	req.ReturnImmediately = true //nolint:staticcheck // deprecated, but it saves the tests the wait
	there := make(map[string]bool)
	for _, r := range must(a.t, l.Pull, req).ReceivedMessages {
		text := string(r.Message.Data)
		there[text] = true
		if a.acked[text] {
			a.t.Errorf("%q came after its acknowledgement was confirmed", text)
		}
	}
	for text := range a.published {
		if _, tried := a.acked[text]; !tried && !there[text] {
			a.t.Errorf("%q was lost", text)
		}
	}
}

// twoLives runs two lives on a disk that may fail, with calls of every kind.
func twoLives(t *testing.T, fs vfs.FS, a *audit) {
	t.Helper()
	ctx := t.Context()
	for n := range 2 {
		var l *life
		var err error
		for range 60 {
			if l, err = begin(t, fs, Config{}); err == nil {
				break
			}
			time.Sleep(time.Second)
		}
		if err != nil {
			t.Fatal(err)
		}
		a.check(l)
		time.Sleep(11 * time.Minute) // the check's leases end
		call(a, func(r *pubsubpb.Topic) (*pubsubpb.Topic, error) { return l.CreateTopic(ctx, r) }, &pubsubpb.Topic{Name: topicName})
		a.exists[topicName] = true
		call(a, func(r *pubsubpb.Subscription) (*pubsubpb.Subscription, error) { return l.CreateSubscription(ctx, r) },
			&pubsubpb.Subscription{Name: subName, Topic: topicName, EnableExactlyOnceDelivery: true, AckDeadlineSeconds: 600})
		a.exists[subName] = true
		other, snap := subName+"-other", fmt.Sprintf("projects/p/snapshots/snap-%d", n)
		delete(a.exists, other)
		call(a, func(r *pubsubpb.Subscription) (*pubsubpb.Subscription, error) { return l.CreateSubscription(ctx, r) },
			&pubsubpb.Subscription{Name: other, Topic: topicName})
		for i := range 6 {
			text := fmt.Sprintf("%d-%d", n, i)
			a.retry(func() error {
				_, err := l.Publish(ctx, &pubsubpb.PublishRequest{Topic: topicName, Messages: []*pubsubpb.PubsubMessage{message(text), message(text + "-too")}})
				return err
			})
			a.published[text], a.published[text+"-too"] = true, true
		}
		call(a, func(r *pubsubpb.CreateSnapshotRequest) (*pubsubpb.Snapshot, error) { return l.CreateSnapshot(ctx, r) },
			&pubsubpb.CreateSnapshotRequest{Name: snap, Subscription: other})
		a.exists[snap] = true
		req := &pubsubpb.PullRequest{Subscription: subName, MaxMessages: 1000}
		for i, r := range must(t, l.Pull, req).ReceivedMessages {
			text := string(r.Message.Data)
			if i%2 == 0 || a.acked[text] { // of what a failed publish has left there are two
				continue
			}
			a.acked[text] = false
			a.retry(func() error {
				_, err := l.Acknowledge(ctx, &pubsubpb.AcknowledgeRequest{Subscription: subName, AckIds: []string{r.AckId}})
				return err
			})
			if !a.twice(l, text) {
				a.acked[text] = true
			}
		}
		call(a, func(r *pubsubpb.DeleteSubscriptionRequest) (any, error) { return l.DeleteSubscription(ctx, r) }, &pubsubpb.DeleteSubscriptionRequest{Subscription: other})
		a.exists[other] = false
		if n == 1 {
			old := "projects/p/snapshots/snap-0"
			call(a, func(r *pubsubpb.DeleteSnapshotRequest) (any, error) { return l.DeleteSnapshot(ctx, r) }, &pubsubpb.DeleteSnapshotRequest{Snapshot: old})
			a.exists[old] = false
		}
		time.Sleep(time.Second)
		l.die() // a last failure may leave nothing but what nobody was told
	}
}

// twice reports whether the backlog has another message with the text, from a publish that had failed and was repeated.
func (a *audit) twice(l *life, text string) bool {
	sub := l.subscriptions[subName]
	sub.mu.Lock()
	defer sub.mu.Unlock()
	for n := sub.backlog.arrivals.head; n != nil; n = n.next {
		if n.entry.state != acked && string(n.entry.msg.GetData()) == text {
			return true
		}
	}
	return false
}

func TestEveryCallToTheDiskFails(t *testing.T) {
	storetest.EachCall(t, storetest.Failures(), func(t *testing.T, failing vfs.FS, disk *vfs.MemFS) {
		synctest.Test(t, func(t *testing.T) {
			a := newAudit(t)
			twoLives(t, failing, a)
			for _, after := range []*vfs.MemFS{disk, crash(disk, powerLoss)} {
				l := mustBegin(t, after, Config{})
				a.check(l)
				l.die()
			}
		})
	})
}

// While the disk takes nothing, nothing is acknowledged, and what a client is told says why. Delivery goes on.
func TestADiskThatIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := &storetest.Full{}
		disk := vfs.NewCrashableMem()
		l := mustBegin(t, errorfs.Wrap(disk, full), Config{})
		createTopic(t, l.Service)
		createSubscription(t, l.Service, func(sub *pubsubpb.Subscription) { sub.EnableExactlyOnceDelivery = true })
		publish(t, l.Service, "a", "b")
		stream := openStream(t, l.Service, &pubsubpb.StreamingPullRequest{})
		<-stream.responses
		got := (<-stream.responses).ReceivedMessages

		full.Store(true)
		_, err := l.Publish(t.Context(), &pubsubpb.PublishRequest{Topic: topicName, Messages: []*pubsubpb.PubsubMessage{message("c")}})
		checkStatus(t, err, codes.Internal, "could not store the change; it may be there or not after a restart: store: the directory")
		_, err = l.Publish(t.Context(), &pubsubpb.PublishRequest{Topic: topicName, Messages: []*pubsubpb.PubsubMessage{message("d")}})
		checkStatus(t, err, codes.Unavailable, "has made none: store: the directory")
		if c := (<-stream.responses).ReceivedMessages; len(c) != 1 { // it is there in this life
			t.Errorf("received %v", c)
		}
		ids := ackIDs(got...)
		stream.requests <- &pubsubpb.StreamingPullRequest{AckIds: ids}
		if c := (<-stream.responses).AcknowledgeConfirmation; len(c.GetTemporaryFailedAckIds()) != len(ids) || len(c.GetAckIds()) > 0 {
			t.Errorf("confirmed %v", c)
		}
		full.Store(false)
		time.Sleep(time.Second)
		stream.requests <- &pubsubpb.StreamingPullRequest{AckIds: ids}
		if c := (<-stream.responses).AcknowledgeConfirmation; len(c.GetAckIds()) != len(ids) {
			t.Errorf("confirmed %v", c)
		}
		after := crash(disk, powerLoss)
		stream.cancel()
		synctest.Wait()
		l.die()
		l = mustBegin(t, after, Config{})
		defer l.die()
		pull(t, l.Service, "c")
	})
}
