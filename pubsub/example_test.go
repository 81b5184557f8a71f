package pubsub_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"

	"waybill.dev/auth"
	"waybill.dev/internal/authtest"
	"waybill.dev/pubsub"
)

func ExampleClient_Publish() {
	server, stop := startFake() // on Google Cloud: no options below
	defer stop()

	ctx := context.Background()
	client, err := pubsub.NewClient(ctx, pubsub.Config{Project: "shop"}, pubsub.EmulatorOptions(server.addr)...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close() // publishes what is waiting

	id, err := client.Publish(ctx, "user-signed-up", pubsub.Message{
		Data:        []byte(`{"user":"42"}`),
		Attributes:  map[string]string{"content-type": "application/json"},
		OrderingKey: "42",
	})
	fmt.Println(id, err)
	// Output: 1-0 <nil>
}

func ExampleClient_CreatePushSubscription() {
	server, stop := startFake()
	defer stop()

	ctx := context.Background()
	client, err := pubsub.NewClient(ctx, pubsub.Config{Project: "shop"}, pubsub.EmulatorOptions(server.addr)...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	created, err := client.CreatePushSubscription(ctx, pubsub.PushSubscription{
		Name:                "index-user",
		Topic:               "user-signed-up",
		Endpoint:            "https://search.example.com/index",
		Audience:            "https://search.example.com",
		ServiceAccount:      "shop-push@shop.iam.gserviceaccount.com",
		DeadLetterTopic:     "index-user-dead",
		MaxDeliveryAttempts: 12,
	})
	fmt.Println(created, err)
	// Output: true <nil>
}

func ExampleNewHandler() {
	issuer := authtest.Start() // stands for Google, whose keys a verifier has by default
	defer issuer.Close()
	keys, err := auth.NewKeySet(auth.KeySetConfig{URL: issuer.KeysURL()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer keys.Close()
	verifier, err := auth.NewVerifier(auth.VerifierConfig{
		Audiences: []string{"https://search.example.com"},
		Callers:   []string{"shop-push@shop.iam.gserviceaccount.com"},
		Keys:      keys,
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	handler, err := pubsub.NewHandler(pubsub.HandlerConfig{
		Verifier:     verifier,
		Subscription: "projects/shop/subscriptions/index-user",
		Logger:       slog.New(slog.DiscardHandler),
	}, func(_ context.Context, d *pubsub.Delivery) error {
		fmt.Printf("%s, attempt %d\n", d.Data, d.Attempt)
		return errors.New("the index is down")
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	r := httptest.NewRequest(http.MethodPost, "/index", strings.NewReader(
		`{"message":{"data":"eyJ1c2VyIjoiNDIifQ==","messageId":"1"},"subscription":"projects/shop/subscriptions/index-user","deliveryAttempt":3}`))
	r.Header.Set("Authorization", "Bearer "+issuer.Token("shop-push@shop.iam.gserviceaccount.com", "https://search.example.com"))
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	fmt.Println(w.Code)
	// Output:
	// {"user":"42"}, attempt 3
	// 500
}
