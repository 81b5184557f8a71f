package pubsub

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waybill.dev/emulator/internal/clock"
)

const (
	topicName = "projects/p/topics/orders"
	deadName  = "projects/p/topics/dead"
	subName   = "projects/p/subscriptions/mailer"
)

// newService starts a Service that ends with the test.
func newService(t testing.TB, c Config) *Service {
	t.Helper()
	if c.Clock == nil {
		c.Clock = clock.New()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := New(c)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
		c.Clock.Close()
	})
	return s
}

// bubble runs f in a synctest bubble with a Service whose topic "orders" exists.
func bubble(t *testing.T, c Config, f func(t *testing.T, s *Service)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, c)
		must(t, s.CreateTopic, &pubsubpb.Topic{Name: topicName})
		f(t, s)
	})
}

// must calls a method that has to succeed.
func must[Q, R any](t testing.TB, method func(context.Context, Q) (R, error), req Q) R {
	t.Helper()
	resp, err := method(t.Context(), req)
	if err != nil {
		t.Fatalf("%T: %v", req, err)
	}
	return resp
}

func createSubscription(t testing.TB, s *Service, edit func(*pubsubpb.Subscription)) *pubsubpb.Subscription {
	t.Helper()
	sub := &pubsubpb.Subscription{Name: subName, Topic: topicName}
	if edit != nil {
		edit(sub)
	}
	return must(t, s.CreateSubscription, sub)
}

func message(text string) *pubsubpb.PubsubMessage {
	m := &pubsubpb.PubsubMessage{Data: []byte(text)}
	if len(text) > 2 && text[1] == ':' {
		m.OrderingKey = text[:1]
	}
	return m
}

func publish(t testing.TB, s *Service, texts ...string) {
	t.Helper()
	for _, text := range texts {
		must(t, s.Publish, &pubsubpb.PublishRequest{Topic: topicName, Messages: []*pubsubpb.PubsubMessage{message(text)}})
	}
}

// pull takes what is there and checks the texts.
func pull(t testing.TB, s *Service, want ...string) []*pubsubpb.ReceivedMessage {
	t.Helper()
	return pullFrom(t, s, subName, want...)
}

func pullFrom(t testing.TB, s *Service, sub string, want ...string) []*pubsubpb.ReceivedMessage {
	t.Helper()
	req := &pubsubpb.PullRequest{Subscription: sub, MaxMessages: 100}
	req.ReturnImmediately = true //nolint:staticcheck // deprecated, but it saves the tests the wait
	resp := must(t, s.Pull, req)
	texts := []string{}
	for _, m := range resp.ReceivedMessages {
		texts = append(texts, string(m.Message.Data))
	}
	if diff := cmp.Diff(append([]string{}, want...), texts); diff != "" {
		t.Fatalf("pulled (-want +got):\n%s", diff)
	}
	return resp.ReceivedMessages
}

func ackIDs(messages ...*pubsubpb.ReceivedMessage) []string {
	var ids []string
	for _, m := range messages {
		ids = append(ids, m.AckId)
	}
	return ids
}

func ack(t testing.TB, s *Service, messages ...*pubsubpb.ReceivedMessage) {
	t.Helper()
	must(t, s.Acknowledge, &pubsubpb.AcknowledgeRequest{Subscription: subName, AckIds: ackIDs(messages...)})
}

func nack(t testing.TB, s *Service, messages ...*pubsubpb.ReceivedMessage) {
	t.Helper()
	must(t, s.ModifyAckDeadline, &pubsubpb.ModifyAckDeadlineRequest{Subscription: subName, AckIds: ackIDs(messages...)})
}

