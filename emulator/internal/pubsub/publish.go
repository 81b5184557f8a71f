package pubsub

import (
	"context"
	"strings"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// The service's limits on what is published.
const (
	maxPublishMessages  = 1000
	maxPublishBytes     = 10_000_000 // of all messages
	maxAttributes       = 100
	maxAttributeKey     = 256  // bytes
	maxAttributeValue   = 1024 // bytes
	maxOrderingKeyBytes = 1024
)

// Publish implements google.pubsub.v1.Publisher.
func (s *Service) Publish(_ context.Context, req *pubsubpb.PublishRequest) (*pubsubpb.PublishResponse, error) {
	return durable(s, func() (*pubsubpb.PublishResponse, error) { return s.publish(req) })
}

func (s *Service) publish(req *pubsubpb.PublishRequest) (*pubsubpb.PublishResponse, error) {
	t, err := s.topic(req.GetTopic())
	if err != nil {
		return nil, err
	}
	sizes, err := checkPublish(req.GetMessages())
	if err != nil {
		return nil, err
	}
	ids, err := t.accept(req.GetMessages(), sizes)
	if err != nil {
		return nil, err
	}
	return &pubsubpb.PublishResponse{MessageIds: ids}, nil
}

// checkPublish checks the messages of one request and returns their sizes in bytes.
func checkPublish(messages []*pubsubpb.PubsubMessage) ([]int, error) {
	switch n := len(messages); {
	case n == 0:
		return nil, invalid("The value for message_count is too small. You passed 0 in the request, but the minimum value is 1.")
	case n > maxPublishMessages:
		return nil, invalid("The value for message_count is too large. You passed %d in the request, but the maximum value is %d.", n, maxPublishMessages)
	}
	sizes := make([]int, len(messages))
	total := 0
	for i, m := range messages {
		sizes[i] = proto.Size(m)
		total += sizes[i]
	}
	if total > MaxRequestBytes {
		return nil, invalid("Request payload size exceeds the limit: %d bytes.", MaxRequestBytes)
	}
	if total > maxPublishBytes {
		return nil, invalid("The value for request_size is too large. You passed %d in the request, but the maximum value is %d.", total, maxPublishBytes)
	}
	for _, m := range messages {
		if err := checkMessage(m); err != nil {
			return nil, err
		}
		if m.GetOrderingKey() != messages[0].GetOrderingKey() {
			return nil, status.Error(codes.FailedPrecondition, "In a single publish request, all messages must have no ordering key or they must all have the same ordering key.")
		}
	}
	return sizes, nil
}

func checkMessage(m *pubsubpb.PubsubMessage) error {
	switch n := len(m.GetAttributes()); {
	case n == 0 && len(m.GetData()) == 0:
		return invalid("One or more messages in the publish request is empty. Each message must contain either non-empty data, or at least one attribute.")
	case n > maxAttributes:
		return invalid("The value for attributes_count is too large. You passed %d in the request, but the maximum value is %d.", n, maxAttributes)
	}
	for key, value := range m.GetAttributes() {
		switch {
		case key == "":
			return invalid("An attribute key is empty. Each attribute key must have at least one character.")
		case reservedKey(key):
			return invalid("An attribute key starts with 'goog', which is reserved (key=%.256s).", key)
		case len(key) > maxAttributeKey:
			return invalid("The value for attribute_key_size is too large. You passed %d in the request, but the maximum value is %d.", len(key), maxAttributeKey)
		case len(value) > maxAttributeValue:
			return invalid("The value for attribute_value_size is too large. You passed %d in the request, but the maximum value is %d.", len(value), maxAttributeValue)
		}
	}
	if n := len(m.GetOrderingKey()); n > maxOrderingKeyBytes {
		return invalid("The value for ordering_key_size is too large. You passed %d in the request, but the maximum value is %d.", n, maxOrderingKeyBytes)
	}
	return nil
}

// reservedKey reports whether only Google may set the attribute. Its clients set googclient_*.
func reservedKey(key string) bool {
	return len(key) >= 4 && strings.EqualFold(key[:4], "goog") && !strings.HasPrefix(key, "googclient_")
}
