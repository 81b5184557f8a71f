package pubsub

import (
	"testing"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// What the differential test found, for machines that do not have Google's emulator.

func TestNacksOfOneKeyInOneExactlyOnceRequest(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, func(sub *pubsubpb.Subscription) {
			sub.EnableMessageOrdering, sub.EnableExactlyOnceDelivery = true, true
			sub.DeadLetterPolicy = &pubsubpb.DeadLetterPolicy{DeadLetterTopic: topicName}
		})
		publish(t, s, "k:1", "k:2", "k:3")
		nack(t, s, pull(t, s, "k:1", "k:2", "k:3")...) // the first takes back the others with it
		again := pull(t, s, "k:1", "k:2", "k:3")
		for _, m := range again {
			if m.DeliveryAttempt != 2 {
				t.Errorf("%q: attempt %d", m.Message.Data, m.DeliveryAttempt)
			}
		}
		ack(t, s, again...)
	})
}

func TestUpdateWhenTheDeadLetterTopicIsGone(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		must(t, s.CreateTopic, &pubsubpb.Topic{Name: deadName})
		createSubscription(t, s, func(sub *pubsubpb.Subscription) {
			sub.DeadLetterPolicy = &pubsubpb.DeadLetterPolicy{DeadLetterTopic: deadName}
		})
		must(t, s.DeleteTopic, &pubsubpb.DeleteTopicRequest{Topic: deadName})
		update := &pubsubpb.UpdateSubscriptionRequest{
			Subscription: &pubsubpb.Subscription{Name: subName, AckDeadlineSeconds: 60, DeadLetterPolicy: &pubsubpb.DeadLetterPolicy{DeadLetterTopic: deadName, MaxDeliveryAttempts: 7}},
			UpdateMask:   &fieldmaskpb.FieldMask{Paths: []string{"ack_deadline_seconds"}},
		}
		must(t, s.UpdateSubscription, update)
		update.UpdateMask.Paths = []string{"dead_letter_policy"}
		if _, err := s.UpdateSubscription(t.Context(), update); status.Code(err) != codes.NotFound {
			t.Errorf("a policy with a topic that is not there: %v", err)
		}
	})
}

func TestCreateSnapshotJudgesItsNameFirst(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		_, err := s.CreateSnapshot(t.Context(), &pubsubpb.CreateSnapshotRequest{Name: "x", Subscription: subName})
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("no such subscription, and a bad name: %v", err)
		}
	})
}

func TestMaskOfAnUnknownField(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, nil)
		_, err := s.UpdateSubscription(t.Context(), &pubsubpb.UpdateSubscriptionRequest{
			Subscription: &pubsubpb.Subscription{Name: subName}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"pushConfig"}},
		})
		const want = "Invalid update_mask provided in the UpdateSubscriptionRequest: pushConfig is not a known Subscription field. Note that field paths must be of the form 'push_config' rather than 'pushConfig'."
		if got := status.Convert(err).Message(); got != want {
			t.Errorf("got %q", got)
		}
	})
}
