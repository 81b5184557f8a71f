package differential

import (
	"strings"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

const day = 24 * time.Hour

func one(request proto.Message) operation { return operation{request: request} }

func (g *generator) newTopic(name string) *pubsubpb.Topic {
	t := &pubsubpb.Topic{Name: name, Labels: g.labels()}
	if name == g.retaining() {
		t.MessageRetentionDuration = g.duration(10*time.Minute, time.Hour, 31*day)
	}
	if g.rarely(30) {
		t.MessageRetentionDuration = g.duration(10*time.Minute-time.Second, 31*day+time.Second, 0, -time.Second)
	}
	if g.rarely(6) {
		t.SchemaSettings = &pubsubpb.SchemaSettings{Schema: g.schema(), Encoding: pick(g, pubsubpb.Encoding_JSON, pubsubpb.Encoding_BINARY)}
	}
	return t
}

// retaining is the one topic that retains messages, to which no subscription belongs: Google's emulator would give a new
// subscription what was published before.
func (g *generator) retaining() string { return g.name("topics", 9) }

func (g *generator) topicOperation() operation {
	return g.choose(
		choice{4, func() operation { return one(g.newTopic(g.topic())) }},
		choice{1, func() operation { return one(g.newTopic(g.retaining())) }},
		choice{2, func() operation { return one(&pubsubpb.GetTopicRequest{Topic: g.topic()}) }},
		choice{1, func() operation { return one(&pubsubpb.DeleteTopicRequest{Topic: g.topic()}) }},
		choice{2, func() operation {
			if g.rarely(3) {
				return one(&pubsubpb.UpdateTopicRequest{Topic: g.newTopic(g.topic()), UpdateMask: g.mask("labels", "kms_key_name")})
			}
			t := &pubsubpb.Topic{Name: g.retaining(), MessageRetentionDuration: g.duration(10*time.Minute, 20*time.Minute, 31*day, time.Minute)}
			return one(&pubsubpb.UpdateTopicRequest{Topic: t, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"message_retention_duration"}}})
		}},
		choice{1, func() operation { return g.list(&pubsubpb.ListTopicsRequest{Project: g.parent()}) }},
		choice{1, func() operation { return g.list(&pubsubpb.ListTopicSubscriptionsRequest{Topic: g.topic()}) }},
		choice{1, func() operation { return g.list(&pubsubpb.ListTopicSnapshotsRequest{Topic: g.topic()}) }},
	)
}

// parent is what a list is of.
func (g *generator) parent() string {
	if g.rarely(20) {
		return pick(g, "", "projects/", "x", g.project+"/topics")
	}
	return g.project
}

func (g *generator) newSubscription(name string) *pubsubpb.Subscription {
	s := &pubsubpb.Subscription{Name: name, Topic: g.topic(), Labels: g.labels()}
	s.AckDeadlineSeconds = pick[int32](g, 0, 10, 60, 600) // longer than any sequence takes
	s.EnableMessageOrdering = g.rarely(3)
	s.RetainAckedMessages = g.rarely(2)
	if g.rarely(4) {
		s.EnableExactlyOnceDelivery = true
	}
	if g.rarely(8) {
		s.MessageRetentionDuration = g.duration(10*time.Minute, day, 31*day, 10*time.Minute-time.Second, 31*day+time.Second)
	}
	if g.rarely(8) {
		s.ExpirationPolicy = &pubsubpb.ExpirationPolicy{Ttl: g.duration(day, 40*day, day-time.Second)}
	}
	if g.rarely(8) {
		s.DeadLetterPolicy = &pubsubpb.DeadLetterPolicy{DeadLetterTopic: g.topic(), MaxDeliveryAttempts: pick[int32](g, 0, 5, 50, 100, 4, 101, -1)}
	}
	if g.rarely(20) {
		s.AckDeadlineSeconds = pick[int32](g, 9, 601, -1)
	}
	if g.rarely(30) {
		s.PushConfig = &pubsubpb.PushConfig{PushEndpoint: pick(g, "", "nonsense", "ftp://a.test/")}
	}
	return s
}

func (g *generator) subscriptionOperation() operation {
	return g.choose(
		choice{6, func() operation { return one(g.newSubscription(g.subscription())) }},
		choice{3, func() operation { return one(&pubsubpb.GetSubscriptionRequest{Subscription: g.subscription()}) }},
		choice{1, func() operation { return one(&pubsubpb.DeleteSubscriptionRequest{Subscription: g.subscription()}) }},
		choice{g.IntN(2), func() operation { return one(&pubsubpb.DetachSubscriptionRequest{Subscription: g.subscription()}) }},
		choice{4, func() operation {
			s := g.newSubscription(g.subscription())
			s.EnableExactlyOnceDelivery = false
			return one(&pubsubpb.UpdateSubscriptionRequest{Subscription: s, UpdateMask: g.mask("ack_deadline_seconds", "labels",
				"message_retention_duration", "expiration_policy", "dead_letter_policy", "retain_acked_messages")})
		}},
		choice{1, func() operation { return g.list(&pubsubpb.ListSubscriptionsRequest{Project: g.parent()}) }},
		choice{1, func() operation {
			return one(&pubsubpb.ModifyPushConfigRequest{Subscription: g.subscription(), PushConfig: &pubsubpb.PushConfig{}})
		}},
	)
}

func (g *generator) snapshotOperation() operation {
	return g.choose(
		choice{4, func() operation {
			return one(&pubsubpb.CreateSnapshotRequest{Name: g.snapshot(), Subscription: g.subscription(), Labels: g.labels()})
		}},
		choice{2, func() operation { return one(&pubsubpb.GetSnapshotRequest{Snapshot: g.snapshot()}) }},
		choice{1, func() operation { return one(&pubsubpb.DeleteSnapshotRequest{Snapshot: g.snapshot()}) }},
		choice{1, func() operation {
			return one(&pubsubpb.UpdateSnapshotRequest{
				Snapshot: &pubsubpb.Snapshot{Name: g.snapshot(), Labels: g.labels()}, UpdateMask: g.mask("labels"),
			})
		}},
		choice{1, func() operation { return g.list(&pubsubpb.ListSnapshotsRequest{Project: g.parent()}) }},
	)
}

// lists look at all resources.
func (g *generator) lists() []operation {
	return []operation{
		{request: &pubsubpb.ListTopicsRequest{Project: g.project}, pages: true},
		{request: &pubsubpb.ListSubscriptionsRequest{Project: g.project}, pages: true},
		{request: &pubsubpb.ListSnapshotsRequest{Project: g.project}, pages: true},
		{request: &pubsubpb.ListSchemasRequest{Parent: g.project, View: pubsubpb.SchemaView_FULL}, pages: true},
	}
}

func long(n int) string { return strings.Repeat("x", n) }
