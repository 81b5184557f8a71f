package pubsub

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// topic fans out what is published to its subscriptions.
type topic struct {
	service *Service
	name    string

	// mu is held through a publish, so that all subscriptions see all messages in one order.
	// It is taken after Service.mu and before subscription.mu.
	mu            sync.Mutex
	config        *pubsubpb.Topic // replaced, never changed in place
	subscriptions []*subscription
	deleted       bool
}

// publish gives the messages their ids and their time and appends them to every subscription.
// sizes are the messages' own. The messages belong to the topic from then on.
func (t *topic) publish(messages []*pubsubpb.PubsubMessage, sizes []int) ([]string, error) {
	ids := make([]string, len(messages))
	var exhausted []func()

	t.mu.Lock()
	if t.deleted {
		t.mu.Unlock()
		return nil, notFound(t.name)
	}
	now := timestamppb.New(t.service.clock.Now().Truncate(time.Millisecond))
	number := t.service.lastMessage.Add(int64(len(messages))) - int64(len(messages))
	for i, m := range messages {
		ids[i] = strconv.FormatInt(number+int64(i)+1, 10)
		m.MessageId = ids[i]
		m.PublishTime = now
	}
	for _, sub := range t.subscriptions {
		exhausted = append(exhausted, sub.add(messages, sizes))
	}
	t.mu.Unlock()

	for _, forward := range exhausted { // may publish to this very topic
		forward()
	}
	return ids, nil
}

// attach is called with Service.mu held, as is detach.
func (t *topic) attach(sub *subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.subscriptions = append(t.subscriptions, sub)
}

func (t *topic) detach(sub *subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.subscriptions = slices.DeleteFunc(t.subscriptions, func(s *subscription) bool { return s == sub })
}

// delete refuses later publishes and returns the subscriptions that are left without a topic.
func (t *topic) delete() []*subscription {
	t.mu.Lock()
	defer t.mu.Unlock()
	left := t.subscriptions
	t.subscriptions = nil
	t.deleted = true
	return left
}

// proto is the topic as clients see it.
func (t *topic) proto() *pubsubpb.Topic {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.config
}

// topic finds a topic by its name.
func (s *Service) topic(name string) (*topic, error) {
	s.mu.RLock()
	t := s.topics[name]
	s.mu.RUnlock()
	if t != nil {
		return t, nil
	}
	if s.ctx.Err() != nil {
		return nil, errClosed()
	}
	if err := checkTopicName(name); err != nil {
		return nil, err
	}
	return nil, notFound(name)
}

// CreateTopic implements google.pubsub.v1.Publisher.
func (s *Service) CreateTopic(_ context.Context, req *pubsubpb.Topic) (*pubsubpb.Topic, error) {
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
	s.topics[config.Name] = &topic{service: s, name: config.Name, config: config}
	return config, nil
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
	if err := checkMask(req.GetTopic(), req.GetUpdateMask(), "UpdateTopicRequest", "Topic",
		"labels", "message_storage_policy", "kms_key_name", "schema_settings",
		"message_retention_duration", "ingestion_data_source_settings", "message_transforms"); err != nil {
		return nil, err
	}
	s.mu.Lock() // subscriptions show the topic's retention
	defer s.mu.Unlock()
	t := s.topics[req.GetTopic().GetName()]
	if t == nil {
		return nil, notFound(req.GetTopic().GetName())
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	config := proto.CloneOf(t.config)
	applyMask(config, req.GetTopic(), req.GetUpdateMask())
	if err := checkTopic(config); err != nil {
		return nil, err
	}
	t.config = config
	return config, nil
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
	for _, sub := range t.delete() {
		sub.topic = nil
	}
	return &emptypb.Empty{}, nil
}

// DetachSubscription implements google.pubsub.v1.Publisher.
func (s *Service) DetachSubscription(_ context.Context, req *pubsubpb.DetachSubscriptionRequest) (*pubsubpb.DetachSubscriptionResponse, error) {
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
