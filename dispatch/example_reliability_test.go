package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/deploy"
)

type (
	Reminder   struct{ To string }
	ReminderV1 struct{ Address string }
)

// A reminder that comes too late is of no use to anybody.
func ExampleExpires() {
	app := dispatch.NewApp("shop")
	login, mailer := app.Service("login"), app.Service("mailer")
	remind := dispatch.NewTask[Reminder](mailer, "remind", dispatch.From(login), dispatch.Expires(10*time.Minute))

	ctx := context.Background()
	local, err := startApp(ctx, app)
	if err != nil {
		panic(err)
	}
	defer local.Close()
	sender, err := dispatch.Open(ctx, login, local.config())
	if err != nil {
		panic(err)
	}
	defer sender.Close()
	// The mailer is down. One reminder has its route's time, the other one of its own.
	for _, m := range []struct {
		to      string
		options []dispatch.SendOption
	}{
		{"ann@example.com", nil},
		{"bob@example.com", []dispatch.SendOption{dispatch.Expires(time.Millisecond)}},
	} {
		if _, err := dispatch.Send(ctx, sender, remind, Reminder{To: m.to}, m.options...); err != nil {
			panic(err)
		}
	}

	done := make(chan string, 2)
	config := local.config()
	config.OnExpired = func(context.Context, dispatch.Message) { done <- "one was dropped" }
	local.runWith(ctx, mailer, config, func(d *dispatch.Dispatcher) {
		dispatch.Handle(d, remind, func(_ context.Context, r Reminder) error { done <- "reminded " + r.To; return nil })
	})
	fmt.Println(<-done)
	fmt.Println(<-done)
	// Unordered output:
	// reminded ann@example.com
	// one was dropped
}

// More than one queue of Cloud Tasks takes: dispatch/deploy creates three, each with a third.
func ExampleRate() {
	app := dispatch.NewApp("shop")
	login, mailer := app.Service("login"), app.Service("mailer")
	dispatch.NewTask[Welcome](mailer, "send-welcome", dispatch.From(login), dispatch.Rate{PerSecond: 1500, Concurrent: 300})

	plan, err := deploy.NewPlan(app, &dispatch.Environment{Project: "p", Location: "us-central1"})
	if err != nil {
		panic(err)
	}
	for _, q := range plan.Queues {
		fmt.Println(q.Name, q.Rate.PerSecond, q.Rate.Concurrent)
	}
	// Output:
	// projects/p/locations/us-central1/queues/shop--send-welcome 500 100
	// projects/p/locations/us-central1/queues/shop--send-welcome--2 500 100
	// projects/p/locations/us-central1/queues/shop--send-welcome--3 500 100
}

// A field was renamed. What the old build has sent is still in flight, and arrives as a message of today.
func ExampleVersion() {
	before := dispatch.NewApp("shop")
	oldLogin, oldMailer := before.Service("login"), before.Service("mailer")
	oldRemind := dispatch.NewTask[ReminderV1](oldMailer, "remind", dispatch.From(oldLogin))

	after := dispatch.NewApp("shop", dispatch.Version(2,
		dispatch.Accept(1, func(old ReminderV1) (Reminder, error) { return Reminder{To: old.Address}, nil })))
	login, mailer := after.Service("login"), after.Service("mailer")
	remind := dispatch.NewTask[Reminder](mailer, "remind", dispatch.From(login))

	ctx := context.Background()
	local, err := startApp(ctx, after)
	if err != nil {
		panic(err)
	}
	defer local.Close()
	sender, err := dispatch.Open(ctx, oldLogin, local.config())
	if err != nil {
		panic(err)
	}
	defer sender.Close()
	if _, err := dispatch.Send(ctx, sender, oldRemind, ReminderV1{Address: "ann@example.com"}); err != nil {
		panic(err)
	}

	done := make(chan string, 1)
	local.run(ctx, mailer, func(d *dispatch.Dispatcher) {
		dispatch.Handle(d, remind, func(_ context.Context, r Reminder) error { done <- r.To; return nil })
	})
	fmt.Println(<-done)
	// Output:
	// ann@example.com
}

// A task was renamed. Whoever has not been rolled out yet sends it by its old name.
func ExampleAlias() {
	before := dispatch.NewApp("shop")
	oldLogin, oldMailer := before.Service("login"), before.Service("mailer")
	mailWelcome := dispatch.NewTask[Welcome](oldMailer, "mail-welcome", dispatch.From(oldLogin))

	after := dispatch.NewApp("shop")
	login, mailer := after.Service("login"), after.Service("mailer")
	sendWelcome := dispatch.NewTask[Welcome](mailer, "send-welcome", dispatch.From(login), dispatch.Alias("mail-welcome"))

	ctx := context.Background()
	local, err := startApp(ctx, before)
	if err != nil {
		panic(err)
	}
	defer local.Close()
	// The next deployment leaves the old queue, and says that it is there.
	plan, err := deploy.NewPlan(after, local.env)
	if err != nil {
		panic(err)
	}
	changes, err := deploy.Create(ctx, plan, deploy.Options{})
	if err != nil {
		panic(err)
	}
	for _, c := range changes {
		if c.Kind == "queue" {
			fmt.Println(c)
		}
	}
	sender, err := dispatch.Open(ctx, oldLogin, local.config())
	if err != nil {
		panic(err)
	}
	defer sender.Close()
	if _, err := dispatch.Send(ctx, sender, mailWelcome, Welcome{To: "Ann Lee"}); err != nil {
		panic(err)
	}

	done := make(chan string, 1)
	local.run(ctx, mailer, func(d *dispatch.Dispatcher) {
		dispatch.Handle(d, sendWelcome, func(ctx context.Context, w Welcome) error {
			m := dispatch.MessageFrom(ctx)
			done <- fmt.Sprintf("%s came by %s, is %s", w.To, m.Alias, m.Route)
			return nil
		})
	})
	fmt.Println(<-done)
	// Output:
	// created  queue projects/demo/locations/us-central1/queues/shop--send-welcome
	// exists   queue projects/demo/locations/us-central1/queues/shop--mail-welcome: an old name of task send-welcome, which still receives by it; once every service is rolled out and it is empty, delete it with: gcloud tasks queues delete projects/demo/locations/us-central1/queues/shop--mail-welcome, and remove the dispatch.Alias
	// Ann Lee came by mail-welcome, is send-welcome
}

