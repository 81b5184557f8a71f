package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"

	gpubsub "cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"waybill.dev/cmd/demo/contracts"
	"waybill.dev/dispatch"
	"waybill.dev/dispatch/deploy"
	"waybill.dev/emulator"
	"waybill.dev/pubsub"
	wsync "waybill.dev/sync"
)

const project = "waybill-local"

// Whom the story writes to. The mailer has its own way with each of them.
const (
	annAddress    = "ann@example.com"    // delivered
	busyAddress   = "busy@example.com"   // fails twice, then delivered
	nobodyAddress = "nobody@example.com" // does not exist: fails for good
)

// shop is the five services and the emulator, running.
type shop struct {
	stage    *stage
	emulator *emulator.Emulator
	env      *dispatch.Environment
	behind   map[string]string // where each service really listens, behind its gate
	created  int               // queues, topics and subscriptions

	outside  *http.Client // for who goes around the library
	services map[string]*dispatch.Dispatcher
	stop     context.CancelFunc
	running  sync.WaitGroup
	mu       sync.Mutex
	failures []error
}

// openShop starts everything. On a machine of one's own these would be six programs; here they share a process, and so
// the environment is handed to each of them instead of being found.
func openShop(ctx context.Context, stage *stage, listen string) (_ *shop, err error) {
	s := &shop{stage: stage, behind: map[string]string{}, outside: &http.Client{Transport: &http.Transport{}}, services: map[string]*dispatch.Dispatcher{}}
	s.emulator, err = emulator.Start(ctx, emulator.Config{Listen: listen, Project: project, Logger: slog.New(refusals{stage, "gate"})})
	if err != nil {
		return nil, err
	}
	var serving context.Context
	serving, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	listeners, err := s.findAddresses(ctx)
	if err != nil {
		return nil, err
	}
	// What the contracts need is created by this one call: by nothing else, and never by the services.
	plan, err := deploy.NewPlan(contracts.App, s.env)
	if err != nil {
		return nil, err
	}
	changes, err := deploy.Create(ctx, plan, deploy.Options{})
	if err != nil {
		return nil, err
	}
	s.created = len(changes)
	for _, service := range []*dispatch.Service{contracts.Login, contracts.Profiles, contracts.Search, contracts.Mailer, contracts.Audit} {
		d, err := dispatch.Open(ctx, service, dispatch.Config{
			Environment: s.env, Logger: slog.New(refusals{stage, service.Name()}),
		})
		if err != nil {
			return nil, err
		}
		s.services[service.Name()] = d
		s.addHandlers(service, d)
		s.running.Go(func() { s.failed(d.Serve(serving, listeners[service.Name()])) })
	}
	return s, nil
}

// findAddresses gives each service a port, a gate in front of it, and a key file of its own.
func (s *shop) findAddresses(ctx context.Context) (map[string]net.Listener, error) {
	listeners := map[string]net.Listener{}
	s.env = &dispatch.Environment{
		Project: project, Location: "us-central1", Emulator: s.emulator.Addr(),
		Services: map[string]dispatch.ServiceEnvironment{},
	}
	for _, name := range contracts.App.Services() {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		key, err := s.emulator.KeyFile(account(name))
		if err != nil {
			return nil, err
		}
		listeners[name], s.behind[name] = l, "http://"+l.Addr().String()
		url, err := s.openGate(ctx, name, s.behind[name])
		if err != nil {
			return nil, err
		}
		private := true // so that the gate's word counts for the signature that it removes
		s.env.Services[name] = dispatch.ServiceEnvironment{URL: url, PlatformAsserts: &private, CredentialsJSON: key}
	}
	return listeners, nil
}

func account(service string) string { return service + "@" + project + ".iam.gserviceaccount.com" }

// short is an account without what is the same for all of them.
func short(account string) string {
	name, _, _ := strings.Cut(account, "@")
	return name
}

// addHandlers is what each service does. This is the part that a user writes.
func (s *shop) addHandlers(service *dispatch.Service, d *dispatch.Dispatcher) {
	switch service {
	case contracts.Profiles:
		dispatch.Answer(d, contracts.GetProfile, s.getProfile)
	case contracts.Search:
		dispatch.Answer(d, contracts.FindUsers, s.findUsers)
		dispatch.Handle(d, contracts.IndexUser, func(ctx context.Context, e contracts.UserSignedUp) error {
			s.received(ctx, service, fmt.Sprintf("index %s: %s", e.UserID, e.Step))
			return nil
		})
	case contracts.Mailer:
		dispatch.Handle(d, contracts.SendWelcome, s.sendWelcome)
	case contracts.Audit:
		dispatch.Handle(d, contracts.RecordSignUp, func(ctx context.Context, e contracts.UserSignedUp) error {
			s.received(ctx, service, fmt.Sprintf("record %s: %s", e.UserID, e.Step))
			return nil
		})
	}
}

