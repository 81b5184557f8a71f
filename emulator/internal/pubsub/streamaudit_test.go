package pubsub

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
)

// A client that reconnects brings its client_id along, and may repeat it on the stream; it changes nothing.
func TestStreamClientID(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, nil)
		first := openStream(t, s, &pubsubpb.StreamingPullRequest{ClientId: "client"})
		publish(t, s, "a")
		m := first.received(t, "a")
		first.cancel()
		synctest.Wait()
		again := openStream(t, s, &pubsubpb.StreamingPullRequest{ClientId: "client"})
		again.requests <- &pubsubpb.StreamingPullRequest{ClientId: "client", AckIds: ackIDs(m...)} // of the other stream
		time.Sleep(time.Minute)
		again.received(t)
	})
}

// The first request may acknowledge and change deadlines too.
func TestStreamsFirstRequestAcknowledges(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, nil)
		publish(t, s, "a", "b", "c")
		m := pull(t, s, "a", "b", "c")
		w := openStream(t, s, &pubsubpb.StreamingPullRequest{
			AckIds: ackIDs(m[0]), ModifyDeadlineAckIds: ackIDs(m[1], m[2]), ModifyDeadlineSeconds: []int32{0, 60},
		})
		w.requests <- &pubsubpb.StreamingPullRequest{AckIds: ackIDs(w.received(t, "b")...)}
		time.Sleep(59 * time.Second)
		w.received(t)
		time.Sleep(time.Second)
		w.received(t, "c")
	})
}

// Deadline changes are confirmed under exactly-once delivery, and only there.
func TestStreamConfirmsDeadlines(t *testing.T) {
	for _, exactlyOnce := range []bool{false, true} {
		bubble(t, Config{}, func(t *testing.T, s *Service) {
			createSubscription(t, s, func(sub *pubsubpb.Subscription) { sub.EnableExactlyOnceDelivery = exactlyOnce })
			w := openStream(t, s, &pubsubpb.StreamingPullRequest{})
			publish(t, s, "a", "b")
			m := w.received(t, "a", "b")
			time.Sleep(11 * time.Second)
			again := w.received(t, "a", "b")
			w.requests <- &pubsubpb.StreamingPullRequest{ModifyDeadlineAckIds: ackIDs(m[0], again[1]), ModifyDeadlineSeconds: []int32{30, 30}}
			synctest.Wait()
			if !exactlyOnce {
				if len(w.responses) != 0 {
					t.Errorf("confirmed without exactly-once delivery: %v", <-w.responses)
				}
				return
			}
			got := (<-w.responses).ModifyAckDeadlineConfirmation
			if !slices.Equal(got.GetAckIds(), ackIDs(again[1])) || !slices.Equal(got.GetInvalidAckIds(), ackIDs(m[0])) {
				t.Errorf("confirmation %v", got)
			}
		})
	}
}

// A changed subscription is announced with the next response.
func TestStreamAnnouncesExactlyOnce(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, nil)
		w := openStream(t, s, &pubsubpb.StreamingPullRequest{})
		if (<-w.responses).SubscriptionProperties.ExactlyOnceDeliveryEnabled {
			t.Error("exactly-once delivery is announced")
		}
		must(t, s.UpdateSubscription, update(&pubsubpb.Subscription{EnableExactlyOnceDelivery: true}, "enable_exactly_once_delivery"))
		publish(t, s, "a")
		if r := <-w.responses; !r.SubscriptionProperties.ExactlyOnceDeliveryEnabled || len(r.ReceivedMessages) != 1 {
			t.Errorf("the response after the update is %v", r)
		}
	})
}
