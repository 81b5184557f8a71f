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

// String is for a terminal.
func (c Change) String() string {
	if c.Created {
		return "created  " + c.Kind + " " + c.Name
	}
	return "exists   " + c.Kind + " " + c.Name
}

// unlimited is how Cloud Tasks writes that attempts have no bound.
const unlimited = -1

// Create makes what the plan has and the project lacks, topics before what hangs on them. What exists is left as it is. It stops
// at the first error and returns the changes up to there; calling it again goes on.
//
// A push subscription that exists but would push elsewhere, or as somebody else, is an error: every one of its messages
// would go astray. An environment in which only one of the two services is an emulator is one too.
func Create(ctx context.Context, p *Plan, o Options) ([]Change, error) {
	if p.env.IsHalfEmulated() {
		return nil, errors.New("deploy: only one of Cloud Tasks and Pub/Sub is an emulator here, and the rest would be made in Google Cloud; nothing was created: " +
			"set both CLOUD_TASKS_EMULATOR_HOST and PUBSUB_EMULATOR_HOST, or neither")
	}
	if !p.env.IsEmulated() && !o.Cloud {
		return nil, errors.New("deploy: this environment is not an emulator; nothing was created: set Options.Cloud to create in Google Cloud")
	}
	if err := p.env.ValidateVariables(); err != nil {
		return nil, err
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
	admin, err := gpubsub.NewClient(ctx, p.env.Project, options...) // for what waybill.dev/pubsub has no word for
	if err != nil {
		return fmt.Errorf("deploy: %w", err)
	}
	defer func() { err = errors.Join(err, admin.Close()) }()

	for _, t := range p.Topics {
		created, err := client.CreateTopic(ctx, t.Name)
		if err := c.note("topic", t.Name, created, err); err != nil {
			return err
		}
	}
	for _, s := range p.DeadLetterSubscriptions {
		_, err := admin.SubscriptionAdminClient.CreateSubscription(ctx, s.request())
		if err := c.note("dead-letter subscription", s.Name, err == nil, err); err != nil {
			return err
		}
	}
	var problems []error
	for _, s := range p.PushSubscriptions {
		created, err := client.CreatePushSubscription(ctx, s)
		if err := c.note("push subscription", s.Name, created, err); err != nil {
			return err
		}
		if created {
			continue
		}
		found, err := admin.SubscriptionAdminClient.GetSubscription(ctx, &pubsubpb.GetSubscriptionRequest{Subscription: s.Name})
		if err != nil {
			return fmt.Errorf("deploy: looking at %s, which exists: %w", s.Name, err)
		}
		if difference := astray(s, found); difference != "" {
			problems = append(problems, fmt.Errorf("push subscription %s exists, but %s; delete it, or reset the emulator, and create it again", s.Name, difference))
		}
	}
	if len(problems) > 0 {
		return fmt.Errorf("deploy: %w", errors.Join(problems...))
	}
	return nil
}

// request is for a subscription that is pulled: a person or a command looks at the dead letters when it is time.
func (s DeadLetterSubscription) request() *pubsubpb.Subscription {
	return &pubsubpb.Subscription{
		Name:                     s.Name,
		Topic:                    s.Topic,
		AckDeadlineSeconds:       deadAckDeadline,
		MessageRetentionDuration: durationpb.New(s.Retention),
		ExpirationPolicy:         &pubsubpb.ExpirationPolicy{}, // without a ttl: it never expires, however seldom somebody looks
	}
}

// astray says in what a subscription differs from the plan so that its messages would not be received, or is empty.
func astray(want pubsub.PushSubscription, got *pubsubpb.Subscription) string {
	token := got.GetPushConfig().GetOidcToken()
	for _, f := range []struct{ what, got, want string }{
		{"its topic is", got.GetTopic(), want.Topic},
		{"it pushes to", got.GetPushConfig().GetPushEndpoint(), want.Endpoint},
		{"its tokens are for", token.GetAudience(), want.Audience},
		{"it pushes as", token.GetServiceAccountEmail(), want.ServiceAccount},
	} {
		if f.got != f.want {
			return fmt.Sprintf("%s %q and the plan says %q", f.what, f.got, f.want)
		}
	}
	return ""
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
