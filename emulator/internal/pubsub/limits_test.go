package pubsub

import (
	"context"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// TestRefusals holds every limit with the code and, where it was recorded, the sentence of the service.
func TestRefusals(t *testing.T) {
	s := newService(t, Config{})
	must(t, s.CreateTopic, &pubsubpb.Topic{Name: topicName})
	must(t, s.CreateTopic, &pubsubpb.Topic{Name: deadName})
	createSubscription(t, s, func(sub *pubsubpb.Subscription) { sub.Name = "projects/p/subscriptions/pulled" })
	createSubscription(t, s, func(sub *pubsubpb.Subscription) {
		sub.Name = "projects/p/subscriptions/pushed"
		sub.PushConfig = &pubsubpb.PushConfig{PushEndpoint: "http://localhost/"}
	})
	const pulled = "projects/p/subscriptions/pulled"

	send := func(messages ...*pubsubpb.PubsubMessage) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := s.Publish(ctx, &pubsubpb.PublishRequest{Topic: topicName, Messages: messages})
			return err
		}
	}
	attributes := func(m map[string]string) func(context.Context) error {
		return send(&pubsubpb.PubsubMessage{Attributes: m})
	}
	topic := func(edit func(*pubsubpb.Topic)) func(context.Context) error {
		return func(ctx context.Context) error {
			req := &pubsubpb.Topic{Name: "projects/p/topics/new"}
			edit(req)
			_, err := s.CreateTopic(ctx, req)
			return err
		}
	}
	sub := func(edit func(*pubsubpb.Subscription)) func(context.Context) error {
		return func(ctx context.Context) error {
			req := &pubsubpb.Subscription{Name: subName, Topic: topicName}
			edit(req)
			_, err := s.CreateSubscription(ctx, req)
			return err
		}
	}
	update := func(paths ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := s.UpdateSubscription(ctx, &pubsubpb.UpdateSubscriptionRequest{
				Subscription: &pubsubpb.Subscription{Name: pulled},
				UpdateMask:   &fieldmaskpb.FieldMask{Paths: paths},
			})
			return err
		}
	}
	many := make(map[string]string)
	for i := range 101 {
		many[strings.Repeat("k", i+1)] = ""
	}

	for name, test := range map[string]struct {
		call func(context.Context) error
		code codes.Code
		want string
	}{
		"publish nothing":    {send(), codes.InvalidArgument, "The value for message_count is too small. You passed 0 in the request, but the minimum value is 1."},
		"publish 1001":       {send(make([]*pubsubpb.PubsubMessage, 1001)...), codes.InvalidArgument, "The value for message_count is too large. You passed 1001 in the request, but the maximum value is 1000."},
		"publish too much":   {send(&pubsubpb.PubsubMessage{Data: make([]byte, 10_000_000)}), codes.InvalidArgument, "The value for request_size is too large. You passed 10000005 in the request, but the maximum value is 10000000."},
		"empty message":      {send(&pubsubpb.PubsubMessage{OrderingKey: "k"}), codes.InvalidArgument, ""},
		"attribute count":    {attributes(many), codes.InvalidArgument, ""},
		"attribute no key":   {attributes(map[string]string{"": "v"}), codes.InvalidArgument, ""},
		"attribute reserved": {attributes(map[string]string{"GooGle": "v"}), codes.InvalidArgument, ""},
		"attribute key":      {attributes(map[string]string{strings.Repeat("k", 257): "v"}), codes.InvalidArgument, ""},
		"attribute value":    {attributes(map[string]string{"k": strings.Repeat("v", 1025)}), codes.InvalidArgument, ""},
		"ordering key":       {send(&pubsubpb.PubsubMessage{Data: []byte("a"), OrderingKey: strings.Repeat("k", 1025)}), codes.InvalidArgument, ""},
		"ordering keys":      {send(message("a:1"), message("b:1")), codes.FailedPrecondition, ""},

		"topic name":   {topic(func(x *pubsubpb.Topic) { x.Name = "projects/p/topics/go" }), codes.InvalidArgument, "Invalid resource name given (name=projects/p/topics/go). Refer to https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names for more information."},
		"topic prefix": {topic(func(x *pubsubpb.Topic) { x.Name = "projects/p/topics/google" }), codes.InvalidArgument, ""},
		"topic digit":  {topic(func(x *pubsubpb.Topic) { x.Name = "projects/p/topics/1abc" }), codes.InvalidArgument, ""},
		"topic char":   {topic(func(x *pubsubpb.Topic) { x.Name = "projects/p/topics/a b" }), codes.InvalidArgument, ""},
		"topic long":   {topic(func(x *pubsubpb.Topic) { x.Name = "projects/p/topics/" + strings.Repeat("a", 256) }), codes.InvalidArgument, ""},
		"topic exists": {topic(func(x *pubsubpb.Topic) { x.Name = topicName }), codes.AlreadyExists, "Resource already exists in the project (resource=orders)."},
		"topic schema": {topic(func(x *pubsubpb.Topic) {
			x.SchemaSettings = &pubsubpb.SchemaSettings{Schema: "projects/p/schemas/none", Encoding: pubsubpb.Encoding_JSON}
		}), codes.NotFound, "Resource not found (resource=none)."},

		"ack deadline":     {sub(func(x *pubsubpb.Subscription) { x.AckDeadlineSeconds = 9 }), codes.InvalidArgument, "Invalid ack deadline given (ack_deadline=9). The ack deadline must be between 10 and 600 seconds."},
		"ack deadline 601": {sub(func(x *pubsubpb.Subscription) { x.AckDeadlineSeconds = 601 }), codes.InvalidArgument, ""},
		"retention":        {sub(func(x *pubsubpb.Subscription) { x.MessageRetentionDuration = durationpb.New(599 * time.Second) }), codes.InvalidArgument, "The value for message retention duration is out of bounds. You passed 9m59s in the request, but the value must be between 10m and 744h."},
		"expiration": {sub(func(x *pubsubpb.Subscription) {
			x.ExpirationPolicy = &pubsubpb.ExpirationPolicy{Ttl: durationpb.New(time.Hour)}
		}), codes.InvalidArgument, "The value for expiration duration is too small. You passed 1h in the request, but the minimum value is 24h."},
		"filter":              {sub(func(x *pubsubpb.Subscription) { x.Filter = "data:a" }), codes.InvalidArgument, ""},
		"endpoint":            {sub(func(x *pubsubpb.Subscription) { x.PushConfig = &pubsubpb.PushConfig{PushEndpoint: "localhost:80"} }), codes.InvalidArgument, ""},
		"no topic":            {sub(func(x *pubsubpb.Subscription) { x.Topic = "projects/p/topics/missing" }), codes.NotFound, "Resource not found (resource=missing)."},
		"subscription exists": {sub(func(x *pubsubpb.Subscription) { x.Name = pulled }), codes.AlreadyExists, ""},
		"dead-letter topic": {sub(func(x *pubsubpb.Subscription) {
			x.DeadLetterPolicy = &pubsubpb.DeadLetterPolicy{DeadLetterTopic: "projects/p/topics/missing"}
		}), codes.NotFound, "Resource not found (resource=missing)."},
		// The code is the one of Google's emulator; the service's own is not confirmed.
		"attempts 4": {sub(func(x *pubsubpb.Subscription) {
			x.DeadLetterPolicy = &pubsubpb.DeadLetterPolicy{DeadLetterTopic: deadName, MaxDeliveryAttempts: 4}
		}), codes.OutOfRange, "The value for max_delivery_attempts is too small. You passed 4 in the request, but the minimum value is 5."},
		"attempts 101": {sub(func(x *pubsubpb.Subscription) {
			x.DeadLetterPolicy = &pubsubpb.DeadLetterPolicy{DeadLetterTopic: deadName, MaxDeliveryAttempts: 101}
		}), codes.OutOfRange, ""},
		"backoff": {sub(func(x *pubsubpb.Subscription) {
			x.RetryPolicy = &pubsubpb.RetryPolicy{MaximumBackoff: durationpb.New(601 * time.Second)}
		}), codes.InvalidArgument, ""},
		"exactly once by push": {sub(func(x *pubsubpb.Subscription) {
			x.EnableExactlyOnceDelivery = true
			x.PushConfig = &pubsubpb.PushConfig{PushEndpoint: "http://localhost/"}
		}), codes.InvalidArgument, ""},

		"mask empty":     {update(), codes.InvalidArgument, "The update_mask in the UpdateSubscriptionRequest must be set, and must contain a non-empty paths list."},
		"mask immutable": {update("enable_message_ordering"), codes.InvalidArgument, "Invalid update_mask provided in the UpdateSubscriptionRequest: the 'enable_message_ordering' field in the Subscription is not mutable."},
		"mask filter":    {update("filter"), codes.InvalidArgument, ""},
		"mask topic":     {update("labels", "topic"), codes.InvalidArgument, ""},
		"mask unknown":   {update("labels.a.b"), codes.InvalidArgument, ""},

		"pull 0": {func(ctx context.Context) error {
			_, err := s.Pull(ctx, &pubsubpb.PullRequest{Subscription: pulled})
			return err
		}, codes.InvalidArgument, "You have passed an invalid argument to the service (argument=max_messages)."},
		"pull of push": {func(ctx context.Context) error {
			_, err := s.Pull(ctx, &pubsubpb.PullRequest{Subscription: "projects/p/subscriptions/pushed", MaxMessages: 1})
			return err
		}, codes.FailedPrecondition, "This method is not supported for this subscription type."},
		"ack nothing": {func(ctx context.Context) error {
			_, err := s.Acknowledge(ctx, &pubsubpb.AcknowledgeRequest{Subscription: pulled})
			return err
		}, codes.InvalidArgument, "You have not specified an ack ID in the request."},
		"ack malformed": {func(ctx context.Context) error {
			_, err := s.Acknowledge(ctx, &pubsubpb.AcknowledgeRequest{Subscription: pulled, AckIds: []string{"bogus"}})
			return err
		}, codes.InvalidArgument, "You have passed an invalid ack ID to the service (ack_id=bogus)."},
		"deadline 601": {func(ctx context.Context) error {
			_, err := s.ModifyAckDeadline(ctx, &pubsubpb.ModifyAckDeadlineRequest{Subscription: pulled, AckDeadlineSeconds: 601})
			return err
		}, codes.InvalidArgument, "Invalid ack deadline given (ack_deadline=601). The ack deadline must be between 0 and 600 seconds."},
		"page size": {func(ctx context.Context) error {
			_, err := s.ListTopics(ctx, &pubsubpb.ListTopicsRequest{Project: "projects/p", PageSize: -1})
			return err
		}, codes.InvalidArgument, "The value for page_size is out of bounds. You passed -1 in the request, but the value must be between 0 and 1000."},
		"page token": {func(ctx context.Context) error {
			_, err := s.ListTopics(ctx, &pubsubpb.ListTopicsRequest{Project: "projects/p", PageToken: "x"})
			return err
		}, codes.InvalidArgument, "Invalid page token given (token=x)."},
		"snapshot": {func(ctx context.Context) error {
			_, err := s.CreateSnapshot(ctx, &pubsubpb.CreateSnapshotRequest{Subscription: "projects/p/subscriptions/missing"})
			return err
		}, codes.NotFound, "Resource not found (resource=missing)."},
	} {
		t.Run(name, func(t *testing.T) {
			st := status.Convert(test.call(t.Context()))
			if st.Code() != test.code || test.want != "" && st.Message() != test.want {
				t.Errorf("got  %v: %s\nwant %v: %s", st.Code(), st.Message(), test.code, test.want)
			}
		})
	}
}

func TestNamesAreAccepted(t *testing.T) {
	for _, id := range []string{"abc", "A-b_c.d~e+f%g", strings.Repeat("a", 255)} {
		if err := checkTopicName("projects/example.com:p/topics/" + id); err != nil {
			t.Error(err)
		}
	}
}

func TestClientAttributesAreAccepted(t *testing.T) {
	m := &pubsubpb.PubsubMessage{Attributes: map[string]string{"googclient_traceparent": "x", "good": "y"}}
	if err := checkMessage(m); err != nil {
		t.Error(err)
	}
}
