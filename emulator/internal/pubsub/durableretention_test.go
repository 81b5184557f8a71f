package pubsub

import (
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/types/known/durationpb"
)

func TestTimeThatPassesBetweenLivesCounts(t *testing.T) {
	lives(t, func(t *testing.T, l *life) {
		createTopic(t, l.Service)
		createSubscription(t, l.Service, func(sub *pubsubpb.Subscription) { sub.MessageRetentionDuration = durationpb.New(time.Hour) })
		createSubscription(t, l.Service, func(sub *pubsubpb.Subscription) { sub.Name += "2" })
		createSubscription(t, l.Service, func(sub *pubsubpb.Subscription) {
			sub.Name += "3"
			sub.ExpirationPolicy = &pubsubpb.ExpirationPolicy{}
		})
		publish(t, l.Service, "a")
		must(t, l.CreateSnapshot, &pubsubpb.CreateSnapshotRequest{Name: "projects/p/snapshots/snap", Subscription: subName})
	}, func(t *testing.T, l *life) {
		pullFrom(t, l.Service, subName+"2", "a")
		time.Sleep(59 * time.Minute)
		pull(t, l.Service, "a")
	}, func(t *testing.T, l *life) {
		time.Sleep(2 * time.Minute)
	}, func(t *testing.T, l *life) {
		pull(t, l.Service)
		pullFrom(t, l.Service, subName+"2", "a")
		must(t, l.GetSnapshot, &pubsubpb.GetSnapshotRequest{Snapshot: "projects/p/snapshots/snap"})
	})
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewCrashableMem()
		l := mustBegin(t, disk, Config{})
		createTopic(t, l.Service)
		createSubscription(t, l.Service, nil)
		createSubscription(t, l.Service, func(sub *pubsubpb.Subscription) {
			sub.Name += "2"
			sub.ExpirationPolicy = &pubsubpb.ExpirationPolicy{}
		})
		publish(t, l.Service, "a")
		must(t, l.CreateSnapshot, &pubsubpb.CreateSnapshotRequest{Name: "projects/p/snapshots/snap", Subscription: subName})
		time.Sleep(20 * 24 * time.Hour)
		pull(t, l.Service) // is activity
		l.end()
		time.Sleep(20 * 24 * time.Hour)
		l = mustBegin(t, disk, Config{})
		settle()
		exists(t, l.Service, true)
		if n := len(l.snapshots); n != 0 {
			t.Errorf("%d snapshots beyond their life", n)
		}
		pullFrom(t, l.Service, subName+"2")
		l.end()
		time.Sleep(40 * 24 * time.Hour)
		l = mustBegin(t, disk, Config{})
		settle()
		exists(t, l.Service, false)
		left(t, l, 'n', 't', 'u', 'l')
		l.end()
	})
}

// What one subscription drops or acknowledges stays for the other.
func TestMessagesStayForOthers(t *testing.T) {
	lives(t, func(t *testing.T, l *life) {
		createTopic(t, l.Service)
		createSubscription(t, l.Service, func(sub *pubsubpb.Subscription) { sub.MessageRetentionDuration = durationpb.New(10 * time.Minute) })
		createSubscription(t, l.Service, func(sub *pubsubpb.Subscription) { sub.Name += "2" })
		publish(t, l.Service, "a", "b")
		ack(t, l.Service, pull(t, l.Service, "a", "b")[0])
		time.Sleep(10 * time.Minute)
		pull(t, l.Service)
	}, func(t *testing.T, l *life) {
		pullFrom(t, l.Service, subName+"2", "a", "b")
		must(t, l.DeleteSubscription, &pubsubpb.DeleteSubscriptionRequest{Subscription: subName})
	}, func(t *testing.T, l *life) {
		pullFrom(t, l.Service, subName+"2", "a", "b")
	})
}

func TestRestoredMessagesAreRetainedFromTheSeekOn(t *testing.T) {
	lives(t, func(t *testing.T, l *life) {
		createTopic(t, l.Service)
		retainTopic(t, l.Service, 24*time.Hour)
		createSubscription(t, l.Service, func(sub *pubsubpb.Subscription) { sub.MessageRetentionDuration = durationpb.New(time.Hour) })
		publish(t, l.Service, "a", "b")
		ack(t, l.Service, pull(t, l.Service, "a", "b")...)
		time.Sleep(50 * time.Minute)
		seekTime(t, l.Service, subName, time.Now().Add(-time.Hour))
		time.Sleep(50 * time.Minute)
	}, func(t *testing.T, l *life) {
		pull(t, l.Service, "a", "b")
		time.Sleep(11 * time.Minute)
	}, func(t *testing.T, l *life) {
		pull(t, l.Service)
	})
}
