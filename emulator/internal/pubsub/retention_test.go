package pubsub

import (
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

func retainTopic(t *testing.T, s *Service, d time.Duration) {
	t.Helper()
	topic := &pubsubpb.Topic{Name: topicName}
	if d > 0 {
		topic.MessageRetentionDuration = durationpb.New(d)
	}
	must(t, s.UpdateTopic, &pubsubpb.UpdateTopicRequest{Topic: topic, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"message_retention_duration"}}})
}

// A topic's retention brings back what a subscription acknowledged and does not retain, and what
// was published before the subscription was created.
func TestTopicRetention(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		retainTopic(t, s, 2*time.Hour)
		createSubscription(t, s, func(sub *pubsubpb.Subscription) {
			sub.MessageRetentionDuration = durationpb.New(10 * time.Minute)
		})
		start := time.Now()
		publish(t, s, "a")
		ack(t, s, pull(t, s, "a")...)
		time.Sleep(time.Hour)
		publish(t, s, "b")
		ack(t, s, pull(t, s, "b")...)
		publish(t, s, "c")

		seekTime(t, s, subName, start)
		got := pull(t, s, "a", "b", "c") // though "a" is older than the subscription's own retention
		ack(t, s, got[0], got[2])
		seekTime(t, s, subName, start.Add(time.Minute))
		pull(t, s, "b", "c")

		createSubscription(t, s, func(sub *pubsubpb.Subscription) { sub.Name, sub.Filter = otherName, "NOT attributes:x" })
		pullFrom(t, s, otherName)
		seekTime(t, s, otherName, start)
		got = pullFrom(t, s, otherName, "a", "b", "c")
		must(t, s.Acknowledge, &pubsubpb.AcknowledgeRequest{Subscription: otherName, AckIds: ackIDs(got...)})
		if got := must(t, s.GetSubscription, &pubsubpb.GetSubscriptionRequest{Subscription: otherName}); got.TopicMessageRetentionDuration.AsDuration() != 2*time.Hour {
			t.Errorf("shown %v", got)
		}

		time.Sleep(time.Hour + time.Second) // "a" is over
		seekTime(t, s, otherName, start)
		pullFrom(t, s, otherName, "b", "c")
		retainTopic(t, s, 0) // without retention nothing comes back
		seekTime(t, s, otherName, time.Now())
		seekTime(t, s, otherName, start)
		pullFrom(t, s, otherName)
	})
}

// What a seek restored is retained from then on, and no longer than that.
func TestRestoredMessagesExpire(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		retainTopic(t, s, 24*time.Hour)
		createSubscription(t, s, func(sub *pubsubpb.Subscription) {
			sub.MessageRetentionDuration = durationpb.New(10 * time.Minute)
		})
		start := time.Now()
		publish(t, s, "a")
		time.Sleep(time.Hour)
		pull(t, s) // unacknowledged, but its retention is over
		seekTime(t, s, subName, start)
		time.Sleep(9 * time.Minute)
		nack(t, s, pull(t, s, "a")...)
		time.Sleep(time.Minute)
		pull(t, s)
	})
}

// Sub retention with retain_acked_messages: acknowledged messages come back until it is over.
func TestRetainAckedMessages(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, func(sub *pubsubpb.Subscription) {
			sub.RetainAckedMessages = true
			sub.MessageRetentionDuration = durationpb.New(time.Hour)
		})
		start := time.Now()
		publish(t, s, "a")
		time.Sleep(30 * time.Minute)
		publish(t, s, "b")
		ack(t, s, pull(t, s, "a", "b")...)
		seekTime(t, s, subName, start)
		ack(t, s, pull(t, s, "a", "b")...)
		time.Sleep(30 * time.Minute)
		seekTime(t, s, subName, start)
		pull(t, s, "b")
		// A subscription that stops to retain forgets with the next seek.
		must(t, s.UpdateSubscription, &pubsubpb.UpdateSubscriptionRequest{
			Subscription: &pubsubpb.Subscription{Name: subName}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"retain_acked_messages"}},
		})
		seekTime(t, s, subName, time.Now())
		seekTime(t, s, subName, start)
		pull(t, s)
	})
}

// A topic's history does not outlive what needs it.
func TestHistoryIsTrimmed(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		retainTopic(t, s, 10*time.Minute)
		top, err := s.topic(topicName)
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			publish(t, s, "a")
			time.Sleep(time.Minute)
		}
		publish(t, s, "a")
		if n := len(top.history.publications); n != 11 {
			t.Errorf("%d messages are kept, want 11", n)
		}
	})
}
