package clienttest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
)

// pubsubClient is the official client, which knows no more than PUBSUB_EMULATOR_HOST.
func pubsubClient(t *testing.T) *pubsub.Client {
	t.Helper()
	t.Setenv("PUBSUB_EMULATOR_HOST", start(t).Addr())
	client, err := pubsub.NewClient(t.Context(), project)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := client.TopicAdminClient.CreateTopic(t.Context(), &pubsubpb.Topic{Name: topic}); err != nil {
		t.Fatal(err)
	}
	return client
}

func subscribe(t *testing.T, client *pubsub.Client, edit func(*pubsubpb.Subscription)) *pubsub.Subscriber {
	t.Helper()
	s := &pubsubpb.Subscription{Name: subscription, Topic: topic}
	if edit != nil {
		edit(s)
	}
	if _, err := client.SubscriptionAdminClient.CreateSubscription(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return client.Subscriber(subscription)
}

// receive streams messages to handle until that returns true.
func receive(t *testing.T, from *pubsub.Subscriber, handle func(context.Context, *pubsub.Message) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	done := false
	var mu sync.Mutex
	if err := from.Receive(ctx, func(ctx context.Context, m *pubsub.Message) {
		mu.Lock()
		defer mu.Unlock()
		if !done && handle(ctx, m) {
			done = true
			cancel()
		}
	}); err != nil {
		t.Fatal(err)
	}
	if !done {
		t.Fatal("not all had arrived within 30 s")
	}
}

func TestPubSubGoClientReceives(t *testing.T) {
	client := pubsubClient(t)
	subscriber := subscribe(t, client, nil)
	publisher := client.Publisher(topic)
	publisher.PublishSettings.EnableCompression = true
	publisher.PublishSettings.CompressionBytesThreshold = 10
	const n = 500
	want, got, nacked := map[string]string{}, map[string]string{}, map[string]bool{}
	var results []*pubsub.PublishResult
	for i := range n {
		results = append(results, publisher.Publish(t.Context(), &pubsub.Message{Data: fmt.Appendf(nil, "message %d", i), Attributes: map[string]string{"i": fmt.Sprint(i)}}))
	}
	for i, r := range results {
		id, err := r.Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want[id] = fmt.Sprint(i)
	}
	publisher.Stop()
	receive(t, subscriber, func(_ context.Context, m *pubsub.Message) bool {
		if len(nacked) < 10 && !nacked[m.ID] {
			nacked[m.ID] = true
			m.Nack()
			return false
		}
		m.Ack()
		got[m.ID] = m.Attributes["i"]
		return len(got) == n
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("received (-want +got):\n%s", diff)
	}
}

func TestPubSubGoClientReceivesInOrder(t *testing.T) {
	for _, exactlyOnce := range []bool{false, true} {
		t.Run(fmt.Sprintf("exactly once %v", exactlyOnce), func(t *testing.T) {
			client := pubsubClient(t)
			subscriber := subscribe(t, client, func(s *pubsubpb.Subscription) {
				s.EnableMessageOrdering, s.EnableExactlyOnceDelivery = true, exactlyOnce
			})
			publisher := client.Publisher(topic)
			publisher.EnableMessageOrdering = true
			const n = 30
			want, got := map[string][]int{}, map[string][]int{}
			for i := range n {
				key := string(rune('a' + i%3))
				publisher.Publish(t.Context(), &pubsub.Message{Data: []byte{byte(i)}, OrderingKey: key})
				want[key] = append(want[key], i)
			}
			publisher.Stop()
			var acks []*pubsub.AckResult
			received := 0
			receive(t, subscriber, func(_ context.Context, m *pubsub.Message) bool {
				got[m.OrderingKey] = append(got[m.OrderingKey], int(m.Data[0]))
				acks = append(acks, m.AckWithResult())
				received++
				return received == n
			})
			for _, ack := range acks {
				if status, err := ack.Get(t.Context()); err != nil || status != pubsub.AcknowledgeStatusSuccess {
					t.Errorf("ack: %v, %v", status, err)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("received (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPubSubGoClientSendsNineMegabytes(t *testing.T) {
	client := pubsubClient(t)
	subscriber := subscribe(t, client, nil)
	data := bytes.Repeat([]byte("0123456789"), 900_000)
	publisher := client.Publisher(topic)
	defer publisher.Stop()
	if _, err := publisher.Publish(t.Context(), &pubsub.Message{Data: data}).Get(t.Context()); err != nil {
		t.Fatal(err)
	}
	receive(t, subscriber, func(_ context.Context, m *pubsub.Message) bool {
		m.Ack()
		return bytes.Equal(m.Data, data)
	})
}

// A dead letter takes as many deliveries as the policy says, and carries where it came from.
func TestPubSubGoClientDeadLetters(t *testing.T) {
	client := pubsubClient(t)
	const dead = "projects/shop/topics/dead"
	if _, err := client.TopicAdminClient.CreateTopic(t.Context(), &pubsubpb.Topic{Name: dead}); err != nil {
		t.Fatal(err)
	}
	const graveyard = "projects/shop/subscriptions/graveyard"
	if _, err := client.SubscriptionAdminClient.CreateSubscription(t.Context(), &pubsubpb.Subscription{Name: graveyard, Topic: dead}); err != nil {
		t.Fatal(err)
	}
	subscriber := subscribe(t, client, func(s *pubsubpb.Subscription) {
		s.DeadLetterPolicy = &pubsubpb.DeadLetterPolicy{DeadLetterTopic: dead, MaxDeliveryAttempts: 5}
	})
	publisher := client.Publisher(topic)
	defer publisher.Stop()
	if _, err := publisher.Publish(t.Context(), &pubsub.Message{Data: []byte("unlucky")}).Get(t.Context()); err != nil {
		t.Fatal(err)
	}
	var attempts []int
	receive(t, subscriber, func(_ context.Context, m *pubsub.Message) bool {
		attempts = append(attempts, *m.DeliveryAttempt)
		m.Nack()
		return len(attempts) == 5
	})
	if !slices.Equal(attempts, []int{1, 2, 3, 4, 5}) {
		t.Errorf("attempts: %v", attempts)
	}
	receive(t, client.Subscriber(graveyard), func(_ context.Context, m *pubsub.Message) bool {
		m.Ack()
		if got := m.Attributes["CloudPubSubDeadLetterSourceSubscription"]; got != "mailer" || string(m.Data) != "unlucky" {
			t.Errorf("dead letter: %q, %v", m.Data, m.Attributes)
		}
		return true
	})
}

// What the client makes of a subscription that is taken away: an end with its reason, not a hang.
func TestPubSubGoClientLosesItsSubscription(t *testing.T) {
	client := pubsubClient(t)
	subscriber := subscribe(t, client, nil)
	publisher := client.Publisher(topic)
	defer publisher.Stop()
	if _, err := publisher.Publish(t.Context(), &pubsub.Message{Data: []byte("one")}).Get(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err := subscriber.Receive(ctx, func(_ context.Context, m *pubsub.Message) {
		m.Ack()
		if err := client.SubscriptionAdminClient.DeleteSubscription(ctx, &pubsubpb.DeleteSubscriptionRequest{Subscription: subscription}); err != nil {
			t.Error(err)
		}
	})
	wantCode(t, err, codes.NotFound)
}
