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

	"waybill.dev/dispatch"
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
	// Note is what somebody should know or do about it: a queue whose rate is not the plan's, what is left of an old name.
	Note string
}

// String is for a terminal.
func (c Change) String() string {
	text := "exists   " + c.Kind + " " + c.Name
	if c.Created {
		text = "created  " + c.Kind + " " + c.Name
	}
	if c.Note != "" {
		text += ": " + c.Note
	}
	return text
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

const (
	kindQueue            = "queue"
	kindPushSubscription = "push subscription"
)

// last is the latest change.
func (c *creator) last() *Change { return &c.changes[len(c.changes)-1] }

// noteAlias records what is left of an old name, if anything is.
func (c *creator) noteAlias(a Alias, err error) error {
	switch {
	case status.Code(err) == codes.NotFound:
		return nil
	case err != nil:
		return fmt.Errorf("deploy: looking for %s %s, an old name of %s: %w", a.Kind, a.Name, a.For, err)
	}
	command := "gcloud tasks queues delete " + a.Name
	if a.Kind == kindPushSubscription {
		command = "gcloud pubsub subscriptions delete " + a.Name
	}
	c.changes = append(c.changes, Change{Kind: a.Kind, Name: a.Name, Note: fmt.Sprintf(
		"an old name of %s, which still receives by it; once every service is rolled out and it is empty, delete it with: %s, and remove the dispatch.Alias", a.For, command)})
	return nil
}

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
		if c.last().Created {
			continue
		}
		found, err := admin.SubscriptionAdminClient.GetSubscription(ctx, &pubsubpb.GetSubscriptionRequest{Subscription: s.Name})
		if err != nil {
			return fmt.Errorf("deploy: looking at %s, which exists: %w", s.Name, err)
		}
		c.last().Note = s.difference(found.GetLabels())
	}
	var problems []error
	for _, s := range p.PushSubscriptions {
		created, err := client.CreatePushSubscription(ctx, s)
		if err := c.note(kindPushSubscription, s.Name, created, err); err != nil {
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
	for _, a := range p.Aliases {
		if a.Kind != kindPushSubscription {
			continue
		}
		_, err := admin.SubscriptionAdminClient.GetSubscription(ctx, &pubsubpb.GetSubscriptionRequest{Subscription: a.Name})
		if err := c.noteAlias(a, err); err != nil {
			return err
		}
	}
	return nil
}

// request is for a subscription that is pulled: a person or a command looks at the dead letters when it is time.
func (s DeadLetterSubscription) request() *pubsubpb.Subscription {
	return &pubsubpb.Subscription{
		Name:                     s.Name,
		Topic:                    s.Topic,
		Labels:                   s.Labels,
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
		_, err := client.CreateQueue(ctx, q.request())
		if err := c.note(kindQueue, q.Name, err == nil, err); err != nil {
			return err
		}
		if c.last().Created {
			continue
		}
		found, err := client.GetQueue(ctx, &cloudtaskspb.GetQueueRequest{Name: q.Name})
		if err != nil {
			return fmt.Errorf("deploy: looking at %s, which exists: %w", q.Name, err)
		}
		c.last().Note = q.difference(found.GetRateLimits())
	}
	for _, a := range p.Aliases {
		if a.Kind != kindQueue {
			continue
		}
		_, err := client.GetQueue(ctx, &cloudtaskspb.GetQueueRequest{Name: a.Name})
		if err := c.noteAlias(a, err); err != nil {
			return err
		}
	}
	return nil
}

// request is for a queue with the plan's settings.
func (q Queue) request() *cloudtaskspb.CreateQueueRequest {
	queue := &cloudtaskspb.Queue{
		Name: q.Name,
		RetryConfig: &cloudtaskspb.RetryConfig{
			MaxAttempts: unlimited,
			MinBackoff:  durationpb.New(q.MinBackoff),
			MaxBackoff:  durationpb.New(q.MaxBackoff),
		},
	}
	if q.Rate != (dispatch.Rate{}) { // a zero field is Cloud Tasks' to fill in
		queue.RateLimits = &cloudtaskspb.RateLimits{
			MaxDispatchesPerSecond:  q.Rate.PerSecond,
			MaxConcurrentDispatches: int32(q.Rate.Concurrent), //nolint:gosec // a share is 5000 at most
		}
	}
	return &cloudtaskspb.CreateQueueRequest{Parent: q.Name[:strings.LastIndex(q.Name, "/queues/")], Queue: queue}
}

// difference says in what a queue that exists dispatches otherwise than the plan, and how to change it, or is empty.
func (q Queue) difference(got *cloudtaskspb.RateLimits) string {
	var found, flags []string
	if want := q.Rate.PerSecond; want != 0 && got.GetMaxDispatchesPerSecond() != want {
		found = append(found, fmt.Sprintf("%v a second where the plan says %v", got.GetMaxDispatchesPerSecond(), want))
		flags = append(flags, fmt.Sprintf("--max-dispatches-per-second=%v", want))
	}
	if want := q.Rate.Concurrent; want != 0 && int(got.GetMaxConcurrentDispatches()) != want {
		found = append(found, fmt.Sprintf("%d at once where the plan says %d", got.GetMaxConcurrentDispatches(), want))
		flags = append(flags, fmt.Sprintf("--max-concurrent-dispatches=%d", want))
	}
	if found == nil {
		return ""
	}
	return fmt.Sprintf("it dispatches %s; change it with: gcloud tasks queues update %s %s", strings.Join(found, " and "), q.Name, strings.Join(flags, " "))
}
