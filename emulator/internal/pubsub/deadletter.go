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
	published := make([]bool, len(dead))
	t, err := s.service.topic(policy.GetDeadLetterTopic())
	for i, e := range dead { // one by one: the topic's schema may refuse one and take another
		refused := err
		if refused == nil {
			c := deadLetter(e.msg, e.failures, s.name)
			_, refused = t.accept([]*pubsubpb.PubsubMessage{c}, []int{proto.Size(c)})
		}
		published[i] = refused == nil
		s.reportDeadLetter(policy.GetDeadLetterTopic(), refused)
	}
	s.service.journal.Flush()
	s.update(func(now time.Time) {
		if s.ended != nil {
			return
		}
		for i, e := range dead {
			s.backlog.forwarded(e, published[i], now)
		}
	})
}

// reportDeadLetter logs why a copy was not published, once per reason until one is.
func (s *subscription) reportDeadLetter(topic string, err error) {
	if err == nil {
		s.deadLetterReports.Clear()
		return
	}
	if s.deadLetterReports.First(err.Error()) {
		s.service.logger.Warn("dead letters not published; their messages are delivered again",
			slog.String("subscription", s.name), slog.String("dead_letter_topic", topic), slog.Any("error", err))
	}
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