func TestPublishGivesIDsAndTimes(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, nil)
		resp := must(t, s.Publish, &pubsubpb.PublishRequest{Topic: topicName, Messages: []*pubsubpb.PubsubMessage{
			{Data: []byte("a"), Attributes: map[string]string{"k": "v"}, OrderingKey: "o"},
			{Data: []byte("b"), OrderingKey: "o"},
		}})
		got := pull(t, s, "a", "b")
		for i, id := range resp.MessageIds {
			if len(id) != 17 || id != got[i].Message.MessageId {
				t.Errorf("id %q published, %q pulled; want 17 digits", id, got[i].Message.MessageId)
			}
			if at := got[i].Message.PublishTime.AsTime(); !at.Equal(s.clock.Now()) {
				t.Errorf("publish time %v, want %v", at, s.clock.Now())
			}
		}
		if resp.MessageIds[0] == resp.MessageIds[1] {
			t.Error("two messages have one id")
		}
		if got[0].Message.OrderingKey != "o" || got[0].Message.Attributes["k"] != "v" {
			t.Errorf("pulled %v", got[0])
		}
	})
}

func TestPullWaitsForAMessage(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, nil)
		time.AfterFunc(5*time.Second, func() { publish(t, s, "a") })
		start := time.Now()
		resp := must(t, s.Pull, &pubsubpb.PullRequest{Subscription: subName, MaxMessages: 1})
		if waited := time.Since(start); len(resp.ReceivedMessages) != 1 || waited != 5*time.Second {
			t.Fatalf("%d messages after %v", len(resp.ReceivedMessages), waited)
		}
		start = time.Now()
		resp = must(t, s.Pull, &pubsubpb.PullRequest{Subscription: subName, MaxMessages: 1})
		// The lease of the message above ends before the pull does.
		if waited := time.Since(start); len(resp.ReceivedMessages) != 1 || waited != 10*time.Second {
			t.Fatalf("%d messages after %v", len(resp.ReceivedMessages), waited)
		}
		ack(t, s, resp.ReceivedMessages...)
		start = time.Now()
		resp = must(t, s.Pull, &pubsubpb.PullRequest{Subscription: subName, MaxMessages: 1})
		if waited := time.Since(start); len(resp.ReceivedMessages) != 0 || waited != pullWait {
			t.Fatalf("%d messages after %v", len(resp.ReceivedMessages), waited)
		}
	})
}

func TestPullEnds(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(t *testing.T, s *Service, cancel func())
		want codes.Code
	}{
		"canceled": {func(_ *testing.T, _ *Service, cancel func()) { cancel() }, codes.Canceled},
		"deleted": {func(t *testing.T, s *Service, _ func()) {
			must(t, s.DeleteSubscription, &pubsubpb.DeleteSubscriptionRequest{Subscription: subName})
		}, codes.NotFound},
		"detached": {func(t *testing.T, s *Service, _ func()) {
			must(t, s.DetachSubscription, &pubsubpb.DetachSubscriptionRequest{Subscription: subName})
		}, codes.FailedPrecondition},
		"push": {func(t *testing.T, s *Service, _ func()) {
			must(t, s.ModifyPushConfig, &pubsubpb.ModifyPushConfigRequest{Subscription: subName, PushConfig: &pubsubpb.PushConfig{PushEndpoint: "http://localhost/"}})
		}, codes.FailedPrecondition},
		"reset": {func(_ *testing.T, s *Service, _ func()) { s.Reset() }, codes.NotFound},
		"close": {func(t *testing.T, s *Service, _ func()) {
			if err := s.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}, codes.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Config{}, func(t *testing.T, s *Service) {
				createSubscription(t, s, nil)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go func() {
					synctest.Wait()
					test.end(t, s, cancel)
				}()
				_, err := s.Pull(ctx, &pubsubpb.PullRequest{Subscription: subName, MaxMessages: 1})
				if got := status.Code(err); got != test.want {
					t.Errorf("%v, want %v", err, test.want)
				}
			})
		})
	}
}

