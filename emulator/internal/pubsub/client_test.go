package pubsub

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	client "cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// dial serves s on a socket and returns the official client, which knows only the address.
func dial(t testing.TB, s *Service) *client.Client {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(MaxRequestBytes))
	s.Register(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	c, err := client.NewClient(t.Context(), "p",
		option.WithEndpoint(listener.Addr().String()),
		option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := c.TopicAdminClient.CreateTopic(t.Context(), &pubsubpb.Topic{Name: topicName}); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClientReceives(t *testing.T) {
	s := newService(t, Config{})
	c := dial(t, s)
	if _, err := c.SubscriptionAdminClient.CreateSubscription(t.Context(), &pubsubpb.Subscription{Name: subName, Topic: topicName}); err != nil {
		t.Fatal(err)
	}
	const n = 500
	publisher := c.Publisher(topicName)
	publisher.PublishSettings.EnableCompression = true
	publisher.PublishSettings.CompressionBytesThreshold = 10
	want := map[string]string{}
	var results []*client.PublishResult
	for i := range n {
		results = append(results, publisher.Publish(t.Context(), &client.Message{Data: fmt.Appendf(nil, "message %d", i), Attributes: map[string]string{"i": fmt.Sprint(i)}}))
	}
	for i, r := range results {
		id, err := r.Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want[id] = fmt.Sprint(i)
	}
	publisher.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var mu sync.Mutex
	got := map[string]string{}
	nacked := map[string]bool{}
	err := c.Subscriber(subName).Receive(ctx, func(_ context.Context, m *client.Message) {
		mu.Lock()
		defer mu.Unlock()
		if len(nacked) < 10 && !nacked[m.ID] {
			nacked[m.ID] = true
			m.Nack()
			return
		}
		m.Ack()
		got[m.ID] = m.Attributes["i"]
		if len(got) == n {
			cancel()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("received (-want +got):\n%s", diff)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if sub := s.subscriptions[subName]; sub.backlog.arrivals.head != nil {
		t.Error("the acknowledged messages are still there")
	}
}

func TestClientReceivesInOrder(t *testing.T) {
	for _, exactlyOnce := range []bool{false, true} {
		t.Run(fmt.Sprintf("exactly once %v", exactlyOnce), func(t *testing.T) {
			s := newService(t, Config{})
			c := dial(t, s)
			if _, err := c.SubscriptionAdminClient.CreateSubscription(t.Context(), &pubsubpb.Subscription{
				Name: subName, Topic: topicName, EnableMessageOrdering: true, EnableExactlyOnceDelivery: exactlyOnce,
			}); err != nil {
				t.Fatal(err)
			}
			publisher := c.Publisher(topicName)
			publisher.EnableMessageOrdering = true
			keys := []string{"a", "b", "c"}
			const n = 20
			want := map[string][]int{}
			for i := range n {
				for _, key := range keys {
					publisher.Publish(t.Context(), &client.Message{Data: []byte{byte(i)}, OrderingKey: key})
					want[key] = append(want[key], i)
				}
			}
			publisher.Stop()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			var mu sync.Mutex
			got := map[string][]int{} // the last run of each key, from where it was nacked
			nacked := map[string]bool{}
			err := c.Subscriber(subName).Receive(ctx, func(_ context.Context, m *client.Message) {
				i := int(m.Data[0])
				mu.Lock()
				if i == 10 && !exactlyOnce && m.OrderingKey != "c" && !nacked[m.OrderingKey] {
					nacked[m.OrderingKey] = true
					mu.Unlock()
					m.Nack()
					return
				}
				if at := slices.IndexFunc(got[m.OrderingKey], func(j int) bool { return j >= i }); at >= 0 {
					got[m.OrderingKey] = got[m.OrderingKey][:at] // redelivered: so is all that follows
				}
				got[m.OrderingKey] = append(got[m.OrderingKey], i)
				mu.Unlock()
				if _, err := m.AckWithResult().Get(ctx); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				for _, key := range keys {
					if len(got[key]) < n || !slices.IsSorted(got[key]) {
						return
					}
				}
				cancel()
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("received (-want +got):\n%s", diff)
			}
		})
	}
}

func TestClientAdministers(t *testing.T) {
	s := newService(t, Config{})
	c := dial(t, s)
	topics, subs := c.TopicAdminClient, c.SubscriptionAdminClient
	ctx := t.Context()
	if _, err := subs.CreateSubscription(ctx, &pubsubpb.Subscription{Name: subName, Topic: topicName}); err != nil {
		t.Fatal(err)
	}
	got, err := subs.UpdateSubscription(ctx, &pubsubpb.UpdateSubscriptionRequest{
		Subscription: &pubsubpb.Subscription{Name: subName, Labels: map[string]string{"a": "b"}},
		UpdateMask:   &fieldmaskpb.FieldMask{Paths: []string{"labels"}},
	})
	if err != nil || got.Labels["a"] != "b" {
		t.Errorf("update: %v, %v", got, err)
	}
	sub, err := subs.ListSubscriptions(ctx, &pubsubpb.ListSubscriptionsRequest{Project: "projects/p"}).Next()
	if err != nil || sub.Name != subName {
		t.Errorf("list: %v, %v", sub, err)
	}
	topic, err := topics.ListTopics(ctx, &pubsubpb.ListTopicsRequest{Project: "projects/p"}).Next()
	if err != nil || topic.Name != topicName {
		t.Errorf("list: %v, %v", topic, err)
	}
	if err := topics.DeleteTopic(ctx, &pubsubpb.DeleteTopicRequest{Topic: topicName}); err != nil {
		t.Error(err)
	}
	if err := subs.DeleteSubscription(ctx, &pubsubpb.DeleteSubscriptionRequest{Subscription: subName}); err != nil {
		t.Error(err)
	}
}

func TestClientSendsLargeMessages(t *testing.T) {
	s := newService(t, Config{})
	c := dial(t, s)
	createSubscription(t, s, nil)
	data := bytes.Repeat([]byte("0123456789"), 990_000)
	publisher := c.Publisher(topicName)
	defer publisher.Stop()
	if _, err := publisher.Publish(t.Context(), &client.Message{Data: data}).Get(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	got := 0
	if err := c.Subscriber(subName).Receive(ctx, func(_ context.Context, m *client.Message) {
		got = len(m.Data)
		m.Ack()
		cancel()
	}); err != nil {
		t.Fatal(err)
	}
	if got != len(data) {
		t.Errorf("received %d bytes of %d", got, len(data))
	}
}
