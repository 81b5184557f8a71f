package pubsub

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"

	"waybill.dev/emulator/internal/clock"
)

func createTopic(t *testing.T, s *Service) {
	t.Helper()
	must(t, s.CreateTopic, &pubsubpb.Topic{Name: topicName})
}

func TestMessagesOutliveTheProcess(t *testing.T) {
	var before, acknowledged []*pubsubpb.ReceivedMessage
	lives(t, func(t *testing.T, l *life) {
		createTopic(t, l.Service)
		createSubscription(t, l.Service, nil)
		must(t, l.Publish, &pubsubpb.PublishRequest{Topic: topicName, Messages: []*pubsubpb.PubsubMessage{
			{Data: []byte("a"), Attributes: map[string]string{"x": "y"}, OrderingKey: "k"},
			{Attributes: map[string]string{"only": "attributes"}, OrderingKey: "k"},
			{Data: []byte("c"), OrderingKey: "k"},
		}})
		publish(t, l.Service, "d", "e")
		before = pull(t, l.Service, "a", "", "c", "d", "e")
		acknowledged = []*pubsubpb.ReceivedMessage{before[1], before[3]}
		ack(t, l.Service, acknowledged...)
	}, func(t *testing.T, l *life) {
		after := pull(t, l.Service, "a", "c", "e") // their leases are over
		for i, was := range []*pubsubpb.ReceivedMessage{before[0], before[2], before[4]} {
			if diff := cmp.Diff(was.Message, after[i].Message, protocmp.Transform()); diff != "" {
				t.Errorf("after the restart (-want +got):\n%s", diff)
			}
		}
		ack(t, l.Service, before[0]) // by the id of a lease that ended with the process
		ack(t, l.Service, after[1:]...)
		publish(t, l.Service, "f")
		pull(t, l.Service, "f")
	}, func(t *testing.T, l *life) {
		ack(t, l.Service, pull(t, l.Service, "a", "f")...)
	}, func(t *testing.T, l *life) {
		pull(t, l.Service)
		left(t, l, 'n', 't', 'u', 'l')
	})
}

func TestAckIDsOfAnEarlierLifeAreRefusedUnderExactlyOnce(t *testing.T) {
	var before []*pubsubpb.ReceivedMessage
	lives(t, func(t *testing.T, l *life) {
		createTopic(t, l.Service)
		createSubscription(t, l.Service, func(sub *pubsubpb.Subscription) { sub.EnableExactlyOnceDelivery = true })
		publish(t, l.Service, "a", "b")
		before = pull(t, l.Service, "a", "b")
		ack(t, l.Service, before[0])
	}, func(t *testing.T, l *life) {
		got := pull(t, l.Service, "b")
		_, err := l.Acknowledge(t.Context(), &pubsubpb.AcknowledgeRequest{Subscription: subName, AckIds: ackIDs(before[1])})
		checkStatus(t, err, codes.InvalidArgument, "Some acknowledgement ids in the request were invalid.")
		ack(t, l.Service, got...)
	}, func(t *testing.T, l *life) {
		pull(t, l.Service)
	})
}

func TestOrderOutlivesTheProcess(t *testing.T) {
	lives(t, func(t *testing.T, l *life) {
		createTopic(t, l.Service)
		createSubscription(t, l.Service, func(sub *pubsubpb.Subscription) { sub.EnableMessageOrdering = true })
		publish(t, l.Service, "k:1", "k:2", "j:1", "k:3", "j:2")
		got := pull(t, l.Service, "k:1", "k:2", "j:1", "k:3", "j:2")
		ack(t, l.Service, got[1], got[2]) // j:1 and k:2, the latter behind one that is not done
	}, func(t *testing.T, l *life) {
		// The lease of k:1 is over, and so it comes with all that is behind it.
		got := pull(t, l.Service, "k:1", "k:2", "j:2", "k:3")
		ack(t, l.Service, got[0], got[1])
	}, func(t *testing.T, l *life) {
		pull(t, l.Service, "k:3", "j:2")
	})
}