func (s *shop) getProfile(ctx context.Context, q contracts.ProfileQuery) (contracts.Profile, error) {
	if q.UserID != "ann" {
		return contracts.Profile{}, wsync.Errorf(wsync.NotFound, "there is no user %q", q.UserID)
	}
	m := dispatch.MessageFrom(ctx)
	s.stage.happened(event{Service: contracts.Profiles.Name(), What: "answered", Detail: "the profile of ann, to " + short(m.Caller.Email), ID: m.ID})
	return contracts.Profile{UserID: "ann", Name: "Ann Lee"}, nil
}

func (s *shop) findUsers(ctx context.Context, q contracts.SearchQuery) (contracts.SearchResult, error) {
	s.received(ctx, contracts.Search, "find "+q.Name)
	return contracts.SearchResult{}, nil
}

func (s *shop) sendWelcome(ctx context.Context, w contracts.Welcome) error {
	m := dispatch.MessageFrom(ctx)
	switch {
	case w.To == nobodyAddress:
		return s.fails(m, dispatch.Permanent(errors.New("there is no such address")))
	case w.To == busyAddress && m.Attempt < 3:
		return s.fails(m, errors.New("the mail server is busy"))
	}
	s.received(ctx, contracts.Mailer, "mail to "+w.To)
	return nil
}

func (s *shop) received(ctx context.Context, by *dispatch.Service, detail string) {
	m := dispatch.MessageFrom(ctx)
	s.stage.happened(event{
		Service: by.Name(), What: "received", Detail: fmt.Sprintf("%s, from %s", detail, short(m.Caller.Email)), ID: m.ID, Attempt: m.Attempt,
	})
}

func (s *shop) fails(m dispatch.Message, err error) error {
	s.stage.happened(event{Service: contracts.Mailer.Name(), What: "failed", Detail: err.Error(), ID: m.ID, Attempt: m.Attempt})
	return err
}

// deadLetter waits for a dead letter of SendWelcome's, looks at it and acknowledges it.
func (s *shop) deadLetter(ctx context.Context) (*pubsubpb.PubsubMessage, error) {
	client, err := gpubsub.NewClient(ctx, project, pubsub.EmulatorOptions(s.emulator.Addr())...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	subscription := "projects/" + project + "/subscriptions/shop--send-welcome--dead"
	for { // an empty answer comes after some 20 seconds
		letters, err := client.SubscriptionAdminClient.Pull(ctx, &pubsubpb.PullRequest{Subscription: subscription, MaxMessages: 1})
		if err != nil {
			return nil, err
		}
		for _, m := range letters.ReceivedMessages {
			return m.Message, client.SubscriptionAdminClient.Acknowledge(ctx, &pubsubpb.AcknowledgeRequest{Subscription: subscription, AckIds: []string{m.AckId}})
		}
	}
}

func (s *shop) failed(err error) {
	if err == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures = append(s.failures, err)
}

// close drains the services, then stops the emulator.
func (s *shop) close() error {
	s.stop()
	s.running.Wait()
	s.outside.CloseIdleConnections()
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(append(s.failures, s.emulator.Close())...)
}

// url is a service's endpoint.
func (s *shop) url(service *dispatch.Service, path string) string {
	return s.env.Services[service.Name()].URL + path
}

// running is a program of the shop: a service, or the emulator.
type running struct {
	Name    string `json:"name"`
	URL     string `json:"url"`
	Account string `json:"account,omitempty"`
	About   string `json:"about,omitempty"`
}

// opening describes what runs.
func (s *shop) opening() []running {
	all := []running{{
		Name: "emulator", URL: s.emulator.URL(),
		About: fmt.Sprintf("Cloud Tasks, Pub/Sub and tokens; %d queues, topics and subscriptions", s.created),
	}}
	for _, name := range contracts.App.Services() {
		all = append(all, running{Name: name, URL: s.env.Services[name].URL, Account: account(name)})
	}
	return all
}

// environ is what to export to reach this emulator from another shell.
func (s *shop) environ() string {
	return "export " + strings.Join(s.emulator.Environ(), "\nexport ") + "\nEMULATOR=" + s.emulator.URL()
}
