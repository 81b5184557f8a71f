package dispatch

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"

	"google.golang.org/api/option"

	"waybill.dev/auth"
	"waybill.dev/internal/httpserve"
	"waybill.dev/pubsub"
	wsync "waybill.dev/sync"
	"waybill.dev/tasks"
)

// connect makes the clients and the verifiers that the service's edges need.
func (d *Dispatcher) connect(ctx context.Context, edges edges) error {
	own := d.env.Service(d.service.app, d.service.name)
	for _, r := range edges.sendsTasks {
		to := d.env.Service(r.app, r.to.name)
		task := tasks.Task{URL: to.URL + r.path, Audience: to.Audience, DispatchDeadline: r.transportDeadline()}
		d.tasksTo[r] = taskTarget{task: task, queues: d.env.queuesOf(r)}
	}
	for _, r := range edges.owns {
		d.topics[r] = d.env.topicOf(r)
	}
	if err := d.connectAsync(ctx, edges, own); err != nil {
		return err
	}
	if err := d.connectCalls(edges.calls, own); err != nil {
		return err
	}
	return d.prepareReceivers(edges.receives, own)
}

// connectAsync makes the clients of Cloud Tasks and Pub/Sub.
func (d *Dispatcher) connectAsync(ctx context.Context, edges edges, own ServiceEnvironment) error {
	if d.transport != nil {
		d.tasks, d.pubsub = carriedTasks{d.transport, d.now}, carriedMessages{d.transport}
		return nil
	}
	if len(edges.sendsTasks) > 0 {
		options := own.clientOptions()
		if host := d.env.TasksEndpoint(); host != "" {
			options = tasks.EmulatorOptions(host)
		}
		client, err := tasks.NewClient(ctx, tasks.Config{ServiceAccount: own.ServiceAccount, Now: d.now}, options...)
		if err != nil {
			return err
		}
		d.tasks = client
	}
	if edges.needsPubSub() {
		options := own.clientOptions()
		if host := d.env.PubSubEndpoint(); host != "" {
			options = pubsub.EmulatorOptions(host)
		}
		client, err := pubsub.NewClient(ctx, pubsub.Config{Project: d.env.Project}, options...)
		if err != nil {
			return err
		}
		d.pubsub = client
	}
	return nil
}

// connectCalls makes a client for each call: they share connections and, to one service, a retry budget, and differ in how
// they retry.
func (d *Dispatcher) connectCalls(calls []*route, own ServiceEnvironment) error {
	if len(calls) == 0 {
		return nil
	}
	var tokens auth.TokenSource = d.transport
	var carrier http.RoundTripper = d.transport
	if d.transport == nil {
		minter, err := d.newMinter(own)
		if err != nil {
			return err
		}
		t := wsync.NewTransport()
		d.closers = append(d.closers, minter.Close, func() error { t.CloseIdleConnections(); return nil })
		tokens, carrier = minter, t
	}
	budgets := map[string]*wsync.RetryBudget{}
	for _, r := range calls {
		to := d.env.Service(r.app, r.to.name)
		if budgets[to.URL] == nil {
			budgets[to.URL] = new(wsync.RetryBudget)
		}
		retry := r.effectiveRetry()
		client, err := wsync.NewClient(wsync.ClientConfig{
			URL: to.URL, Audience: to.Audience, Tokens: tokens, Transport: carrier, RetryBudget: budgets[to.URL],
			MaxAttempts: retry.MaxAttempts, MinBackoff: retry.MinBackoff, MaxBackoff: retry.MaxBackoff,
		})
		if err != nil {
			return fmt.Errorf("%s: %w", r, err)
		}
		d.calls[r], err = newCaller(client, to.URL+r.path)
		if err != nil {
			return fmt.Errorf("%s: %w", r, err)
		}
	}
	return nil
}

// newMinter makes the source of the service's own tokens.
func (d *Dispatcher) newMinter(own ServiceEnvironment) (*auth.Minter, error) {
	config := auth.MinterConfig{CredentialsFile: own.Credentials, CredentialsJSON: own.CredentialsJSON, Logger: d.log}
	if d.env.local() && len(own.CredentialsJSON) == 0 {
		// Named here, the file is checked now and not at the first call.
		config.CredentialsFile = firstOf(own.Credentials, os.Getenv(envCredentials))
	}
	if !d.env.onCloudRun && !d.env.local() {
		// On a developer's machine the credentials are a person's, who must act as the service to be its caller. Where
		// they are the service's own already, this changes nothing.
		config.Impersonate = own.ServiceAccount
	}
	return auth.NewMinter(config)
}

// clientOptions hand a service's own credentials to Google's clients; without any they find the application default ones.
func (s ServiceEnvironment) clientOptions() []option.ClientOption {
	switch {
	case len(s.CredentialsJSON) > 0:
		return []option.ClientOption{option.WithCredentialsJSON(s.CredentialsJSON)} //nolint:staticcheck // whatever type of credentials was given
	case s.Credentials != "":
		return []option.ClientOption{option.WithCredentialsFile(s.Credentials)} //nolint:staticcheck // whatever type of credentials was given
	}
	return nil
}

// prepareReceivers puts an endpoint in place for each receiving route: it verifies its own callers from the first
// moment, and answers 503 until it has a handler.
func (d *Dispatcher) prepareReceivers(routes []*route, own ServiceEnvironment) error {
	if len(routes) == 0 {
		return nil
	}
	var everybody []string
	for _, r := range routes {
		everybody = append(everybody, callersOf(r, d.env)...)
	}
	verifier, err := d.newVerifier(own, everybody)
	if err != nil {
		return err
	}
	d.verifier = verifier
	for _, r := range routes {
		v, err := verifier.ForCallers(callersOf(r, d.env)...)
		if err != nil {
			return fmt.Errorf("%s: %w", r, err)
		}
		for _, name := range append([]string{r.name}, r.aliases...) {
			without := httpserve.Guard(v, d.log, d.withoutHandler(r), slog.String("route", name))
			d.receivers[r.pathOf(name)] = &receiver{route: r, name: name, verifier: v, without: without}
		}
	}
	return nil
}

// newVerifier makes a verifier of tokens that are meant for this service, with keys of its own.
func (d *Dispatcher) newVerifier(own ServiceEnvironment, callers []string) (*auth.Verifier, error) {
	keys, err := auth.NewKeySet(auth.KeySetConfig{URL: d.env.keysURL(), HTTPClient: d.keysClient(), Logger: d.log})
	if err != nil {
		return nil, err
	}
	d.closers = append(d.closers, keys.Close)
	return auth.NewVerifier(auth.VerifierConfig{
		Audiences:       []string{own.Audience},
		Callers:         callers,
		Keys:            keys,
		PlatformAsserts: *own.PlatformAsserts,
		Logger:          d.log,
	})
}

// keysClient fetches the issuer's keys; nil for the key set's own.
func (d *Dispatcher) keysClient() *http.Client {
	if d.transport == nil {
		return nil
	}
	return &http.Client{Transport: d.transport}
}
