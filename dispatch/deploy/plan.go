package deploy

import (
	"errors"
	"fmt"
	"time"

	"waybill.dev/dispatch"
	"waybill.dev/internal/names"
	"waybill.dev/pubsub"
)

// Plan is everything that an app's contracts need in one environment. Its order is that of creation.
type Plan struct {
	Queues                  []Queue
	Topics                  []Topic
	PushSubscriptions       []pubsub.PushSubscription
	DeadLetterSubscriptions []DeadLetterSubscription
	Aliases                 []Alias // not created, and never deleted

	env *dispatch.Environment
}

// Queue is a Cloud Tasks queue of one task route, which has several if its dispatch.Rate takes more than one. Its attempts are unlimited: Cloud Tasks deletes a task at its last
// attempt, even when no handler ever saw it, so the receiver counts instead and moves the task to the dead letters.
type Queue struct {
	Name                   string // projects/P/locations/L/queues/Q
	MinBackoff, MaxBackoff time.Duration
	Rate                   dispatch.Rate // its share of the route's; zero fields are left to Cloud Tasks
}

// Alias is the queue or the push subscription of a name that a route had before, see dispatch.Alias. What is in flight there
// still arrives, so it stays until a person deletes it.
type Alias struct {
	Kind string // "queue" or "push subscription"
	Name string
	For  string // the route, by its present name, for people
}

// Topic is an event's topic, or the dead-letter topic of a task or a subscription.
type Topic struct {
	Name string // projects/P/topics/T
	For  string // the route, for people
}

// DeadLetterSubscription is the pull subscription that keeps a route's dead letters for 31 days, the longest that Pub/Sub
// keeps anything; on an emulator 7. Without it a dead letter would be gone at once: a topic keeps nothing by itself.
type DeadLetterSubscription struct {
	Name, Topic string
	Retention   time.Duration
	Labels      map[string]string // what a replay must know of the contracts
}

const (
	deadRetention   = 31 * 24 * time.Hour
	localRetention  = 7 * 24 * time.Hour // Google's Pub/Sub emulator takes no more
	deadAckDeadline = 60                 // seconds; time enough to look at one
)

// NewPlan derives the plan. It reports everything that the contracts or the environment lack, at once.
func NewPlan(app *dispatch.App, env *dispatch.Environment) (*Plan, error) {
	if env == nil {
		return nil, errors.New("deploy: there is no environment; pass one, or what dispatch.Discover finds")
	}
	if err := errors.Join(app.Validate(), env.Validate(app)); err != nil {
		return nil, err
	}
	p := &Plan{env: env}
	var problems []error
	if env.Project == "" {
		problems = append(problems, errors.New("the environment has no project; add \"project\""))
	}
	for _, r := range app.Routes() {
		switch r.Kind {
		case dispatch.KindTask:
			problems = append(problems, p.addTask(app, r)...)
		case dispatch.KindEvent:
			p.Topics = append(p.Topics, Topic{Name: names.Topic(env.Project, env.Resource(app, r.Name)), For: "event " + r.Name})
		case dispatch.KindSubscription:
			problems = append(problems, p.addSubscription(app, r)...)
		case dispatch.KindCall: // needs nothing but its receiver
		}
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("deploy: planning app %s: %w", app.Name(), errors.Join(problems...))
	}
	return p, nil
}

func (p *Plan) addTask(app *dispatch.App, r dispatch.RouteInfo) []error {
	p.addDead(app, r)
	for i, share := range r.Queues {
		p.Queues = append(p.Queues, Queue{
			Name:       names.Queue(p.env.Project, p.env.Location, names.Shard(p.env.Resource(app, r.Name), i+1)),
			MinBackoff: r.Retry.MinBackoff,
			MaxBackoff: r.Retry.MaxBackoff,
			Rate:       share,
		})
	}
	for _, alias := range r.Aliases {
		for i := range r.Queues { // it may have had as many
			name := names.Shard(p.env.Resource(app, alias), i+1)
			p.Aliases = append(p.Aliases, Alias{Kind: kindQueue, Name: names.Queue(p.env.Project, p.env.Location, name), For: "task " + r.Name})
		}
	}
	if p.env.Location == "" {
		return []error{fmt.Errorf("the environment has no location for the queue of task %q; add \"location\", such as us-central1", r.Name)}
	}
	return nil
}

func (p *Plan) addSubscription(app *dispatch.App, r dispatch.RouteInfo) []error {
	dead := p.addDead(app, r)
	to := p.env.Service(app, r.To)
	p.PushSubscriptions = append(p.PushSubscriptions, pubsub.PushSubscription{
		Name:                names.Subscription(p.env.Project, p.env.Resource(app, r.Name)),
		Topic:               names.Topic(p.env.Project, p.env.Resource(app, r.Event)),
		Endpoint:            to.URL + r.Path,
		Audience:            to.Audience,
		ServiceAccount:      p.env.PushAccountOf(app),
		AckDeadline:         r.TransportDeadline,
		MinBackoff:          r.Retry.MinBackoff,
		MaxBackoff:          r.Retry.MaxBackoff,
		DeadLetterTopic:     dead,
		MaxDeliveryAttempts: r.BackstopAttempts,
		Ordered:             r.Ordered,
	})
	for _, alias := range r.Aliases {
		p.Aliases = append(p.Aliases, Alias{
			Kind: kindPushSubscription, Name: names.Subscription(p.env.Project, p.env.Resource(app, alias)), For: "subscription " + r.Name,
		})
	}
	if to.URL == "" {
		return []error{fmt.Errorf("the environment has no URL for service %q, which subscription %q pushes to; add \"services\": {%q: {\"url\": \"https://...\"}}", r.To, r.Name, r.To)}
	}
	return nil
}

// addDead adds a route's dead-letter topic, and what keeps its letters.
func (p *Plan) addDead(app *dispatch.App, r dispatch.RouteInfo) (topic string) {
	dead := names.Dead(p.env.Resource(app, r.Name))
	topic = names.Topic(p.env.Project, dead)
	p.Topics = append(p.Topics, Topic{Name: topic, For: "dead letters of " + string(r.Kind) + " " + r.Name})
	retention := deadRetention
	if p.env.IsEmulated() {
		retention = localRetention
	}
	p.DeadLetterSubscriptions = append(p.DeadLetterSubscriptions, DeadLetterSubscription{
		Name: names.Subscription(p.env.Project, dead), Topic: topic, Retention: retention, Labels: deadLabels(app, r),
	})
	return topic
}
