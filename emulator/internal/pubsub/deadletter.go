package pubsub

import (
	"log/slog"
	"maps"
	"strconv"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/proto"
)

// forward publishes copies of exhausted messages to the dead-letter topic. The source of each is
// acknowledged only when its copy was published; otherwise it is delivered again.
func (s *subscription) forward(dead []*entry, policy *pubsubpb.DeadLetterPolicy) {
	copies := make([]*pubsubpb.PubsubMessage, len(dead))
	sizes := make([]int, len(dead))
	for i, e := range dead {
		copies[i] = deadLetter(e.msg, e.failures, s.name)
		sizes[i] = proto.Size(copies[i])
	}
	t, err := s.service.topic(policy.GetDeadLetterTopic())
	if err == nil {
		_, err = t.publish(copies, sizes)
	}
	if err == nil {
		s.deadLetterReports.Clear()
	} else if s.deadLetterReports.First(err.Error()) {
		s.service.logger.Warn("dead letters not published; their messages are delivered again",
			slog.String("subscription", s.name),
			slog.String("dead_letter_topic", policy.GetDeadLetterTopic()),
			slog.Any("error", err))
	}
	s.update(func(now time.Time) {
		if s.ended != nil {
			return
		}
		for _, e := range dead {
			s.backlog.forwarded(e, err == nil, now)
		}
	})
}

// deadLetter is the copy of m that goes to the dead-letter topic of the named subscription.
func deadLetter(m *pubsubpb.PubsubMessage, attempts int, subscription string) *pubsubpb.PubsubMessage {
	attributes := maps.Clone(m.GetAttributes())
	if attributes == nil {
		attributes = make(map[string]string, 4)
	}
	attributes["CloudPubSubDeadLetterSourceDeliveryCount"] = strconv.Itoa(attempts)
	attributes["CloudPubSubDeadLetterSourceSubscription"] = leaf(subscription)
	attributes["CloudPubSubDeadLetterSourceSubscriptionProject"] = project(subscription)
	attributes["CloudPubSubDeadLetterSourceTopicPublishTime"] = m.GetPublishTime().AsTime().Format("2006-01-02T15:04:05.000+00:00")
	return &pubsubpb.PubsubMessage{Data: m.GetData(), Attributes: attributes, OrderingKey: m.GetOrderingKey()}
}