// A restart with a clock that is behind gives higher numbers all the same.
func TestNumbersRiseOverARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewCrashableMem()
		ahead := clock.New()
		ahead.Advance(1000 * time.Hour)
		l := mustBegin(t, disk, Config{Clock: ahead})
		createTopic(t, l.Service)
		createSubscription(t, l.Service, nil)
		publish(t, l.Service, "a")
		first := pull(t, l.Service, "a")
		ack(t, l.Service, first...) // nothing with its number is left
		l.die()
		l = mustBegin(t, crash(disk, powerLoss), Config{})
		defer l.die()
		publish(t, l.Service, "b")
		if second := pull(t, l.Service, "b"); second[0].Message.MessageId <= first[0].Message.MessageId {
			t.Errorf("id %s after %s", second[0].Message.MessageId, first[0].Message.MessageId)
		}
	})
}

func TestMessagesOfADeletedTopicOutliveTheProcess(t *testing.T) {
	lives(t, func(t *testing.T, l *life) {
		createTopic(t, l.Service)
		createSubscription(t, l.Service, nil)
		publish(t, l.Service, "a", "b")
		must(t, l.DeleteTopic, &pubsubpb.DeleteTopicRequest{Topic: topicName})
		createTopic(t, l.Service) // another one
		publish(t, l.Service, "c")
	}, func(t *testing.T, l *life) {
		publish(t, l.Service, "d")
		ack(t, l.Service, pull(t, l.Service, "a", "b")[0])
	}, func(t *testing.T, l *life) {
		ack(t, l.Service, pull(t, l.Service, "b")...)
		left(t, l, 'n', 't', 'u', 'l')
	})
}

func TestSeeksOutliveTheProcess(t *testing.T) {
	retained := func(sub *pubsubpb.Subscription) { sub.RetainAckedMessages = true }
	var at time.Time
	t.Run("purge", func(t *testing.T) {
		lives(t, func(t *testing.T, l *life) {
			createTopic(t, l.Service)
			createSubscription(t, l.Service, nil)
			publish(t, l.Service, "a", "b")
			time.Sleep(time.Second)
			seekTime(t, l.Service, subName, time.Now())
			publish(t, l.Service, "c")
		}, func(t *testing.T, l *life) { pull(t, l.Service, "c") })
	})
	t.Run("replay", func(t *testing.T) {
		lives(t, func(t *testing.T, l *life) {
			createTopic(t, l.Service)
			createSubscription(t, l.Service, retained)
			publish(t, l.Service, "a")
			time.Sleep(time.Second)
			at = time.Now()
			publish(t, l.Service, "b", "c")
			ack(t, l.Service, pull(t, l.Service, "a", "b", "c")...)
		}, func(t *testing.T, l *life) { // what was acknowledged is still retained
			pull(t, l.Service)
			seekTime(t, l.Service, subName, at)
		}, func(t *testing.T, l *life) {
			ack(t, l.Service, pull(t, l.Service, "b", "c")[0])
		}, func(t *testing.T, l *life) {
			pull(t, l.Service, "c")
			seekTime(t, l.Service, subName, at.Add(-time.Hour))
			pull(t, l.Service, "a", "b", "c")
		})
	})
	t.Run("topic retention", func(t *testing.T) {
		lives(t, func(t *testing.T, l *life) {
			createTopic(t, l.Service)
			retainTopic(t, l.Service, time.Hour)
			publish(t, l.Service, "a", "b") // before there is a subscription
			createSubscription(t, l.Service, nil)
			publish(t, l.Service, "c")
		}, func(t *testing.T, l *life) {
			ack(t, l.Service, pull(t, l.Service, "c")...)
			seekTime(t, l.Service, subName, time.Now().Add(-time.Minute))
		}, func(t *testing.T, l *life) {
			ack(t, l.Service, pull(t, l.Service, "a", "b", "c")[1])
		}, func(t *testing.T, l *life) { pull(t, l.Service, "a", "c") })
	})
	t.Run("snapshot", func(t *testing.T) {
		lives(t, func(t *testing.T, l *life) {
			createTopic(t, l.Service)
			createSubscription(t, l.Service, nil)
			must(t, l.Publish, &pubsubpb.PublishRequest{Topic: topicName, Messages: []*pubsubpb.PubsubMessage{message("a"), message("b"), message("c")}})
			got := pull(t, l.Service, "a", "b", "c")
			ack(t, l.Service, got[0])
			must(t, l.CreateSnapshot, &pubsubpb.CreateSnapshotRequest{Name: "projects/p/snapshots/snap", Subscription: subName})
			publish(t, l.Service, "d")
			ack(t, l.Service, got[1:]...) // nobody but the snapshot needs them
		}, func(t *testing.T, l *life) {
			ack(t, l.Service, pull(t, l.Service, "d")...)
		}, func(t *testing.T, l *life) {
			pull(t, l.Service)
			seekTo(t, l.Service, subName, "projects/p/snapshots/snap")
		}, func(t *testing.T, l *life) {
			pull(t, l.Service, "b", "c", "d")
			must(t, l.DeleteSnapshot, &pubsubpb.DeleteSnapshotRequest{Snapshot: "projects/p/snapshots/snap"})
		}, func(t *testing.T, l *life) { pull(t, l.Service, "b", "c", "d") })
	})
}

