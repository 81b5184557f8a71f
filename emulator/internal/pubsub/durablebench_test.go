package pubsub

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"testing"

	client "cloud.google.com/go/pubsub/v2"

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
