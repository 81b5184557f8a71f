package pubsub

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

const day = 24 * time.Hour

func expireAfter(ttl time.Duration) func(*pubsubpb.Subscription) {
	return func(sub *pubsubpb.Subscription) {
		sub.ExpirationPolicy = &pubsubpb.ExpirationPolicy{Ttl: durationpb.New(ttl)}
	}
}

func exists(t *testing.T, s *Service, want bool) {
	t.Helper()
	synctest.Wait()
	_, err := s.GetSubscription(t.Context(), &pubsubpb.GetSubscriptionRequest{Subscription: subName})
	if want && err != nil {
		t.Fatal(err)
	}
	if !want {
		checkStatus(t, err, codes.NotFound, "resource=mailer")
	}
}

func TestExpiration(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, expireAfter(2*day))
		time.Sleep(2*day - time.Second)
		publish(t, s, "a") // arriving messages are no activity
		exists(t, s, true) // nor is reading
		time.Sleep(time.Second)
		exists(t, s, false)
		if got := must(t, s.ListTopicSubscriptions, &pubsubpb.ListTopicSubscriptionsRequest{Topic: topicName}); len(got.Subscriptions) != 0 {
			t.Errorf("the topic still has %v", got.Subscriptions)
		}
	})
}

func TestExpirationByDefault(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, nil)
		time.Sleep(31*day - time.Second)
		exists(t, s, true)
		time.Sleep(time.Second)
		exists(t, s, false)
	})
}

func TestNoExpiration(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, func(sub *pubsubpb.Subscription) { sub.ExpirationPolicy = &pubsubpb.ExpirationPolicy{} })
		time.Sleep(1000 * day)
		exists(t, s, true)
	})
}

// Each of these keeps the subscription for another day.
func TestActivity(t *testing.T) {
	e := &fakeEndpoint{answer: func(int, string) int { return 204 }}
	for name, act := range map[string]func(t *testing.T, s *Service){
		"pull": func(t *testing.T, s *Service) { pull(t, s) },
		"ack": func(t *testing.T, s *Service) {
			must(t, s.Acknowledge, &pubsubpb.AcknowledgeRequest{Subscription: subName, AckIds: []string{ackID{}.String()}})
		},
		"deadline": func(t *testing.T, s *Service) {
			must(t, s.ModifyAckDeadline, &pubsubpb.ModifyAckDeadlineRequest{Subscription: subName, AckIds: []string{ackID{}.String()}})
		},
		"seek":     func(t *testing.T, s *Service) { seekTime(t, s, subName, time.Now()) },
		"snapshot": func(t *testing.T, s *Service) { createSnapshot(t, s) },
		"update": func(t *testing.T, s *Service) {
			must(t, s.UpdateSubscription, &pubsubpb.UpdateSubscriptionRequest{
				Subscription: &pubsubpb.Subscription{Name: subName, AckDeadlineSeconds: 20}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"ack_deadline_seconds"}},
			})
		},
		"push": func(t *testing.T, s *Service) {
			must(t, s.ModifyPushConfig, &pubsubpb.ModifyPushConfigRequest{Subscription: subName, PushConfig: &pubsubpb.PushConfig{PushEndpoint: "http://receiver/"}})
			time.Sleep(12 * time.Hour)
			publish(t, s, "a")
			time.Sleep(12 * time.Hour)
			exists(t, s, true)
			time.Sleep(time.Hour)
			publish(t, s, "b")
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Config{HTTPClient: &http.Client{Transport: e}}, func(t *testing.T, s *Service) {
				createSubscription(t, s, expireAfter(day))
				time.Sleep(20 * time.Hour)
				act(t, s)
				time.Sleep(day - time.Second)
				exists(t, s, true)
				time.Sleep(time.Minute)
				exists(t, s, false)
			})
		})
	}
}

// An open stream is activity, however long it lasts.
func TestStreamIsActivity(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, expireAfter(day))
		w := openStream(t, s, &pubsubpb.StreamingPullRequest{})
		time.Sleep(10 * day)
		exists(t, s, true)
		w.cancel()
		synctest.Wait()
		time.Sleep(day - time.Minute)
		exists(t, s, true)
		time.Sleep(day + time.Minute)
		exists(t, s, false)
	})
}

// A changed policy counts from the change.
func TestExpirationPolicyChanges(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, expireAfter(day))
		set := func(policy *pubsubpb.ExpirationPolicy) {
			must(t, s.UpdateSubscription, &pubsubpb.UpdateSubscriptionRequest{
				Subscription: &pubsubpb.Subscription{Name: subName, ExpirationPolicy: policy}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"expiration_policy"}},
			})
		}
		set(&pubsubpb.ExpirationPolicy{})
		time.Sleep(100 * day)
		exists(t, s, true)
		set(&pubsubpb.ExpirationPolicy{Ttl: durationpb.New(3 * day)})
		time.Sleep(3*day - time.Second)
		exists(t, s, true)
		time.Sleep(time.Second)
		exists(t, s, false)
	})
}
