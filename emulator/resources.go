package emulator

import (
	"context"
	"errors"
	"fmt"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Resources are what an Emulator has from its start, and again after each Reset. What exists already, in Config.Data, is
// left as it is. [ReadResources] reads them from a file.
//
// Names may be short, an id alone: the Emulator's project and location complete them, also where one resource names
// another. What is not set gets the services' defaults. The messages must not be changed once the Emulator has started.
type Resources struct {
	Schemas       []*pubsubpb.Schema
	Topics        []*pubsubpb.Topic
	Subscriptions []*pubsubpb.Subscription
	Queues        []*cloudtaskspb.Queue
}

// ofPubSub tells whether anything of Pub/Sub is among them.
func (r Resources) ofPubSub() bool { return len(r.Schemas)+len(r.Topics)+len(r.Subscriptions) > 0 }

// methods are the services' own, called without a connection. It takes them as a gRPC server does.
type methods struct {
	queues        cloudtaskspb.CloudTasksServer
	topics        pubsubpb.PublisherServer
	subscriptions pubsubpb.SubscriberServer
	schemas       pubsubpb.SchemaServiceServer
}

// RegisterService implements [grpc.ServiceRegistrar].
func (m *methods) RegisterService(_ *grpc.ServiceDesc, service any) {
	if s, ok := service.(cloudtaskspb.CloudTasksServer); ok {
		m.queues = s
	}
	if s, ok := service.(pubsubpb.PublisherServer); ok {
		m.topics = s
	}
	if s, ok := service.(pubsubpb.SubscriberServer); ok {
		m.subscriptions = s
	}
	if s, ok := service.(pubsubpb.SchemaServiceServer); ok {
		m.schemas = s
	}
}

// creation is one resource on its way.
type creation struct {
	field  string // as in Config.Resources.Queues[0]
	name   string // full
	create func(context.Context) error
}

// creations are in the order in which resources need each other.
func (m *methods) creations(c Config) []creation {
	var all []creation
	add := func(kind string, i int, name string, create func(context.Context) error) {
		all = append(all, creation{fmt.Sprintf("Config.Resources.%s[%d]", kind, i), name, create})
	}
	for i, schema := range c.Resources.Schemas {
		schema = proto.CloneOf(schema)
		schema.Name = c.schemaName(schema.GetName())
		add("Schemas", i, schema.GetName(), func(ctx context.Context) error {
			parent, id := splitName(schema.GetName())
			_, err := m.schemas.CreateSchema(ctx, &pubsubpb.CreateSchemaRequest{Parent: parent, SchemaId: id, Schema: schema})
			return err
		})
	}
	for i, topic := range c.Resources.Topics {
		topic = proto.CloneOf(topic)
		topic.Name = c.topicName(topic.GetName())
		if s := topic.GetSchemaSettings(); s != nil {
			s.Schema = c.schemaName(s.GetSchema())
		}
		add("Topics", i, topic.GetName(), func(ctx context.Context) error {
			_, err := m.topics.CreateTopic(ctx, topic)
			return err
		})
	}
	for i, sub := range c.Resources.Subscriptions {
		sub = proto.CloneOf(sub)
		sub.Name, sub.Topic = c.subscriptionName(sub.GetName()), c.topicName(sub.GetTopic())
		if p := sub.GetDeadLetterPolicy(); p != nil {
			p.DeadLetterTopic = c.topicName(p.GetDeadLetterTopic())
		}
		add("Subscriptions", i, sub.GetName(), func(ctx context.Context) error {
			_, err := m.subscriptions.CreateSubscription(ctx, sub)
			return err
		})
	}
	for i, queue := range c.Resources.Queues {
		queue = proto.CloneOf(queue)
		queue.Name = c.queueName(queue.GetName())
		add("Queues", i, queue.GetName(), func(ctx context.Context) error {
			parent, _ := splitName(queue.GetName())
			if !isName(queue.GetName(), queueForm) { // then the error is to be about the queue
				parent, _ = splitName(c.queueName("any"))
			}
			_, err := m.queues.CreateQueue(ctx, &cloudtaskspb.CreateQueueRequest{Parent: parent, Queue: queue})
			return err
		})
	}
	return all
}

// create makes what is missing, and reports every problem.
func (m *methods) create(ctx context.Context, c Config) error {
	var problems []error
	seen := make(map[string]bool)
	for _, r := range m.creations(c) {
		if seen[r.name] {
			problems = append(problems, fmt.Errorf("emulator: %s %q is there twice: leave one of them out", r.field, r.name))
			continue
		}
		seen[r.name] = true
		if err := r.create(ctx); err != nil && status.Code(err) != codes.AlreadyExists {
			problems = append(problems, fmt.Errorf("emulator: %s %q: %s", r.field, r.name, status.Convert(err).Message()))
		}
	}
	return errors.Join(problems...)
}
