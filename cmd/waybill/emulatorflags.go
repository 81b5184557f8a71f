package main

import (
	"flag"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"waybill.dev/emulator"
)

// emulatorConfig is what the flags of the emulator say.
type emulatorConfig struct {
	config    emulator.Config
	files     []string // of resources
	resources emulator.Resources
	services  services
	gates     []emulator.GateConfig
	metadata  []string // accounts
	grace     time.Duration
	quiet     bool
}

// emulatorSections is the order in which the help shows the flags.
func emulatorSections() []section {
	return []section{
		{"Address", []string{"listen", "host", "allow-non-loopback", "quiet", "grace"}},
		{"What there is from the start, and after a reset", []string{"queue", "topic", "subscription", "resources"}},
		{"What is kept", []string{"data", "keys"}},
		{"Who is who", []string{"project", "location", "service", "metadata", "gate"}},
		{"Cloud Tasks", []string{"app-engine", "queue-tombstone", "task-tombstone", "strict-tokens", "follow-redirects"}},
		{"Pub/Sub", []string{"pubsub-upstream"}},
	}
}

func emulatorFlags() (*flag.FlagSet, *emulatorConfig) {
	flags, f := newFlags("emulator"), &emulatorConfig{}
	c := &f.config
	flags.StringVar(&c.Listen, "listen", "127.0.0.1:8085", "`HOST:PORT` to listen on; port 0 picks a free one")
	flags.Func("host", "further `NAME` by which clients reach it over HTTP, as that of a container; may be repeated", appendTo(&c.Hosts))
	flags.BoolVar(&c.AllowNonLoopback, "allow-non-loopback", false, "let other machines reach it: they may have any token and send requests from here")
	flags.BoolVar(&f.quiet, "quiet", false, "print the address alone, and deliveries that fail")
	flags.DurationVar(&f.grace, "grace", shutdownGrace, "how long deliveries in flight may take to end when it is stopped")

	flags.Func("queue", "a queue, `NAME[,SETTING...]`, with rate=5, concurrency=10, attempts=3, min-backoff=1s, max-backoff=10s, doublings=3; may be repeated", addTo(&f.resources.Queues, queueFlag))
	flags.Func("topic", "`NAME` of a topic; may be repeated", addTo(&f.resources.Topics, func(name string) (*pubsubpb.Topic, error) {
		return &pubsubpb.Topic{Name: name}, nil
	}))
	flags.Func("subscription", "a subscription, `NAME,topic=T[,SETTING...]`, with push=URL, account=EMAIL, audience=A, ack-deadline=20s, ordered, and last filter=...; may be repeated", addTo(&f.resources.Subscriptions, subscriptionFlag))
	flags.Func("resources", "`FILE` with queues, topics, subscriptions and schemas, as JSON; may be repeated", appendTo(&f.files))

	flags.StringVar(&c.Data, "data", "", "`DIR` that keeps queues, tasks and messages from one start to the next; empty for memory alone")
	flags.StringVar(&c.Keys, "keys", defaultKeys(), "`FILE` that keeps the keys; empty for new keys each time")

	flags.StringVar(&c.Project, "project", "waybill-local", "project `ID` of the metadata server, of the accounts and of short names")
	flags.StringVar(&c.Location, "location", "us-central1", "location `ID` of the metadata server and of short names")
	flags.Var(&f.services, "service", "`NAME=URL` of a service of yours, for a WAYBILL_ENV to export; may be repeated")
	flags.Func("metadata", "`EMAIL` of an account that gets a metadata server of its own; may be repeated", func(email string) error {
		f.metadata = append(f.metadata, email)
		return account(email)
	})
	flags.Func("gate", "Cloud Run's check in front of a container, `service=S,target=URL[,SETTING...]`, with invoker=EMAIL and audience=A, each any number of times, listen=HOST:PORT, signature=removed; may be repeated", addTo(&f.gates, gateFlag))

	flags.StringVar(&c.AppEngine, "app-engine", "", "`URL` of an application for tasks with an App Engine target")
	flags.DurationVar(&c.QueueTombstone, "queue-tombstone", 0, "how long a deleted queue's name stays taken; the real service: days")
	flags.DurationVar(&c.TaskTombstone, "task-tombstone", time.Hour, "how long a finished task's name stays taken; the real service: up to 24h")
	flags.BoolVar(&c.StrictTokens, "strict-tokens", false, "refuse tokens for http:// targets and of other projects' accounts, as the real service does")
	flags.BoolVar(&c.FollowRedirects, "follow-redirects", false, "follow redirects of tasks' targets within the attempt, as the real service may")

	flags.StringVar(&c.PubSubUpstream, "pubsub-upstream", "", "`HOST:PORT` of Google's own Pub/Sub emulator, to pass Pub/Sub on to and sign its pushes")
	return flags, f
}

// addTo makes a flag that may be repeated, each time for one of a list.
func addTo[T any](list *[]T, parse func(string) (T, error)) func(string) error {
	return func(text string) error {
		value, err := parse(text)
		if err == nil {
			*list = append(*list, value)
		}
		return err
	}
}

// addResources reads the files, whose resources come before those of flags.
func (f *emulatorConfig) addResources() error {
	r := &f.config.Resources
	for _, path := range f.files {
		file, err := resourcesIn(path)
		if err != nil {
			return err
		}
		r.Schemas = append(r.Schemas, file.Schemas...)
		r.Topics = append(r.Topics, file.Topics...)
		r.Subscriptions = append(r.Subscriptions, file.Subscriptions...)
		r.Queues = append(r.Queues, file.Queues...)
	}
	r.Topics = append(r.Topics, f.resources.Topics...)
	r.Subscriptions = append(r.Subscriptions, f.resources.Subscriptions...)
	r.Queues = append(r.Queues, f.resources.Queues...)
	return nil
}
