package emulator_test

import (
	"encoding/json"
	"strings"
	"testing"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"waybill.dev/emulator"
)

// The official client, configured by environment variables and nothing else.
func TestPushArrivesWithATokenThatTheKeysVerify(t *testing.T) {
	e := start(t, emulator.Config{})
	for _, variable := range e.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	client, err := pubsub.NewClient(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	const topic = "projects/shop/topics/user-signed-up"
	if _, err := client.TopicAdminClient.CreateTopic(t.Context(), &pubsubpb.Topic{Name: topic}); err != nil {
		t.Fatal(err)
	}
	url, arrivals := receiver(t)
	if _, err := client.SubscriptionAdminClient.CreateSubscription(t.Context(), &pubsubpb.Subscription{
		Name:  "projects/shop/subscriptions/index-user",
		Topic: topic,
		PushConfig: &pubsubpb.PushConfig{
			PushEndpoint: url,
			AuthenticationMethod: &pubsubpb.PushConfig_OidcToken_{OidcToken: &pubsubpb.PushConfig_OidcToken{
				ServiceAccountEmail: account, Audience: "https://search.test",
			}},
		},
	}); err != nil {
		t.Fatal(err)
	}
	publisher := client.Publisher(topic)
	defer publisher.Stop()
	id, err := publisher.Publish(t.Context(), &pubsub.Message{Data: []byte("ada")}).Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := <-arrivals
	var envelope struct {
		Message struct {
			Data      []byte `json:"data"`
			MessageID string `json:"messageId"`
		} `json:"message"`
	}
	if err := json.Unmarshal([]byte(got.body), &envelope); err != nil || string(envelope.Message.Data) != "ada" || envelope.Message.MessageID != id {
		t.Errorf("arrived: %s, %v; want message %s", got.body, err, id)
	}
	claims := validate(t, e, strings.TrimPrefix(got.header.Get("Authorization"), "Bearer "), "https://search.test")
	if claims["email"] != account {
		t.Errorf("claims: %v", claims)
	}
}
