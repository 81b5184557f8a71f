package pubsub

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	client "cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
)

// kilobyte makes n messages of 1 KB.
func kilobyte(n int) []*pubsubpb.PubsubMessage {
	messages := make([]*pubsubpb.PubsubMessage, n)
	for i := range messages {
		messages[i] = &pubsubpb.PubsubMessage{Data: make([]byte, 1024)}
	}
	return messages
}

// BenchmarkDrain pulls and acknowledges with a backlog of the given size behind it: the time per
// message must not depend on it.
func BenchmarkDrain(b *testing.B) {
	for _, backlog := range []int{10_000, 50_000, 200_000} {
		b.Run(fmt.Sprintf("backlog=%d", backlog), func(b *testing.B) {
			s := newService(b, Config{})
			must(b, s.CreateTopic, &pubsubpb.Topic{Name: topicName})
			createSubscription(b, s, nil)
			fill := func(n int) {
				for range n / 1000 {
					must(b, s.Publish, &pubsubpb.PublishRequest{Topic: topicName, Messages: kilobyte(1000)})
				}
			}
			fill(backlog)
			n := 0
			for b.Loop() {
				if n += 100; n%1000 == 0 {
					b.StopTimer()
					fill(1000)
					b.StartTimer()
				}
				resp := must(b, s.Pull, &pubsubpb.PullRequest{Subscription: subName, MaxMessages: 100})
				ack(b, s, resp.ReceivedMessages...)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/message")
		})
	}
}

func BenchmarkClientPublish(b *testing.B) {
	s := newService(b, Config{})
	c := dial(b, s)
	createSubscription(b, s, nil)
	publisher := c.Publisher(topicName)
	defer publisher.Stop()
	data := make([]byte, 1024)
	b.ResetTimer()
	results := make([]*client.PublishResult, b.N)
	for i := range results {
		results[i] = publisher.Publish(b.Context(), &client.Message{Data: data})
	}
	for _, r := range results {
		if _, err := r.Get(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

func BenchmarkClientReceive(b *testing.B) {
	s := newService(b, Config{})
	c := dial(b, s)
	createSubscription(b, s, nil)
	for left := b.N; left > 0; left -= 1000 {
		must(b, s.Publish, &pubsubpb.PublishRequest{Topic: topicName, Messages: kilobyte(min(left, 1000))})
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	sub := c.Subscriber(subName)
	sub.ReceiveSettings.MaxOutstandingMessages = 10_000
	var got atomic.Int64
	b.ResetTimer()
	if err := sub.Receive(ctx, func(_ context.Context, m *client.Message) {
		m.Ack()
		if got.Add(1) == int64(b.N) {
			b.StopTimer()
			cancel()
		}
	}); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

// BenchmarkPush pushes to a local server; BenchmarkBarePost is its ceiling, the same bytes
// posted without a Pub/Sub in between.
func BenchmarkPush(b *testing.B) {
	var got atomic.Int64
	done := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			b.Error(err)
		}
		w.WriteHeader(http.StatusNoContent)
		if got.Add(1) == int64(b.N) {
			close(done)
		}
	}))
	defer server.Close()
	s := newService(b, Config{Signer: &signer{}})
	must(b, s.CreateTopic, &pubsubpb.Topic{Name: topicName})
	createSubscription(b, s, nil)
	for left := b.N; left > 0; left -= 1000 {
		must(b, s.Publish, &pubsubpb.PublishRequest{Topic: topicName, Messages: kilobyte(min(left, 1000))})
	}
	b.ResetTimer()
	must(b, s.ModifyPushConfig, &pubsubpb.ModifyPushConfigRequest{Subscription: subName, PushConfig: &pubsubpb.PushConfig{
		PushEndpoint:         server.URL,
		AuthenticationMethod: &pubsubpb.PushConfig_OidcToken_{OidcToken: &pubsubpb.PushConfig_OidcToken{ServiceAccountEmail: "push@p"}},
	}})
	<-done
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

// BenchmarkLatency is the time from a publish to its receipt, one at a time.
func BenchmarkLatency(b *testing.B) {
	s := newService(b, Config{})
	c := dial(b, s)
	createSubscription(b, s, nil)
	publisher := c.Publisher(topicName)
	publisher.PublishSettings.CountThreshold = 1
	defer publisher.Stop()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	received := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- c.Subscriber(subName).Receive(ctx, func(_ context.Context, m *client.Message) {
			m.Ack()
			received <- struct{}{}
		})
	}()
	send := func() {
		publisher.Publish(b.Context(), &client.Message{Data: make([]byte, 1024)})
		select {
		case <-received:
		case <-time.After(10 * time.Second):
			b.Fatal("the message did not come")
		}
	}
	send()
	for b.Loop() {
		send()
	}
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}
