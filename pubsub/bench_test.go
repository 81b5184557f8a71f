package pubsub_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	gpubsub "cloud.google.com/go/pubsub/v2"
	"waybill.dev/internal/authtest"
	"waybill.dev/pubsub"
)

var benchAttributes = map[string]string{
	"content-type": "application/json", "ce-id": "0196", "ce-source": "/login", "ce-type": "user-signed-up", "ce-specversion": "1.0",
}

// BenchmarkPublish compares Publish with Google's client of the same settings.
func BenchmarkPublish(b *testing.B) {
	data := []byte(strings.Repeat("x", 1024))
	b.Run("waybill", func(b *testing.B) {
		client := newFake(b).client(b, pubsub.Config{CountThreshold: 1})
		b.ReportAllocs()
		for b.Loop() {
			if _, err := client.Publish(b.Context(), topicName, pubsub.Message{Data: data, Attributes: benchAttributes}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("bare", func(b *testing.B) {
		client, err := gpubsub.NewClient(b.Context(), "shop", pubsub.EmulatorOptions(newFake(b).addr)...)
		if err != nil {
			b.Fatal(err)
		}
		defer client.Close()
		publisher := client.Publisher(topicName)
		defer publisher.Stop()
		publisher.PublishSettings.CountThreshold = 1
		publisher.PublishSettings.DelayThreshold = time.Millisecond
		b.ReportAllocs()
		for b.Loop() {
			if _, err := publisher.Publish(b.Context(), &gpubsub.Message{Data: data, Attributes: benchAttributes}).Get(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkHandler compares a push, verified by a warm cache, with a handler
// that only decodes the same JSON. Neither uses a socket.
func BenchmarkHandler(b *testing.B) {
	body := `{"message":{"attributes":{"ce-id":"0196","ce-type":"user-signed-up"},"data":"` +
		base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", 1024))) +
		`","messageId":"12345678901234567","message_id":"12345678901234567","publishTime":"2026-01-02T03:04:05.678Z","publish_time":"2026-01-02T03:04:05.678Z"},"subscription":"` + subscription + `"}`
	issuer := authtest.New(b)
	bearer := "Bearer " + issuer.Token(pusher, audience)
	run := func(b *testing.B, handler http.Handler) {
		b.ReportAllocs()
		for b.Loop() {
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
			r.Header.Set("Authorization", bearer)
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != http.StatusNoContent {
				b.Fatal(w.Code)
			}
		}
	}
	b.Run("waybill", func(b *testing.B) {
		handler, err := pubsub.NewHandler(pubsub.HandlerConfig{Verifier: issuer.Verifier(b, audience, pusher), Subscription: subscription},
			func(context.Context, *pubsub.Delivery) error { return nil })
		if err != nil {
			b.Fatal(err)
		}
		run(b, handler)
	})
	b.Run("bare", func(b *testing.B) {
		run(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var push struct {
				Message struct {
					Attributes map[string]string `json:"attributes"`
					Data       []byte            `json:"data"`
					MessageID  string            `json:"messageId"`
				} `json:"message"`
				Subscription string `json:"subscription"`
			}
			raw, err := io.ReadAll(r.Body)
			if err != nil || json.Unmarshal(raw, &push) != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			w.WriteHeader(http.StatusNoContent)
		}))
	})
}
