package pubsub

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	client "cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"waybill.dev/emulator/internal/clock"
	"waybill.dev/emulator/internal/store"
)

// BenchmarkClientPublishData is BenchmarkClientPublish in memory and on a disk, by turns.
func BenchmarkClientPublishData(b *testing.B) {
	for _, data := range []bool{false, true} {
		b.Run(fmt.Sprintf("data=%v", data), func(b *testing.B) {
			var config Config
			if data {
				s, err := store.Open(store.Config{Dir: b.TempDir(), Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { _ = s.Close() })
				config.Store = s
			}
			s := newService(b, config)
			c := dial(b, s)
			createSubscription(b, s, nil)
			publisher := c.Publisher(topicName)
			defer publisher.Stop()
			payload := make([]byte, 1024)
			_, _ = rand.Read(payload) // never fails; not to be compressed
			b.ResetTimer()
			results := make([]*client.PublishResult, b.N)
			for i := range results {
				results[i] = publisher.Publish(b.Context(), &client.Message{Data: payload})
			}
			for _, r := range results {
				if _, err := r.Get(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// BenchmarkLoad is a start with a backlog of 200,000 messages of 1 KB.
func BenchmarkLoad(b *testing.B) {
	dir := b.TempDir()
	open := func() *store.Store {
		s, err := store.Open(store.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	st := open()
	s := New(Config{Clock: clock.New(), Store: st, Logger: slog.New(slog.DiscardHandler)})
	must(b, s.CreateTopic, &pubsubpb.Topic{Name: topicName})
	createSubscription(b, s, nil)
	for range 2000 {
		must(b, s.Publish, &pubsubpb.PublishRequest{Topic: topicName, Messages: kilobyte(100)})
	}
	for b.Loop() {
		b.StopTimer()
		if err := errors.Join(s.Close(b.Context()), st.Close()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		st = open()
		s = New(Config{Clock: clock.New(), Store: st, Logger: slog.New(slog.DiscardHandler)})
		if err := s.Load(); err != nil {
			b.Fatal(err)
		}
		s.Start()
		if n := s.Unacknowledged(); n != 200_000 {
			b.Fatalf("%d messages are there", n)
		}
	}
	if err := errors.Join(s.Close(b.Context()), st.Close()); err != nil {
		b.Fatal(err)
	}
}
