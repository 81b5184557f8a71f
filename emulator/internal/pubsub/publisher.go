package pubsub

import (
	"context"
	"slices"
	"strings"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// CreateTopic implements google.pubsub.v1.Publisher.
func (s *Service) CreateTopic(_ context.Context, req *pubsubpb.Topic) (*pubsubpb.Topic, error) {
	return durable(s, func() (*pubsubpb.Topic, error) { return s.createTopic(req) })
}

func (s *Service) createTopic(req *pubsubpb.Topic) (*pubsubpb.Topic, error) {
	if err := checkTopicName(req.GetName()); err != nil {
		return nil, err
	}
	config := proto.CloneOf(req)
	if err := checkTopic(config); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return nil, errClosed()
	}
	if s.topics[config.Name] != nil {
		return nil, alreadyExists(config.Name)
	}
	schema, err := s.schemaRange(config.SchemaSettings)
	if err != nil {
		return nil, err
	}
	t := newTopic(s, s.numbers.take(1), config, schema)
	s.topics[config.Name] = t
	s.journal.putTopic(t)
	s.warnIngestion(config)
	return t.proto(), nil
}

// GetTopic implements google.pubsub.v1.Publisher.
func (s *Service) GetTopic(_ context.Context, req *pubsubpb.GetTopicRequest) (*pubsubpb.Topic, error) {
	t, err := s.topic(req.GetTopic())
	if err != nil {
		return nil, err
	}
	return t.proto(), nil
}

// UpdateTopic implements google.pubsub.v1.Publisher.
func (s *Service) UpdateTopic(_ context.Context, req *pubsubpb.UpdateTopicRequest) (*pubsubpb.Topic, error) {
	return durable(s, func() (*pubsubpb.Topic, error) { return s.updateTopic(req) })
}

func (s *Service) updateTopic(req *pubsubpb.UpdateTopicRequest) (*pubsubpb.Topic, error) {
	if err := checkMask(req.GetTopic(), req.GetUpdateMask(), "UpdateTopicRequest", "Topic",
		"labels", "message_storage_policy", "kms_key_name", "schema_settings",
		"message_retention_duration", "ingestion_data_source_settings", "message_transforms"); err != nil {
		return nil, err
	}
	s.mu.Lock() // subscriptions show the topic's retention
	defer s.mu.Unlock()
	t := s.topics[req.GetTopic().GetName()]
	if t == nil {
		if err := checkTopicName(req.GetTopic().GetName()); err != nil {
			return nil, err
		}
		return nil, notFound(req.GetTopic().GetName())
	}
	config, schema, err := s.edited(t, req)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	t.configure(config, schema)
	t.trim(s.clock.Now())
	t.mu.Unlock()
	s.journal.putTopic(t)
	s.warnIngestion(config)
	return t.proto(), nil
}

// edited is the topic's configuration after the request. Service.mu is held, which alone lets it change.
func (s *Service) edited(t *topic, req *pubsubpb.UpdateTopicRequest) (*pubsubpb.Topic, schemaRange, error) {
	config := proto.CloneOf(t.proto())
	applyMask(config, req.GetTopic(), req.GetUpdateMask())
	if err := checkTopic(config); err != nil {
		return nil, schemaRange{}, err
	}
	if !slices.ContainsFunc(req.GetUpdateMask().GetPaths(), func(path string) bool {
		return strings.HasPrefix(path, "schema_settings")
	}) {
		config.SchemaSettings = t.config.SchemaSettings // shown otherwise, if it is gone
		return config, t.schema, nil
	}
	schema, err := s.schemaRange(config.SchemaSettings)
	return config, schema, err
}

// ListTopics implements google.pubsub.v1.Publisher.
func (s *Service) ListTopics(_ context.Context, req *pubsubpb.ListTopicsRequest) (*pubsubpb.ListTopicsResponse, error) {
	if err := checkProjectName(req.GetProject()); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	names, next, err := page(namesIn(s.topics, req.GetProject()), req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	resp := &pubsubpb.ListTopicsResponse{NextPageToken: next}
	for _, name := range names {
		resp.Topics = append(resp.Topics, s.topics[name].proto())
	}
	return resp, nil
}

// ListTopicSubscriptions implements google.pubsub.v1.Publisher.
func (s *Service) ListTopicSubscriptions(_ context.Context, req *pubsubpb.ListTopicSubscriptionsRequest) (*pubsubpb.ListTopicSubscriptionsResponse, error) {
	t, err := s.topic(req.GetTopic())
	if err != nil {
		return nil, err
	}
	var names []string
	t.mu.Lock()
	for _, sub := range t.subscriptions {
		names = append(names, sub.name)
	}
	t.mu.Unlock()
	names, next, err := page(names, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &pubsubpb.ListTopicSubscriptionsResponse{Subscriptions: names, NextPageToken: next}, nil
}

// DeleteTopic implements google.pubsub.v1.Publisher. Its subscriptions keep what they have.
func (s *Service) DeleteTopic(_ context.Context, req *pubsubpb.DeleteTopicRequest) (*emptypb.Empty, error) {
	return durable(s, func() (*emptypb.Empty, error) { return s.deleteTopic(req) })
}

func (s *Service) deleteTopic(req *pubsubpb.DeleteTopicRequest) (*emptypb.Empty, error) {
	t, err := s.topic(req.GetTopic())
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.topics[t.name] != t {
		return nil, notFound(t.name)
	}
	delete(s.topics, t.name)
	s.journal.deleteTopic(t) // first: its history goes after it
	subscriptions, snapshots := t.delete()
	for _, sub := range subscriptions {
		sub.topic = nil
	}
	for _, snap := range snapshots {
		snap.topic = nil
	}
	s.deletePolicy(t.name)
	return &emptypb.Empty{}, nil
}

// DetachSubscription implements google.pubsub.v1.Publisher.
func (s *Service) DetachSubscription(_ context.Context, req *pubsubpb.DetachSubscriptionRequest) (*pubsubpb.DetachSubscriptionResponse, error) {
	return durable(s, func() (*pubsubpb.DetachSubscriptionResponse, error) { return s.detachSubscription(req) })
}

func (s *Service) detachSubscription(req *pubsubpb.DetachSubscriptionRequest) (*pubsubpb.DetachSubscriptionResponse, error) {
	sub, err := s.subscription(req.GetSubscription())
	if err != nil {
		return nil, err
	}
	s.changes.Lock()
	defer s.changes.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := sub.detach(); err != nil {
		return nil, err
	}
	if sub.topic != nil {
		sub.topic.detach(sub)
	}
	return &pubsubpb.DetachSubscriptionResponse{}, nil
}

// namesIn lists the names of the resources of one project ("projects/P").
func namesIn[T any](resources map[string]T, project string) []string {
	var names []string
	for name := range resources {
		if len(name) > len(project) && name[:len(project)] == project && name[len(project)] == '/' {
			names = append(names, name)
		}
	}
	return names
}