// logged is a middleware in net/http's manner.
func logged(log *slog.Logger) dispatch.Middleware {
	return func(next dispatch.HandlerFunc) dispatch.HandlerFunc {
		return func(ctx context.Context) error {
			err := next(ctx)
			m := dispatch.MessageFrom(ctx)
			log.InfoContext(ctx, "handled", "route", m.Route, "attempt", m.Attempt, "error", err)
			return err
		}
	}
}

func ExampleMiddleware() {
	ctx := context.Background()
	local, err := startLocally(ctx)
	if err != nil {
		panic(err)
	}
	defer local.Close()
	lines := make(lineWriter, 1)
	config := local.config()
	config.Middleware = []dispatch.Middleware{logged(slog.New(slog.NewTextHandler(lines, &slog.HandlerOptions{ReplaceAttr: withoutTime})))}
	local.runWith(ctx, Mailer, config, func(d *dispatch.Dispatcher) {
		dispatch.Handle(d, SendWelcome, func(context.Context, Welcome) error { return dispatch.Permanent(errNoSuchAddress) })
	})
	login, err := dispatch.Open(ctx, Login, local.config())
	if err != nil {
		panic(err)
	}
	defer login.Close()
	if _, err := dispatch.Send(ctx, login, SendWelcome, Welcome{}); err != nil {
		panic(err)
	}
	fmt.Print(<-lines)
	// Output:
	// level=INFO msg=handled route=send-welcome attempt=1 error="no such address"
}

type tenantKey struct{}

// A tenant travels with each message, and what belongs to nobody does not leave.
func ExampleSendMiddleware() {
	ctx := context.Background()
	local, err := startLocally(ctx)
	if err != nil {
		panic(err)
	}
	defer local.Close()
	errNoTenant := errors.New("the message belongs to no tenant")
	config := local.config()
	config.SendMiddleware = []dispatch.SendMiddleware{func(next dispatch.SendFunc) dispatch.SendFunc {
		return func(ctx context.Context, e *dispatch.Envelope) (dispatch.Receipt, error) {
			tenant, ok := ctx.Value(tenantKey{}).(string)
			if !ok {
				return dispatch.Receipt{}, errNoTenant
			}
			e.Attributes["tenant"] = tenant // a header of the task or the call, an attribute of the event
			return next(ctx, e)
		}
	}}
	login, err := dispatch.Open(ctx, Login, config)
	if err != nil {
		panic(err)
	}
	defer login.Close()

	_, err = dispatch.Send(ctx, login, SignedUp, UserSignedUp{UserID: "ann"})
	fmt.Println(err)
	_, err = dispatch.Send(context.WithValue(ctx, tenantKey{}, "acme"), login, SignedUp, UserSignedUp{UserID: "ann"})
	fmt.Println(err)
	// Output:
	// the message belongs to no tenant
	// <nil>
}

// A service behind a load balancer that asks for its readiness.
func ExampleConfig_drainDelay() {
	ctx := context.Background()
	local, err := startLocally(ctx)
	if err != nil {
		panic(err)
	}
	defer local.Close()
	config := local.config()
	config.DrainDelay = 50 * time.Millisecond // seconds, in earnest
	d, err := dispatch.Open(ctx, Mailer, config)
	if err != nil {
		panic(err)
	}
	dispatch.Handle(d, SendWelcome, func(context.Context, Welcome) error { return nil })
	serving, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- d.Serve(serving, local.listeners[Mailer.Name()]) }()

	ready := func() int {
		response, err := http.Get(local.env.Services[Mailer.Name()].URL + dispatch.ReadyPath)
		if err != nil {
			panic(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	fmt.Println(ready())
	stop() // as SIGTERM does
	status := ready()
	for status == http.StatusOK {
		status = ready()
	}
	fmt.Println(status)
	http.DefaultClient.CloseIdleConnections()
	fmt.Println(<-served)
	// Output:
	// 200
	// 503
	// <nil>
}

// lineWriter hands on what is written.
type lineWriter chan string

func (l lineWriter) Write(p []byte) (int, error) { l <- string(p); return len(p), nil }

func withoutTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