func TestAttemptsOutliveTheProcess(t *testing.T) {
	withPolicy := func(sub *pubsubpb.Subscription) {
		sub.DeadLetterPolicy = &pubsubpb.DeadLetterPolicy{DeadLetterTopic: deadName, MaxDeliveryAttempts: 5}
	}
	attempt := func(t *testing.T, l *life, want int32) {
		t.Helper()
		got := pull(t, l.Service, "a")
		if n := got[0].DeliveryAttempt; n != want {
			t.Errorf("attempt %d, want %d", n, want)
		}
		nack(t, l.Service, got...)
		settle() // nobody waits for a nack to be safe
	}
	lives(t, func(t *testing.T, l *life) {
		createTopic(t, l.Service)
		must(t, l.CreateTopic, &pubsubpb.Topic{Name: deadName})
		createSubscription(t, l.Service, func(sub *pubsubpb.Subscription) { sub.Name, sub.Topic = "projects/p/subscriptions/dead", deadName })
		createSubscription(t, l.Service, withPolicy)
		publish(t, l.Service, "a")
		attempt(t, l, 1)
		attempt(t, l, 2)
		pull(t, l.Service, "a") // does not end in this life, so it does not count
	}, func(t *testing.T, l *life) {
		attempt(t, l, 3)
		attempt(t, l, 4)
	}, func(t *testing.T, l *life) {
		attempt(t, l, 5)
		pull(t, l.Service)
	}, func(t *testing.T, l *life) {
		pull(t, l.Service)
		got := pullFrom(t, l.Service, "projects/p/subscriptions/dead", "a")
		if n := got[0].Message.Attributes["CloudPubSubDeadLetterSourceDeliveryCount"]; n != "5" {
			t.Errorf("the dead letter has a count of %s", n)
		}
		must(t, l.Acknowledge, &pubsubpb.AcknowledgeRequest{Subscription: "projects/p/subscriptions/dead", AckIds: ackIDs(got...)})
	}, func(t *testing.T, l *life) {
		left(t, l, 'n', 't', 'u', 'l')
	})
}

