package dead_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http/httptest"
	"sync/atomic"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/dead"
	"waybill.dev/dispatch/deploy"
	"waybill.dev/emulator"
)

// The contracts of an app: one task.
type Welcome struct{ To string }

var (
	App         = dispatch.NewApp("shop")
	Login       = App.Service("login")
	Mailer      = App.Service("mailer")
	SendWelcome = dispatch.NewTask[Welcome](Mailer, "send-welcome", dispatch.From(Login))
)

// A message dies of an outage. Once that is over, it is sent again.
func Example() {
	ctx := context.Background()
	local := startLocally(ctx)
	defer local.close()

	var outage atomic.Bool
	outage.Store(true)
	done := make(chan string, 1)
	died := make(chan struct{}, 1)
	dispatch.Handle(local.mailer, SendWelcome, func(_ context.Context, w Welcome) error {
		if outage.Load() {
			died <- struct{}{}
			return dispatch.Permanent(errors.New("the mail server knows nobody"))
		}
		done <- "welcome, " + w.To
		return nil
	})
	if _, err := dispatch.Send(ctx, local.login, SendWelcome, Welcome{To: "ann"}); err != nil {
		log.Fatal(err)
	}
	<-died

	letters, err := dead.Open(ctx, App, dead.Config{Environment: local.env})
	if err != nil {
		log.Fatal(err)
	}
	defer letters.Close()
	var listing dead.Listing
	for len(listing.Letters) == 0 { // it is on its way
		if listing, err = letters.List(ctx, dead.Query{Route: "send-welcome"}); err != nil {
			log.Fatal(err)
		}
	}
	for _, l := range listing.Letters {
		fmt.Printf("%s, after %d attempt: %s\n", l.Route, l.Attempts, l.Cause)
	}

	outage.Store(false)
	results, err := letters.Replay(ctx, dead.Query{Match: func(l dead.Letter) bool { return l.Source == "/shop/login" }})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(results), "replayed")
	fmt.Println(<-done)
	// Output:
	// send-welcome, after 1 attempt: the mail server knows nobody
	// 1 replayed
	// welcome, ann
}

// local is an emulator with what the app needs, and its services.
type local struct {
	env           *dispatch.Environment
	mailer, login *dispatch.Dispatcher
	close         func()
}

func startLocally(ctx context.Context) *local {
	quiet := slog.New(slog.DiscardHandler)
	e, err := emulator.Start(ctx, emulator.Config{Listen: "127.0.0.1:0", Logger: quiet})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	env := &dispatch.Environment{
		Project: "waybill-local", Location: "us-central1", Emulator: e.Addr(),
		Services: map[string]dispatch.ServiceEnvironment{"mailer": {URL: "http://" + server.Listener.Addr().String()}},
	}
	plan, err := deploy.NewPlan(App, env)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := deploy.Create(ctx, plan, deploy.Options{}); err != nil {
		log.Fatal(err)
	}
	open := func(s *dispatch.Service) *dispatch.Dispatcher {
		d, err := dispatch.Open(ctx, s, dispatch.Config{Environment: env, Logger: quiet})
		if err != nil {
			log.Fatal(err)
		}
		return d
	}
	l := &local{env: env, mailer: open(Mailer), login: open(Login)}
	server.Config.Handler = l.mailer
	server.Start()
	l.close = func() {
		server.Close()
		l.mailer.Close()
		l.login.Close()
		e.Close()
	}
	return l
}
