package deploy

import (
	"context"
	"errors"
	"fmt"
	"strings"

	cloudtasks "cloud.google.com/go/cloudtasks/apiv2"
	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	gpubsub "cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/api/option"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"waybill.dev/pubsub"
	"waybill.dev/tasks"
)

// Options of [Create].
type Options struct {
	// Cloud allows creating in Google Cloud. Without it Create refuses to touch anything but emulators.
	Cloud bool
	// ClientOptions are passed to Google's clients when they talk to Google Cloud.
	ClientOptions []option.ClientOption
}

// Change is what Create did about one resource.
type Change struct {
	Kind    string // "queue", "topic", "push subscription" or "dead-letter subscription"
	Name    string
	Created bool // false: it was there already, and was left as it is
}

// unlimited is how Cloud Tasks writes that attempts have no bound.
const unlimited = -1

// Create makes what the plan has and the project lacks, topics before what hangs on them. It stops at the first error
// and returns the changes up to there; calling it again goes on.
func Create(ctx context.Context, p *Plan, o Options) ([]Change, error) {
	if !p.env.IsEmulated() && !o.Cloud {
		return nil, errors.New("deploy: this environment is not an emulator; nothing was created: set Options.Cloud to create in Google Cloud")
	}
	var c creator
	if err := c.pubsub(ctx, p, o); err != nil {
		return c.changes, err
	}
	return c.changes, c.queues(ctx, p, o)
}

type creator struct{ changes []Change }

// note records what happened to one resource; AlreadyExists is no error.
func (c *creator) note(kind, name string, created bool, err error) error {
	if status.Code(err) == codes.AlreadyExists {
		created, err = false, nil
	}
	if err != nil {
		return fmt.Errorf("deploy: creating %s %s: %w", kind, name, err)
	}
	c.changes = append(c.changes, Change{Kind: kind, Name: name, Created: created})
	return nil
}

func (c *creator) pubsub(ctx context.Context, p *Plan, o Options) (err error) {
	if len(p.Topics) == 0 {
		return nil
	}
	options := o.ClientOptions
	if host := p.env.PubSubEndpoint(); host != "" {
		options = pubsub.EmulatorOptions(host)
	}
	client, err := pubsub.NewClient(ctx, pubsub.Config{Project: p.env.Project}, options...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Shutdown(ctx)) }()
	for _, t := range p.Topics {
		created, err := client.CreateTopic(ctx, t.Name)
		if err := c.note("topic", t.Name, created, err); err != nil {
			return err
		}
	}
	if err := c.deadSubscriptions(ctx, p, options); err != nil {
		return err
	}
	for _, s := range p.PushSubscriptions {
		created, err := client.CreatePushSubscription(ctx, s)
		if err := c.note("push subscription", s.Name, created, err); err != nil {
			return err
		}
	}
	return nil
}

// deadSubscriptions are pulled, not pushed: a person or a command looks at them when it is time.
func (c *creator) deadSubscriptions(ctx context.Context, p *Plan, options []option.ClientOption) (err error) {
	client, err := gpubsub.NewClient(ctx, p.env.Project, options...)
	if err != nil {
		return fmt.Errorf("deploy: %w", err)
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	for _, s := range p.DeadSubscriptions {
		_, err := client.SubscriptionAdminClient.CreateSubscription(ctx, &pubsubpb.Subscription{
			Name:                     s.Name,
			Topic:                    s.Topic,
			AckDeadlineSeconds:       deadAckDeadline,
			MessageRetentionDuration: durationpb.New(s.Retention),
			ExpirationPolicy:         &pubsubpb.ExpirationPolicy{}, // without a ttl: it never expires, however seldom somebody looks
		})
		if err := c.note("dead-letter subscription", s.Name, err == nil, err); err != nil {
			return err
		}
	}
	return nil
}

func (c *creator) queues(ctx context.Context, p *Plan, o Options) (err error) {
	if len(p.Queues) == 0 {
		return nil
	}
	options := o.ClientOptions
	if host := p.env.TasksEndpoint(); host != "" {
		options = tasks.EmulatorOptions(host)
	}
	client, err := cloudtasks.NewClient(ctx, options...)
	if err != nil {
		return fmt.Errorf("deploy: %w", err)
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	for _, q := range p.Queues {
		_, err := client.CreateQueue(ctx, &cloudtaskspb.CreateQueueRequest{
			Parent: q.Name[:strings.LastIndex(q.Name, "/queues/")],
			Queue: &cloudtaskspb.Queue{
				Name: q.Name,
				RetryConfig: &cloudtaskspb.RetryConfig{
					MaxAttempts: unlimited,
					MinBackoff:  durationpb.New(q.MinBackoff),
					MaxBackoff:  durationpb.New(q.MaxBackoff),
				},
			},
		})
		if err := c.note("queue", q.Name, err == nil, err); err != nil {
			return err
		}
	}
	return nil
}