func TestLeaseEndsOnTheClock(t *testing.T) {
	c := clock.New()
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, Config{Clock: c})
		must(t, s.CreateTopic, &pubsubpb.Topic{Name: topicName})
		createSubscription(t, s, func(sub *pubsubpb.Subscription) { sub.AckDeadlineSeconds = 600 })
		publish(t, s, "a")
		pull(t, s, "a")
		c.Advance(599 * time.Second)
		pull(t, s)
		c.Advance(time.Second)
		pull(t, s, "a")
		c.Advance(7 * 24 * time.Hour) // the end of its retention
		pull(t, s)
	})
}

func TestFilterOnSubscription(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, func(sub *pubsubpb.Subscription) { sub.Filter = `attributes.kind = "a"` })
		for _, kind := range []string{"a", "b", "a"} {
			must(t, s.Publish, &pubsubpb.PublishRequest{Topic: topicName, Messages: []*pubsubpb.PubsubMessage{
				{Data: []byte(kind), Attributes: map[string]string{"kind": kind}},
			}})
		}
		pull(t, s, "a", "a")
	})
}

func TestDeadLetterTopic(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		must(t, s.CreateTopic, &pubsubpb.Topic{Name: deadName})
		const graveyard = "projects/p/subscriptions/graveyard"
		must(t, s.CreateSubscription, &pubsubpb.Subscription{Name: graveyard, Topic: deadName})
		createSubscription(t, s, func(sub *pubsubpb.Subscription) {
			sub.EnableMessageOrdering = true
			sub.DeadLetterPolicy = &pubsubpb.DeadLetterPolicy{DeadLetterTopic: deadName}
		})
		published := time.Now().UTC()
		must(t, s.Publish, &pubsubpb.PublishRequest{Topic: topicName, Messages: []*pubsubpb.PubsubMessage{
			{Data: []byte("k:1"), OrderingKey: "k", Attributes: map[string]string{"own": "kept"}},
		}})
		publish(t, s, "k:2")
		for attempt := range int32(5) {
			m := pull(t, s, "k:1", "k:2")[0]
			if m.DeliveryAttempt != attempt+1 {
				t.Errorf("delivery attempt %d, want %d", m.DeliveryAttempt, attempt+1)
			}
			nack(t, s, m)
		}
		pull(t, s, "k:2") // the key is free
		dead := pullFrom(t, s, graveyard, "k:1")[0]
		want := map[string]string{
			"own": "kept",
			"CloudPubSubDeadLetterSourceDeliveryCount":       "5",
			"CloudPubSubDeadLetterSourceSubscription":        "mailer",
			"CloudPubSubDeadLetterSourceSubscriptionProject": "p",
			"CloudPubSubDeadLetterSourceTopicPublishTime":    published.Format("2006-01-02T15:04:05.000") + "+00:00",
		}
		if diff := cmp.Diff(want, dead.Message.Attributes); diff != "" {
			t.Errorf("attributes (-want +got):\n%s", diff)
		}
		if dead.Message.OrderingKey != "k" || dead.DeliveryAttempt != 0 {
			t.Errorf("dead letter %v", dead)
		}
	})
}

func TestDeadLetterTopicIsGone(t *testing.T) {
	var log strings.Builder
	logger := slog.New(slog.NewTextHandler(&log, nil))
	bubble(t, Config{Logger: logger}, func(t *testing.T, s *Service) {
		must(t, s.CreateTopic, &pubsubpb.Topic{Name: deadName})
		createSubscription(t, s, func(sub *pubsubpb.Subscription) {
			sub.DeadLetterPolicy = &pubsubpb.DeadLetterPolicy{DeadLetterTopic: deadName}
		})
		must(t, s.DeleteTopic, &pubsubpb.DeleteTopicRequest{Topic: deadName})
		publish(t, s, "a")
		for attempt := range int32(8) {
			m := pull(t, s, "a")[0]
			if m.DeliveryAttempt != attempt+1 {
				t.Errorf("delivery attempt %d, want %d", m.DeliveryAttempt, attempt+1)
			}
			nack(t, s, m)
		}
		if n := strings.Count(log.String(), "dead letters not published"); n != 1 {
			t.Errorf("%d reports, want 1:\n%s", n, &log)
		}
	})
}

