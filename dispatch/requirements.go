package dispatch

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"waybill.dev/internal/names"
)

// The length of a service account's name. https://cloud.google.com/iam/docs/service-accounts-create
const (
	minAccountName = 6
	maxAccountName = 30
)

// edges is what a service's own routes ask of it: the part of the contracts that it has to do with.
type edges struct {
	sendsTasks []*route
	owns       []*route // events
	calls      []*route
	receives   []*route // tasks, subscriptions and calls
	carried    bool     // by a Config.Transport: neither Google's clients nor accounts nor credentials are needed
}

func edgesOf(s *Service) edges {
	var e edges
	for _, r := range s.app.declared() {
		if r.mayBeSentBy(s) {
			switch r.kind {
			case KindTask:
				e.sendsTasks = append(e.sendsTasks, r)
			case KindEvent:
				e.owns = append(e.owns, r)
			case KindCall:
				e.calls = append(e.calls, r)
			}
		}
		if r.receivedBy(s) {
			e.receives = append(e.receives, r)
		}
	}
	return e
}

// receivesAsync reports whether anything arrives that can end as a dead letter, which is a Pub/Sub message.
func (e edges) receivesAsync() bool {
	return slices.ContainsFunc(e.receives, func(r *route) bool { return r.kind != KindCall })
}

func (e edges) needsPubSub() bool { return len(e.owns) > 0 || e.receivesAsync() }

// requirements reports every thing that the service's edges need and the environment lacks, and only those.
func requirements(s *Service, e *Environment, edges edges) []error {
	var problems []error
	p := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if e.Project == "" && (len(edges.sendsTasks) > 0 || edges.needsPubSub()) {
		p("the environment has no project, which %s needs to send or receive asynchronously; add \"project\"", s)
	}
	if e.Location == "" && len(edges.sendsTasks) > 0 {
		p("the environment has no location, which %s needs for its queues; add \"location\", such as us-central1", s)
	}
	if !edges.carried {
		problems = append(problems, requireEndpoints(s, e, edges)...)
	}
	problems = append(problems, requireOthers(s, e, edges)...)
	problems = append(problems, requireOwn(s, e, edges)...)
	return problems
}

// requireEndpoints checks that all messages would go to emulators, or none.
func requireEndpoints(s *Service, e *Environment, edges edges) []error {
	var problems []error
	p := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if e.local() && e.TasksEndpoint() == "" && len(edges.sendsTasks) > 0 {
		p("Pub/Sub is an emulator but Cloud Tasks is not, so %s would send its tasks to Google Cloud; set %s too", s, envTasks)
	}
	if e.local() && e.PubSubEndpoint() == "" && edges.needsPubSub() {
		p("Cloud Tasks is an emulator but Pub/Sub is not, so %s would publish to Google Cloud; set %s too", s, envPubSub)
	}
	if edges.needsPubSub() {
		problems = append(problems, e.pubsubVariable()...)
	}
	return problems
}

// pubsubVariable reports an emulator that Google's Pub/Sub client would follow although the environment names none: it
// reads the variable by itself.
func (e *Environment) pubsubVariable() []error {
	host := os.Getenv(envPubSub)
	if host == "" || e.PubSubEndpoint() != "" {
		return nil
	}
	return []error{fmt.Errorf("%s=%s is set, and Google's client follows it, but the environment (%s) names no Pub/Sub emulator; unset the variable, or add \"pubsub_emulator\"",
		envPubSub, host, e)}
}

// requireOthers checks what must be known of the services at the other ends.
func requireOthers(s *Service, e *Environment, edges edges) []error {
	var problems []error
	reached := map[string]bool{} // each receiver is reported once, however many routes lead to it
	for _, r := range slices.Concat(edges.sendsTasks, edges.calls) {
		if reached[r.to.name] {
			continue
		}
		reached[r.to.name] = true
		if e.Service(s.app, r.to.name).URL == "" {
			problems = append(problems, fmt.Errorf("the environment has no URL for service %q, which %s sends %s to; add \"services\": {%q: {\"url\": \"https://...\"}}",
				r.to.name, s, r, r.to.name))
		}
	}
	known := map[string]bool{}
	for _, r := range edges.receives {
		if r.kind == KindSubscription {
			if e.PushAccountOf(s.app) == "" {
				problems = append(problems, fmt.Errorf("the environment has neither a project nor a push_account, so %s cannot tell who may push %s; add one", s, r))
			}
			continue
		}
		for _, from := range r.from {
			if !known[from.name] && e.Service(s.app, from.name).ServiceAccount == "" {
				problems = append(problems, fmt.Errorf("the environment has neither a project nor a service_account for service %q, so %s cannot tell who may send %s; add one",
					from.name, s, r))
			}
			if !known[from.name] && !edges.carried {
				problems = append(problems, e.accountName(s.app, from.name)...)
			}
			known[from.name] = true
		}
	}
	return problems
}