// What had its last attempt and is not yet among the dead letters when the process ends goes there, not to a consumer.
func TestWhatIsExhaustedIsNotDeliveredAfterARestart(t *testing.T) {
	const deadSub = "projects/p/subscriptions/dead"
	for _, key := range []string{"", "k"} {
		send := func(t *testing.T, l *life, text string) {
			must(t, l.Publish, &pubsubpb.PublishRequest{Topic: topicName, Messages: []*pubsubpb.PubsubMessage{{Data: []byte(text), OrderingKey: key}}})
		}
		withDead := func(t *testing.T, l *life) {
			must(t, l.CreateTopic, &pubsubpb.Topic{Name: deadName})
			createSubscription(t, l.Service, func(sub *pubsubpb.Subscription) { sub.Name, sub.Topic = deadSub, deadName })
		}
		lives(t, func(t *testing.T, l *life) {
			createTopic(t, l.Service)
			withDead(t, l)
			createSubscription(t, l.Service, func(sub *pubsubpb.Subscription) {
				sub.EnableMessageOrdering = true
				sub.DeadLetterPolicy = &pubsubpb.DeadLetterPolicy{DeadLetterTopic: deadName, MaxDeliveryAttempts: 5}
			})
			must(t, l.DeleteTopic, &pubsubpb.DeleteTopicRequest{Topic: deadName}) // so that it cannot go there in this life
			must(t, l.DeleteSubscription, &pubsubpb.DeleteSubscriptionRequest{Subscription: deadSub})
			send(t, l, "a")
			for range 5 {
				nack(t, l.Service, pull(t, l.Service, "a")...)
			}
			send(t, l, "b")
			settle()
		}, func(t *testing.T, l *life) {
			withDead(t, l)
		}, func(t *testing.T, l *life) {
			pull(t, l.Service, "b") // its key is free
			pullFrom(t, l.Service, deadSub, "a")
		})
	}
}

func TestPushesGoOnAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewCrashableMem()
		endpoint := &fakeEndpoint{answer: func(int, string) int { return 204 }}
		client := &http.Client{Transport: endpoint}
		l := mustBegin(t, disk, Config{})
		createTopic(t, l.Service)
		createSubscription(t, l.Service, bare)
		l.Drain() // nothing is pushed in this life
		publish(t, l.Service, "a", "b")
		after := crash(disk, powerLoss)
		l.die()
		l = mustBegin(t, after, Config{HTTPClient: client})
		settle()
		if got := endpoint.requests(); len(got) != 2 {
			t.Errorf("pushed %q, want both messages", got)
		}
		l.end()
		l = mustBegin(t, after, Config{HTTPClient: client})
		settle()
		if n := len(endpoint.requests()); n != 2 {
			t.Errorf("%d pushes, want none after their success", n)
		}
		l.end()
	})
}

// While the Service closes, a publish is refused or kept.
func TestPublishesDuringACloseAreKept(t *testing.T) {
	for range 20 {
		disk := vfs.NewCrashableMem()
		l := mustBegin(t, disk, Config{})
		createTopic(t, l.Service)
		createSubscription(t, l.Service, nil)
		var publishers sync.WaitGroup
		var acknowledged atomic.Int64
		started := make(chan struct{}, 4)
		for range 4 {
			publishers.Go(func() {
				for n := 0; ; n++ {
					_, err := l.Publish(t.Context(), &pubsubpb.PublishRequest{Topic: topicName, Messages: []*pubsubpb.PubsubMessage{message("a")}})
					if err != nil {
						checkStatus(t, err, codes.Unavailable, "shutting down")
						return
					}
					acknowledged.Add(1)
					if n == 0 {
						started <- struct{}{}
					}
				}
			})
		}
		for range 4 {
			<-started
		}
		if err := l.Service.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		publishers.Wait()
		l.die()
		l = mustBegin(t, disk, Config{})
		if n := int64(l.Unacknowledged()); n != acknowledged.Load() {
			t.Errorf("%d messages are there, %d were acknowledged", n, acknowledged.Load())
		}
		l.die()
	}
}

func TestLargestPublishOutlivesTheProcess(t *testing.T) {
	big := make([]*pubsubpb.PubsubMessage, maxPublishMessages)
	for i := range big {
		big[i] = &pubsubpb.PubsubMessage{Data: make([]byte, maxPublishBytes/maxPublishMessages-10)}
	}
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewCrashableMem()
		l := mustBegin(t, disk, Config{})
		createTopic(t, l.Service)
		createSubscription(t, l.Service, nil)
		must(t, l.Publish, &pubsubpb.PublishRequest{Topic: topicName, Messages: big})
		after := crash(disk, powerLoss)
		l.die()
		l = mustBegin(t, after, Config{})
		if n := l.Unacknowledged(); n != len(big) {
			t.Errorf("%d messages are there, want %d", n, len(big))
		}
		l.die()
	})
}
