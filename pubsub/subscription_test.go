package pubsub_test

import (
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"waybill.dev/pubsub"
)

func push() pubsub.PushSubscription {
	return pubsub.PushSubscription{
		Name: "index-user", Topic: "user-signed-up", Endpoint: endpoint, Audience: audience, ServiceAccount: pusher,
	}
}

func token() *pubsubpb.PushConfig_OidcToken_ {
	return &pubsubpb.PushConfig_OidcToken_{OidcToken: &pubsubpb.PushConfig_OidcToken{ServiceAccountEmail: pusher, Audience: audience}}
}

func TestWhatIsCreated(t *testing.T) {
	full := push()
	full.AckDeadline = 125 * time.Second
	full.MinBackoff, full.MaxBackoff = time.Second, time.Minute
	full.DeadLetterTopic, full.MaxDeliveryAttempts = "projects/shop/topics/index-user-dead", 12
	full.Ordered, full.Filter = true, `attributes.kind = "user"`
	full.Unwrapped, full.WriteMetadata = true, true

	for _, test := range []struct {
		name string
		in   pubsub.PushSubscription
		want *pubsubpb.Subscription
	}{
		{"the least", push(), &pubsubpb.Subscription{
			Name: subscription, Topic: topicName,
			PushConfig:         &pubsubpb.PushConfig{PushEndpoint: endpoint, AuthenticationMethod: token()},
			AckDeadlineSeconds: 10,
			RetryPolicy:        &pubsubpb.RetryPolicy{MinimumBackoff: durationpb.New(10 * time.Second), MaximumBackoff: durationpb.New(600 * time.Second)},
			ExpirationPolicy:   &pubsubpb.ExpirationPolicy{},
		}},
		{"everything", full, &pubsubpb.Subscription{
			Name: subscription, Topic: topicName,
			PushConfig: &pubsubpb.PushConfig{
				PushEndpoint: endpoint, AuthenticationMethod: token(),
				Wrapper: &pubsubpb.PushConfig_NoWrapper_{NoWrapper: &pubsubpb.PushConfig_NoWrapper{WriteMetadata: true}},
			},
			AckDeadlineSeconds:    125,
			RetryPolicy:           &pubsubpb.RetryPolicy{MinimumBackoff: durationpb.New(time.Second), MaximumBackoff: durationpb.New(time.Minute)},
			ExpirationPolicy:      &pubsubpb.ExpirationPolicy{},
			DeadLetterPolicy:      &pubsubpb.DeadLetterPolicy{DeadLetterTopic: "projects/shop/topics/index-user-dead", MaxDeliveryAttempts: 12},
			EnableMessageOrdering: true,
			Filter:                `attributes.kind = "user"`,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t)
			created, err := f.client(t, pubsub.Config{}).CreatePushSubscription(t.Context(), test.in)
			if err != nil || !created {
				t.Errorf("created %v, %v", created, err)
			}
			if diff := cmp.Diff([]*pubsubpb.Subscription{test.want}, f.subscriptions, protocmp.Transform()); diff != "" {
				t.Errorf("subscription (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCreateTopic(t *testing.T) {
	f := newFake(t)
	created, err := f.client(t, pubsub.Config{}).CreateTopic(t.Context(), "user-signed-up")
	if err != nil || !created {
		t.Errorf("created %v, %v", created, err)
	}
	if diff := cmp.Diff([]*pubsubpb.Topic{{Name: topicName}}, f.topics, protocmp.Transform()); diff != "" {
		t.Errorf("topic (-want +got):\n%s", diff)
	}
}

func TestWhatExistsIsNoError(t *testing.T) {
	f := newFake(t)
	client := f.client(t, pubsub.Config{})
	f.create = status.Error(codes.AlreadyExists, "Resource already exists in the project (resource=user-signed-up).")
	if created, err := client.CreateTopic(t.Context(), topicName); created || err != nil {
		t.Errorf("topic: created %v, %v", created, err)
	}
	if created, err := client.CreatePushSubscription(t.Context(), push()); created || err != nil {
		t.Errorf("subscription: created %v, %v", created, err)
	}
	f.create = status.Error(codes.PermissionDenied, "no")
	if created, err := client.CreateTopic(t.Context(), topicName); created || err == nil || !strings.Contains(err.Error(), "roles/pubsub.editor") {
		t.Errorf("not allowed: created %v, %v", created, err)
	}
}

func TestEveryProblemOfASubscriptionAtOnce(t *testing.T) {
	f := newFake(t)
	_, err := f.client(t, pubsub.Config{}).CreatePushSubscription(t.Context(), pubsub.PushSubscription{
		Name: "x", Topic: "goog", DeadLetterTopic: "y", Endpoint: "http://search.example.com", AckDeadline: time.Second,
		MinBackoff: 2 * time.Minute, MaxBackoff: time.Minute, MaxDeliveryAttempts: 4, Filter: strings.Repeat("x", 257), WriteMetadata: true,
	})
	for _, part := range []string{
		"pubsub: ", "Name: ", "Topic: ", "DeadLetterTopic: ", "Endpoint: ", "Audience", "ServiceAccount", "AckDeadline", "MinBackoff",
		"MaxDeliveryAttempts", "Filter", "WriteMetadata",
	} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("no word of %s in: %v", part, err)
		}
	}
	if len(f.subscriptions) != 0 {
		t.Error("it was sent")
	}
}

func TestSubscriptionLimits(t *testing.T) {
	f := newFake(t)
	client := f.client(t, pubsub.Config{})
	for _, test := range []struct {
		name   string
		change func(*pubsub.PushSubscription)
		ok     bool
	}{
		{"ack deadline 10 s", func(s *pubsub.PushSubscription) { s.AckDeadline = 10 * time.Second }, true},
		{"ack deadline 600 s", func(s *pubsub.PushSubscription) { s.AckDeadline = 600 * time.Second }, true},
		{"ack deadline 601 s", func(s *pubsub.PushSubscription) { s.AckDeadline = 601 * time.Second }, false},
		{"a fraction of a second", func(s *pubsub.PushSubscription) { s.AckDeadline = 10500 * time.Millisecond }, false},
		{"backoff up to 5 s alone", func(s *pubsub.PushSubscription) { s.MaxBackoff = 5 * time.Second }, true},
		{"backoff above 600 s", func(s *pubsub.PushSubscription) { s.MaxBackoff = 601 * time.Second }, false},
		{"attempts without a topic", func(s *pubsub.PushSubscription) { s.MaxDeliveryAttempts = 5 }, false},
		{"a topic without attempts", func(s *pubsub.PushSubscription) { s.DeadLetterTopic = "dead" }, true},
		{"101 attempts", func(s *pubsub.PushSubscription) { s.DeadLetterTopic, s.MaxDeliveryAttempts = "dead", 101 }, false},
		{"a loopback endpoint", func(s *pubsub.PushSubscription) { s.Endpoint = "http://127.0.0.1:8080/x" }, true},
		{"a topic of another project", func(s *pubsub.PushSubscription) { s.Topic = "projects/other/topics/abc" }, true},
	} {
		s := push()
		test.change(&s)
		if _, err := client.CreatePushSubscription(t.Context(), s); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
