package dead_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	gpubsub "cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"go.uber.org/goleak"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/dead"
	"waybill.dev/dispatch/deploy"
	"waybill.dev/emulator"
	"waybill.dev/emulator/emulatortest"
	"waybill.dev/pubsub"
)

func TestMain(m *testing.M) {
	// A dependency of Google's clients starts this one when the program is loaded, and offers no way to stop it.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

// patience bounds a failure, not a success.
const patience = 45 * time.Second

type (
	welcome  struct{ To string }
	signedUp struct{ UserID string }
)

var errBroken = errors.New("the mail server is broken")

// shop has a task, and an ordered event with two subscriptions. Everything dies at its first failure.
type shop struct {
	app                          *dispatch.App
	login, mailer, search, audit *dispatch.Service
	sendWelcome                  *dispatch.Task[welcome]
	signedUp                     *dispatch.Event[signedUp]
	indexUser, recordSignUp      *dispatch.Subscription[signedUp]
}

func newShop() shop {
	app := dispatch.NewApp("shop")
	s := shop{app: app, login: app.Service("login"), mailer: app.Service("mailer"), search: app.Service("search"), audit: app.Service("audit")}
	once := dispatch.Retry{MaxAttempts: 1, MinBackoff: 10 * time.Millisecond, MaxBackoff: 20 * time.Millisecond}
	s.sendWelcome = dispatch.NewTask[welcome](s.mailer, "send-welcome", dispatch.From(s.login), once)
	s.signedUp = dispatch.NewEvent(s.login, "user-signed-up", dispatch.OrderBy(func(e signedUp) string { return e.UserID }))
	s.indexUser = s.signedUp.To(s.search, "index-user", once)
	s.recordSignUp = s.signedUp.To(s.audit, "record-sign-up", once)
	return s
}

// world is an emulator with what an app needs, and an address for each of its services.
type world struct {
	t         *testing.T
	emulator  *emulator.Emulator
	env       *dispatch.Environment
	endpoints map[string]*endpoint
	google    *gpubsub.Client
}

// endpoint is a service's address. Until something serves there, everything is well received.
type endpoint struct {
	server   *httptest.Server
	handler  atomic.Pointer[http.Handler]
	answered chan int // the status of each answer
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	recorder := httptest.NewRecorder()
	if h := e.handler.Load(); h != nil {
		(*h).ServeHTTP(recorder, r)
	} else {
		recorder.WriteHeader(http.StatusNoContent)
	}
	w.WriteHeader(recorder.Code)
	_, _ = w.Write(recorder.Body.Bytes())
	e.answered <- recorder.Code
}

func newWorld(t *testing.T, app *dispatch.App) *world {
	t.Helper()
	w := &world{t: t, endpoints: map[string]*endpoint{}}
	w.emulator = emulatortest.Start(t, emulator.Config{Logger: slog.New(slog.DiscardHandler)})
	w.env = &dispatch.Environment{
		Project: "waybill-local", Location: "us-central1", Emulator: w.emulator.Addr(),
		Services: map[string]dispatch.ServiceEnvironment{},
	}
	for _, name := range app.Services() {
		e := &endpoint{answered: make(chan int, 1000)}
		e.server = httptest.NewServer(e)
		t.Cleanup(e.server.Close)
		w.endpoints[name] = e
		w.env.Services[name] = dispatch.ServiceEnvironment{URL: e.server.URL}
	}
	w.deploy(app)
	var err error
	if w.google, err = gpubsub.NewClient(t.Context(), w.env.Project, pubsub.EmulatorOptions(w.emulator.Addr())...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.google.Close() })
	return w
}

func (w *world) deploy(app *dispatch.App) {
	w.t.Helper()
	plan, err := deploy.NewPlan(app, w.env)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := deploy.Create(w.t.Context(), plan, deploy.Options{}); err != nil {
		w.t.Fatal(err)
	}
}

// open opens a service until the test ends.
func (w *world) open(s *dispatch.Service, options ...func(*dispatch.Config)) *dispatch.Dispatcher {
	w.t.Helper()
	config := dispatch.Config{Environment: w.env, Logger: slog.New(slog.DiscardHandler)}
	for _, o := range options {
		o(&config)
	}
	d, err := dispatch.Open(w.t.Context(), s, config)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := d.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return d
}