func TestDeadLetterIntoItself(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, func(sub *pubsubpb.Subscription) {
			sub.DeadLetterPolicy = &pubsubpb.DeadLetterPolicy{DeadLetterTopic: topicName}
		})
		publish(t, s, "a")
		for range 11 {
			nack(t, s, pull(t, s, "a")...)
		}
	})
}

func TestExactlyOnceErrors(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, func(sub *pubsubpb.Subscription) { sub.EnableExactlyOnceDelivery = true })
		publish(t, s, "a")
		late := pull(t, s, "a")
		time.Sleep(11 * time.Second)
		publish(t, s, "b")
		good := pull(t, s, "a", "b")[1:]
		_, err := s.Acknowledge(t.Context(), &pubsubpb.AcknowledgeRequest{Subscription: subName, AckIds: ackIDs(late[0], good[0])})
		st := status.Convert(err)
		info, _ := append(st.Details(), nil)[0].(*errdetails.ErrorInfo)
		want := map[string]string{late[0].AckId: "PERMANENT_FAILURE_INVALID_ACK_ID"}
		if st.Code() != codes.InvalidArgument || info.GetReason() != "EXACTLY_ONCE_ACKID_FAILURE" || !cmp.Equal(want, info.GetMetadata()) {
			t.Errorf("%v with %v", err, info)
		}
		time.Sleep(11 * time.Second)
		pull(t, s, "a") // b was acknowledged all the same
	})
}

func TestDetached(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, nil)
		publish(t, s, "a")
		m := pull(t, s, "a")
		must(t, s.DetachSubscription, &pubsubpb.DetachSubscriptionRequest{Subscription: subName})
		publish(t, s, "b")
		for name, call := range map[string]func() error{
			"pull": func() error {
				_, err := s.Pull(t.Context(), &pubsubpb.PullRequest{Subscription: subName, MaxMessages: 1})
				return err
			},
			"ack": func() error {
				_, err := s.Acknowledge(t.Context(), &pubsubpb.AcknowledgeRequest{Subscription: subName, AckIds: ackIDs(m...)})
				return err
			},
			"deadline": func() error {
				_, err := s.ModifyAckDeadline(t.Context(), &pubsubpb.ModifyAckDeadlineRequest{Subscription: subName, AckIds: ackIDs(m...)})
				return err
			},
			"seek": func() error {
				_, err := s.Seek(t.Context(), &pubsubpb.SeekRequest{Subscription: subName, Target: &pubsubpb.SeekRequest_Time{Time: timestamppb.Now()}})
				return err
			},
			"detach": func() error {
				_, err := s.DetachSubscription(t.Context(), &pubsubpb.DetachSubscriptionRequest{Subscription: subName})
				return err
			},
		} {
			if got := status.Code(call()); got != codes.FailedPrecondition {
				t.Errorf("%s: %v", name, got)
			}
		}
		if got := must(t, s.GetSubscription, &pubsubpb.GetSubscriptionRequest{Subscription: subName}); !got.Detached {
			t.Error("the subscription does not say that it is detached")
		}
		if got := must(t, s.ListTopicSubscriptions, &pubsubpb.ListTopicSubscriptionsRequest{Topic: topicName}); len(got.Subscriptions) != 0 {
			t.Errorf("the topic still lists %v", got.Subscriptions)
		}
	})
}

func TestSeekToATime(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, func(sub *pubsubpb.Subscription) { sub.RetainAckedMessages = true })
		publish(t, s, "a")
		time.Sleep(time.Second)
		from := timestamppb.Now()
		publish(t, s, "b")
		ack(t, s, pull(t, s, "a", "b")...)
		must(t, s.Seek, &pubsubpb.SeekRequest{Subscription: subName, Target: &pubsubpb.SeekRequest_Time{Time: from}})
		pull(t, s, "b")
	})
}

