package pubsub

import (
	"context"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// subscription finds a subscription by its name.
func (s *Service) subscription(name string) (*subscription, error) {
	s.mu.RLock()
	sub := s.subscriptions[name]
	s.mu.RUnlock()
	if sub != nil {
		return sub, nil
	}
	if s.ctx.Err() != nil {
		return nil, errClosed()
	}
	if err := checkSubscriptionName(name); err != nil {
		return nil, err
	}
	return nil, notFound(name)
}

// CreateSubscription implements google.pubsub.v1.Subscriber.
func (s *Service) CreateSubscription(_ context.Context, req *pubsubpb.Subscription) (*pubsubpb.Subscription, error) {
	return durable(s, func() (*pubsubpb.Subscription, error) { return s.createSubscription(req) })
}

func (s *Service) createSubscription(req *pubsubpb.Subscription) (*pubsubpb.Subscription, error) {
	if err := checkSubscriptionName(req.GetName()); err != nil {
		return nil, err
	}
	if err := checkTopicName(req.GetTopic()); err != nil {
		return nil, err
	}
	config := proto.CloneOf(req)
	config.Detached = false
	if err := checkSubscription(config); err != nil {
		return nil, err
	}
	f, err := parseFilter(config.Filter)
	if err != nil {
		return nil, err // checkSubscription has refused it before
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return nil, errClosed()
	}
	if s.subscriptions[config.Name] != nil {
		return nil, alreadyExists(config.Name)
	}
	t := s.topics[config.Topic]
	if t == nil {
		return nil, notFound(config.Topic)
	}
	if err := s.checkDeadLetterTopic(config); err != nil {
		return nil, err
	}
	sub := newSubscription(s, t, config, f)
	s.subscriptions[config.Name] = sub
	t.attach(sub)

	shown := sub.proto()
	if shown.PushConfig.PushEndpoint != "" { // shown at creation only
		if shown.PushConfig.Attributes == nil {
			shown.PushConfig.Attributes = make(map[string]string, 1)
		}
		shown.PushConfig.Attributes["x-goog-version"] = "v1"
	}
	return shown, nil
}

// checkDeadLetterTopic is called with s.mu held.
func (s *Service) checkDeadLetterTopic(config *pubsubpb.Subscription) error {
	if p := config.DeadLetterPolicy; p != nil && s.topics[p.DeadLetterTopic] == nil {
		return notFound(p.DeadLetterTopic)
	}
	return nil
}

// GetSubscription implements google.pubsub.v1.Subscriber.
func (s *Service) GetSubscription(_ context.Context, req *pubsubpb.GetSubscriptionRequest) (*pubsubpb.Subscription, error) {
	sub, err := s.subscription(req.GetSubscription())
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return sub.proto(), nil
}

// UpdateSubscription implements google.pubsub.v1.Subscriber.
func (s *Service) UpdateSubscription(_ context.Context, req *pubsubpb.UpdateSubscriptionRequest) (*pubsubpb.Subscription, error) {
	return durable(s, func() (*pubsubpb.Subscription, error) { return s.updateSubscription(req) })
}

func (s *Service) updateSubscription(req *pubsubpb.UpdateSubscriptionRequest) (*pubsubpb.Subscription, error) {
	if err := checkMask(req.GetSubscription(), req.GetUpdateMask(), "UpdateSubscriptionRequest", "Subscription",
		"ack_deadline_seconds", "retain_acked_messages", "message_retention_duration", "labels",
		"expiration_policy", "dead_letter_policy", "retry_policy", "push_config",
		"enable_exactly_once_delivery", "bigquery_config", "cloud_storage_config", "bigtable_config",
		"message_transforms"); err != nil {
		return nil, err
	}
	sub, err := s.subscription(req.GetSubscription().GetName())
	if err != nil {
		return nil, err
	}
	return s.change(sub, func(config *pubsubpb.Subscription) {
		applyMask(config, req.GetSubscription(), req.GetUpdateMask())
	})
}

// ModifyPushConfig implements google.pubsub.v1.Subscriber.
func (s *Service) ModifyPushConfig(_ context.Context, req *pubsubpb.ModifyPushConfigRequest) (*emptypb.Empty, error) {
	return durable(s, func() (*emptypb.Empty, error) { return s.modifyPushConfig(req) })
}

func (s *Service) modifyPushConfig(req *pubsubpb.ModifyPushConfigRequest) (*emptypb.Empty, error) {
	sub, err := s.subscription(req.GetSubscription())
	if err != nil {
		return nil, err
	}
	_, err = s.change(sub, func(config *pubsubpb.Subscription) {
		config.PushConfig = proto.CloneOf(req.GetPushConfig())
	})
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// change gives sub the configuration that edit makes of its present one, if that is valid. The
// changes of all subscriptions take turns.
func (s *Service) change(sub *subscription, edit func(*pubsubpb.Subscription)) (*pubsubpb.Subscription, error) {
	s.changes.Lock()
	defer s.changes.Unlock()

	s.mu.RLock()
	config := sub.proto()
	before := proto.CloneOf(config.DeadLetterPolicy)
	edit(config)
	err := checkSubscription(config)
	if err == nil && !proto.Equal(before, config.DeadLetterPolicy) { // an old one may have lost its topic
		err = s.checkDeadLetterTopic(config)
	}
	s.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	sub.reconfigure(config)
	return config, nil
}

// ListSubscriptions implements google.pubsub.v1.Subscriber.
func (s *Service) ListSubscriptions(_ context.Context, req *pubsubpb.ListSubscriptionsRequest) (*pubsubpb.ListSubscriptionsResponse, error) {
	if err := checkProjectName(req.GetProject()); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	names, next, err := page(namesIn(s.subscriptions, req.GetProject()), req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	resp := &pubsubpb.ListSubscriptionsResponse{NextPageToken: next}
	for _, name := range names {
		resp.Subscriptions = append(resp.Subscriptions, s.subscriptions[name].proto())
	}
	return resp, nil
}

// DeleteSubscription implements google.pubsub.v1.Subscriber.
func (s *Service) DeleteSubscription(_ context.Context, req *pubsubpb.DeleteSubscriptionRequest) (*emptypb.Empty, error) {
	return durable(s, func() (*emptypb.Empty, error) { return s.deleteSubscription(req) })
}

func (s *Service) deleteSubscription(req *pubsubpb.DeleteSubscriptionRequest) (*emptypb.Empty, error) {
	sub, err := s.subscription(req.GetSubscription())
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.subscriptions[sub.name] != sub {
		return nil, notFound(sub.name)
	}
	s.remove(sub)
	return &emptypb.Empty{}, nil
}

// remove ends a subscription for good. It is called with s.mu held.
func (s *Service) remove(sub *subscription) {
	delete(s.subscriptions, sub.name)
	if sub.topic != nil {
		sub.topic.detach(sub)
	}
	sub.erase() // first: its messages go after it
	sub.end(notFound(sub.name))
	s.deletePolicy(sub.name)
}