// breakable is a handler that fails with the error until it is mended. It passes on what it has handled.
func breakable[M any](d *dispatch.Dispatcher, from dispatch.Inbound[M], err error) (mend func(), handled <-chan dispatch.Message) {
	var mended atomic.Bool
	got := make(chan dispatch.Message, 10)
	dispatch.Handle(d, from, func(ctx context.Context, _ M) error {
		if !mended.Load() {
			return err
		}
		got <- dispatch.MessageFrom(ctx)
		return nil
	})
	return func() { mended.Store(true) }, got
}

func (w *world) serve(s *dispatch.Service, h http.Handler) { w.endpoints[s.Name()].handler.Store(&h) }

// letters opens the app's dead letters until the test ends.
func (w *world) letters(app *dispatch.App) *dead.Client {
	w.t.Helper()
	c, err := dead.Open(w.t.Context(), app, dead.Config{Environment: w.env})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return c
}

// buried waits until there are so many dead letters, and returns them. It asks again and again: a question that the server
// answers when it is no longer waited for would hide a letter for a minute.
func (w *world) buried(c *dead.Client, n int) []dead.Letter {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		listing, err := c.List(ctx, dead.Query{})
		switch {
		case err != nil:
			w.t.Fatalf("waiting for %d dead letters, there are %d: %v", n, len(listing.Letters), err)
		case len(listing.Letters) == n:
			return listing.Letters
		case len(listing.Letters) > n:
			w.t.Fatalf("there are %d dead letters, want %d: %+v", len(listing.Letters), n, listing.Letters)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			w.t.Fatalf("waiting for %d dead letters, there are %d", n, len(listing.Letters))
		}
	}
}

// none checks that there are no dead letters.
func (w *world) none(c *dead.Client) {
	w.t.Helper()
	if left := list(w.t, c, dead.Query{}); len(left) > 0 {
		w.t.Errorf("there are dead letters left: %+v", left)
	}
}

func (w *world) subscription(name string) string {
	return "projects/waybill-local/subscriptions/shop--" + name
}

func (w *world) topic(name string) string { return "projects/waybill-local/topics/shop--" + name }

// publish puts a message into a topic around the library.
func (w *world) publish(topic string, m *pubsubpb.PubsubMessage) {
	w.t.Helper()
	if _, err := w.google.TopicAdminClient.Publish(w.t.Context(), &pubsubpb.PublishRequest{Topic: w.topic(topic), Messages: []*pubsubpb.PubsubMessage{m}}); err != nil {
		w.t.Fatal(err)
	}
}

// peek pulls a message around the library, and gives it back.
func (w *world) peek(subscription string) *pubsubpb.PubsubMessage {
	w.t.Helper()
	got, err := w.google.SubscriptionAdminClient.Pull(w.t.Context(), &pubsubpb.PullRequest{Subscription: w.subscription(subscription), MaxMessages: 1})
	if err != nil || len(got.ReceivedMessages) == 0 {
		w.t.Fatalf("pulling from %s: %v, %v", subscription, got, err)
	}
	if err := w.google.SubscriptionAdminClient.ModifyAckDeadline(w.t.Context(), &pubsubpb.ModifyAckDeadlineRequest{
		Subscription: w.subscription(subscription), AckIds: []string{got.ReceivedMessages[0].AckId},
	}); err != nil {
		w.t.Fatal(err)
	}
	return got.ReceivedMessages[0].Message
}

func list(t *testing.T, c *dead.Client, q dead.Query) []dead.Letter {
	t.Helper()
	listing, err := c.List(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return listing.Letters
}

func replay(t *testing.T, c *dead.Client, q dead.Query) []dead.Result {
	t.Helper()
	results, err := c.Replay(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return results
}

func send[M any](t *testing.T, d *dispatch.Dispatcher, to dispatch.Route[M], m M) dispatch.Receipt {
	t.Helper()
	receipt, err := dispatch.Send(t.Context(), d, to, m)
	if err != nil {
		t.Fatal(err)
	}
	return receipt
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
