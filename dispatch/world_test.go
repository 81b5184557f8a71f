package dispatch_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	gpubsub "cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"go.uber.org/goleak"

	"waybill.dev/auth"
	"waybill.dev/dispatch"
	"waybill.dev/dispatch/deploy"
	"waybill.dev/emulator"
	"waybill.dev/pubsub"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Exit(child()) // this process is a service of TestSignals
	}
	// A dependency of Google's clients starts this one when the program is loaded, and offers no way to stop it.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

// patience is how long a test waits for something that is bound to happen. It bounds a failure, not a success.
const patience = 20 * time.Second

// world is an emulator and an address for each service of an app: what a laptop has during a local run.
type world struct {
	t         *testing.T
	app       *dispatch.App
	emulator  *emulator.Emulator
	env       *dispatch.Environment
	listeners map[string]net.Listener
	keys      string // the emulator's keys, for one that comes back
	log       *logBuffer
}

// newWorld starts the emulator, reserves an address for each service, and creates what the contracts need.
func newWorld(t *testing.T, app *dispatch.App) *world {
	t.Helper()
	return newWorldOn(t, app, "")
}

// newWorldOn is newWorld, with another Pub/Sub emulator behind Waybill's if there is one.
func newWorldOn(t *testing.T, app *dispatch.App, pubsubUpstream string) *world {
	t.Helper()
	w := &world{t: t, app: app, listeners: map[string]net.Listener{}, keys: filepath.Join(t.TempDir(), "keys.pem"), log: &logBuffer{}}
	var err error
	w.emulator, err = emulator.Start(t.Context(), emulator.Config{Listen: "127.0.0.1:0", PubSubUpstream: pubsubUpstream, Keys: w.keys, Logger: w.logger()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.emulator.Close() })
	w.env = &dispatch.Environment{
		Project: "waybill-local", Location: "us-central1", Emulator: w.emulator.Addr(),
		Services: map[string]dispatch.ServiceEnvironment{},
	}
	for _, name := range app.Services() {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		w.listeners[name] = l
		key, err := w.emulator.KeyFile(name + "@waybill-local.iam.gserviceaccount.com")
		if err != nil {
			t.Fatal(err)
		}
		w.env.Services[name] = dispatch.ServiceEnvironment{URL: "http://" + l.Addr().String(), CredentialsJSON: key}
	}
	plan, err := deploy.NewPlan(app, w.env)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := deploy.Create(t.Context(), plan, deploy.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log:\n%s", w.log)
		}
	})
	return w
}

func (w *world) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// open opens a service without serving it.
func (w *world) open(s *dispatch.Service) *dispatch.Dispatcher {
	w.t.Helper()
	d, err := dispatch.Open(w.t.Context(), s, dispatch.Config{Environment: w.env, Logger: w.logger()})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := d.Close(); err != nil {
			w.t.Errorf("closing %s: %v", s, err)
		}
	})
	return d
}

// serve serves a handler at a service's address until the test ends.
func (w *world) serve(s *dispatch.Service, h http.Handler) {
	w.t.Helper()
	server := &http.Server{Handler: h, ReadHeaderTimeout: patience}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(w.listeners[s.Name()])
	}()
	w.t.Cleanup(func() {
		server.Close()
		<-done
	})
}

// url is a service's address and the path of one of its endpoints.
func (w *world) url(s *dispatch.Service, path string) string {
	return w.env.Services[s.Name()].URL + path
}

// token is an ID token as Google would issue it.
func (w *world) token(account, audience string) string {
	w.t.Helper()
	key, err := w.emulator.KeyFile(account)
	if err != nil {
		w.t.Fatal(err)
	}
	minter, err := auth.NewMinter(auth.MinterConfig{CredentialsJSON: key})
	if err != nil {
		w.t.Fatal(err)
	}
	defer minter.Close()
	token, err := minter.Token(w.t.Context(), audience)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// post sends a request around the library and returns the status and the answer.
func (w *world) post(url, token, body string, header ...string) (int, string) {
	w.t.Helper()
	request, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}

// deadLetter waits for a route's next dead letter and acknowledges it.
func (w *world) deadLetter(route string) *pubsubpb.PubsubMessage {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for {
		if letters := w.pull(ctx, route, false); len(letters) > 0 {
			return letters[0]
		}
	}
}

// noDeadLetters checks that nothing is among a route's dead letters.
func (w *world) noDeadLetters(route string) {
	w.t.Helper()
	for _, m := range w.pull(w.t.Context(), route, true) {
		w.t.Errorf("an unexpected dead letter of %s: %v", route, m)
	}
}

// pull takes one of a route's dead letters, if there is any. Unless at once, the server waits a while for one.
func (w *world) pull(ctx context.Context, route string, atOnce bool) []*pubsubpb.PubsubMessage {
	w.t.Helper()
	client, err := gpubsub.NewClient(ctx, w.env.Project, pubsub.EmulatorOptions(w.emulator.Addr())...)
	if err != nil {
		w.t.Fatal(err)
	}
	defer client.Close()
	subscription := "projects/waybill-local/subscriptions/" + w.env.Resource(w.app, route) + "--dead"
	//nolint:staticcheck // ReturnImmediately is deprecated for consumers; here it asks whether something is there
	response, err := client.SubscriptionAdminClient.Pull(ctx, &pubsubpb.PullRequest{Subscription: subscription, MaxMessages: 1, ReturnImmediately: atOnce})
	if err != nil {
		w.t.Fatalf("pulling dead letters of %s: %v", route, err)
	}
	var messages []*pubsubpb.PubsubMessage
	for _, m := range response.ReceivedMessages {
		if err := client.SubscriptionAdminClient.Acknowledge(ctx, &pubsubpb.AcknowledgeRequest{Subscription: subscription, AckIds: []string{m.AckId}}); err != nil {
			w.t.Fatal(err)
		}
		messages = append(messages, m.Message)
	}
	return messages
}

// receive waits for the next value of a channel.
func receive[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s did not come within %v", what, patience)
		panic("unreachable")
	}
}

// logBuffer keeps what was logged; several goroutines write it.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