func TestReset(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, nil)
		publish(t, s, "a")
		s.Reset()
		if _, err := s.GetTopic(t.Context(), &pubsubpb.GetTopicRequest{Topic: topicName}); status.Code(err) != codes.NotFound {
			t.Errorf("the topic is still there: %v", err)
		}
		must(t, s.CreateTopic, &pubsubpb.Topic{Name: topicName})
		createSubscription(t, s, nil)
		pull(t, s)
		publish(t, s, "b")
		pull(t, s, "b")
	})
}

func TestClosedServiceRefuses(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		for range 2 {
			if err := s.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.CreateTopic(t.Context(), &pubsubpb.Topic{Name: topicName}); status.Code(err) != codes.Unavailable {
			t.Errorf("create: %v", err)
		}
		if _, err := s.Publish(t.Context(), &pubsubpb.PublishRequest{Topic: topicName}); status.Code(err) != codes.Unavailable {
			t.Errorf("publish: %v", err)
		}
	})
}

func TestTopicLifecycle(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, nil)
		got := must(t, s.UpdateTopic, &pubsubpb.UpdateTopicRequest{
			Topic:      &pubsubpb.Topic{Name: topicName, Labels: map[string]string{"a": "b"}, MessageRetentionDuration: durationpb.New(time.Hour)},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"labels", "message_retention_duration"}},
		})
		if got.Labels["a"] != "b" || got.State != pubsubpb.Topic_ACTIVE {
			t.Errorf("updated to %v", got)
		}
		sub := must(t, s.GetSubscription, &pubsubpb.GetSubscriptionRequest{Subscription: subName})
		if sub.TopicMessageRetentionDuration.AsDuration() != time.Hour {
			t.Errorf("the subscription shows %v", sub.TopicMessageRetentionDuration)
		}
		publish(t, s, "a")
		must(t, s.DeleteTopic, &pubsubpb.DeleteTopicRequest{Topic: topicName})
		must(t, s.CreateTopic, &pubsubpb.Topic{Name: topicName}) // another topic
		publish(t, s, "b")
		pull(t, s, "a")
		sub = must(t, s.GetSubscription, &pubsubpb.GetSubscriptionRequest{Subscription: subName})
		if sub.Topic != "_deleted-topic_" {
			t.Errorf("the topic is %q", sub.Topic)
		}
	})
}

func TestSubscriptionDefaults(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		got := createSubscription(t, s, func(sub *pubsubpb.Subscription) {
			sub.RetryPolicy = &pubsubpb.RetryPolicy{}
			sub.PushConfig = &pubsubpb.PushConfig{PushEndpoint: "http://localhost/push"}
		})
		if got.PushConfig.Attributes["x-goog-version"] != "v1" {
			t.Errorf("created with %v", got.PushConfig)
		}
		got = must(t, s.GetSubscription, &pubsubpb.GetSubscriptionRequest{Subscription: subName})
		if got.AckDeadlineSeconds != 10 || got.State != pubsubpb.Subscription_ACTIVE || len(got.PushConfig.Attributes) != 0 ||
			got.MessageRetentionDuration.AsDuration() != 7*24*time.Hour || got.ExpirationPolicy.Ttl.AsDuration() != 31*24*time.Hour ||
			got.RetryPolicy.MinimumBackoff.AsDuration() != 10*time.Second || got.RetryPolicy.MaximumBackoff.AsDuration() != 600*time.Second {
			t.Errorf("defaults: %v", got)
		}
	})
}