// accountName reports a default account that cannot exist, since Google does not take its name.
func (e *Environment) accountName(app *App, service string) []error {
	account := e.Service(app, service).ServiceAccount
	if e.local() || account == "" || e.Services[service].ServiceAccount != "" {
		return nil
	}
	if n := len(service); n >= minAccountName && n <= maxAccountName {
		return nil
	}
	return []error{fmt.Errorf("service %q would be %s, but the name of an account has %d to %d characters; create another account and give it as its \"service_account\"",
		service, account, minAccountName, maxAccountName)}
}

// requireOwn checks what must be known of the service itself.
func requireOwn(s *Service, e *Environment, edges edges) []error {
	var problems []error
	own := e.Service(s.app, s.name)
	if len(edges.receives) > 0 {
		if own.Audience == "" {
			problems = append(problems, fmt.Errorf("the environment has no URL for service %q itself, so it cannot tell which tokens are meant for it; add \"services\": {%q: {\"url\": \"https://...\"}}",
				s.name, s.name))
		}
		if own.PlatformAsserts == nil {
			problems = append(problems, fmt.Errorf("the environment does not say whether the platform checks who calls service %q; add \"services\": {%q: {\"platform_asserts\": true}} "+
				"if it is a private Cloud Run service, whose tokens arrive with their signature removed, or false if everybody may reach it", s.name, s.name))
		}
	}
	if len(edges.sendsTasks) > 0 && own.ServiceAccount == "" {
		problems = append(problems, fmt.Errorf("the environment has neither a project nor a service_account for service %q, which its tasks must be sent as; add one", s.name))
	}
	if len(edges.sendsTasks)+len(edges.calls) > 0 && !edges.carried {
		problems = append(problems, e.accountName(s.app, s.name)...)
	}
	if len(edges.calls) > 0 && e.local() && !edges.carried {
		problems = append(problems, requireLocalCredentials(s, e, own)...)
	}
	return problems
}

// requireLocalCredentials checks that a local service can mint tokens, and mints them as itself: with several services
// on one machine a key file of another's is the likeliest mistake.
func requireLocalCredentials(s *Service, e *Environment, own ServiceEnvironment) []error {
	data := own.CredentialsJSON
	if len(data) == 0 {
		path := firstOf(own.Credentials, os.Getenv(envCredentials))
		if path == "" {
			issuer := firstOf(e.Emulator, e.TasksEmulator, e.PubSubEmulator)
			return []error{fmt.Errorf("service %q makes calls but has no credentials here; fetch its key with\n"+
				"  curl -fsS -o %s.json http://%s/_emulator/keys/%s\nand set %s=%s.json",
				s.name, s.name, issuer, own.ServiceAccount, envCredentials, s.name)}
		}
		var err error
		if data, err = os.ReadFile(path); err != nil {
			return []error{fmt.Errorf("the credentials of service %q cannot be read; see %s: %w", s.name, envCredentials, err)}
		}
	}
	var file struct {
		ClientEmail string `json:"client_email"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		// The parser's own text may quote the file, which holds a private key.
		return []error{fmt.Errorf("the credentials of service %q are no JSON; fetch its key file again", s.name)}
	}
	if file.ClientEmail != "" && file.ClientEmail != own.ServiceAccount {
		return []error{fmt.Errorf("the credentials are those of %s, but in project %q service %q is %s; use its own key file, set the project that is meant (%s), or say so with \"service_account\"",
			file.ClientEmail, e.Project, s.name, own.ServiceAccount, envProject)}
	}
	return nil
}

// callersOf is the list of accounts that may send to a receiving route.
func callersOf(r *route, e *Environment) []string {
	if r.kind == KindSubscription {
		return []string{e.PushAccountOf(r.app)}
	}
	callers := make([]string, len(r.from))
	for i, from := range r.from {
		callers[i] = e.Service(r.app, from.name).ServiceAccount
	}
	return callers
}

func (e *Environment) topicOf(r *route) string {
	return names.Topic(e.Project, e.Resource(r.app, r.name))
}

// queuesOf are all queues of a task.
func (e *Environment) queuesOf(r *route) []string {
	queues := make([]string, r.rate.queues())
	for i := range queues {
		queues[i] = names.Queue(e.Project, e.Location, names.Shard(e.Resource(r.app, r.name), i+1))
	}
	return queues
}

// subscriptionNamed is the subscription whose messages come by this name of the route.
func (e *Environment) subscriptionNamed(r *route, name string) string {
	return names.Subscription(e.Project, e.Resource(r.app, name))
}

func (e *Environment) deadTopicOf(r *route) string {
	return names.Topic(e.Project, names.Dead(e.Resource(r.app, r.name)))
}