func TestUpdateSubscription(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		must(t, s.CreateTopic, &pubsubpb.Topic{Name: deadName})
		createSubscription(t, s, nil)
		got := must(t, s.UpdateSubscription, &pubsubpb.UpdateSubscriptionRequest{
			Subscription: &pubsubpb.Subscription{
				Name: subName, AckDeadlineSeconds: 30, Labels: map[string]string{"not": "masked"},
				DeadLetterPolicy: &pubsubpb.DeadLetterPolicy{DeadLetterTopic: deadName, MaxDeliveryAttempts: 7},
			},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"ack_deadline_seconds", "dead_letter_policy"}},
		})
		if got.AckDeadlineSeconds != 30 || len(got.Labels) != 0 || got.DeadLetterPolicy.MaxDeliveryAttempts != 7 {
			t.Errorf("updated to %v", got)
		}
		got = must(t, s.UpdateSubscription, &pubsubpb.UpdateSubscriptionRequest{
			Subscription: &pubsubpb.Subscription{Name: subName, DeadLetterPolicy: &pubsubpb.DeadLetterPolicy{MaxDeliveryAttempts: 9}},
			UpdateMask:   &fieldmaskpb.FieldMask{Paths: []string{"dead_letter_policy.max_delivery_attempts"}},
		})
		if got.DeadLetterPolicy.MaxDeliveryAttempts != 9 || got.DeadLetterPolicy.DeadLetterTopic != deadName {
			t.Errorf("updated to %v", got.DeadLetterPolicy)
		}
		publish(t, s, "a")
		if m := pull(t, s, "a")[0]; m.DeliveryAttempt != 1 {
			t.Errorf("the new policy does not work: attempt %d", m.DeliveryAttempt)
		}
		got = must(t, s.UpdateSubscription, &pubsubpb.UpdateSubscriptionRequest{
			Subscription: &pubsubpb.Subscription{Name: subName},
			UpdateMask:   &fieldmaskpb.FieldMask{Paths: []string{"dead_letter_policy"}},
		})
		if got.DeadLetterPolicy != nil {
			t.Errorf("the policy is still %v", got.DeadLetterPolicy)
		}
	})
}

func TestLists(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		for i := range 5 {
			must(t, s.CreateTopic, &pubsubpb.Topic{Name: fmt.Sprintf("projects/p/topics/t-%d", i)})
			must(t, s.CreateSubscription, &pubsubpb.Subscription{Name: fmt.Sprintf("projects/p/subscriptions/s-%d", i), Topic: topicName})
		}
		must(t, s.CreateTopic, &pubsubpb.Topic{Name: "projects/pp/topics/other"})
		var topics, subs, attached []string
		for token := ""; ; {
			resp := must(t, s.ListTopics, &pubsubpb.ListTopicsRequest{Project: "projects/p", PageSize: 4, PageToken: token})
			for _, topic := range resp.Topics {
				topics = append(topics, leaf(topic.Name))
			}
			if token = resp.NextPageToken; token == "" {
				break
			}
		}
		for token := ""; ; {
			resp := must(t, s.ListSubscriptions, &pubsubpb.ListSubscriptionsRequest{Project: "projects/p", PageSize: 2, PageToken: token})
			for _, sub := range resp.Subscriptions {
				subs = append(subs, leaf(sub.Name))
			}
			if token = resp.NextPageToken; token == "" {
				break
			}
		}
		for _, name := range must(t, s.ListTopicSubscriptions, &pubsubpb.ListTopicSubscriptionsRequest{Topic: topicName}).Subscriptions {
			attached = append(attached, leaf(name))
		}
		if diff := cmp.Diff([]string{"orders", "t-0", "t-1", "t-2", "t-3", "t-4"}, topics); diff != "" {
			t.Errorf("topics (-want +got):\n%s", diff)
		}
		all := []string{"s-0", "s-1", "s-2", "s-3", "s-4"}
		if diff := cmp.Diff(all, subs); diff != "" {
			t.Errorf("subscriptions (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(all, attached); diff != "" {
			t.Errorf("the topic's subscriptions (-want +got):\n%s", diff)
		}
	})
}
