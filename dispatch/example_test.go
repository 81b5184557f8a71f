package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/deploy"
	"waybill.dev/emulator"
	wsync "waybill.dev/sync"
)

type (
	Welcome      struct{ To string }
	UserSignedUp struct{ UserID string }
	ProfileQuery struct{ UserID string }
	Profile      struct{ Name string }
)

// Contracts: in an app of yours they are a package that every service imports.
var (
	App      = dispatch.NewApp("shop")
	Login    = App.Service("login")
	Profiles = App.Service("user-profiles")
	Search   = App.Service("search")
	Mailer   = App.Service("mailer")

	SendWelcome = dispatch.NewTask[Welcome](Mailer, "send-welcome", dispatch.From(Login))
	SignedUp    = dispatch.NewEvent[UserSignedUp](Login, "user-signed-up")
	IndexUser   = SignedUp.To(Search, "index-user", dispatch.Retry{MaxAttempts: 5})
	GetProfile  = dispatch.NewCall[ProfileQuery, Profile](Profiles, "get-profile", dispatch.From(Login))
)

// sendWelcomes is login: it sends.
func sendWelcomes(ctx context.Context, d *dispatch.Dispatcher, id string) error {
	profile, err := dispatch.Request(ctx, d, GetProfile, ProfileQuery{UserID: id})
	if err != nil {
		return err
	}
	_, err = dispatch.Send(ctx, d, SendWelcome, Welcome{To: profile.Name}, dispatch.Key("welcome:"+id))
	if err != nil {
		return err
	}
	_, err = dispatch.Send(ctx, d, SignedUp, UserSignedUp{UserID: id})
	return err
}

var errNoSuchAddress = errors.New("no such address")

// mail stands for the mail server's client.
func mail(id string, w Welcome) error {
	if w.To == "" {
		return errNoSuchAddress
	}
	_ = id // a mail server that drops a second mail with the same id makes the handler bear duplicates
	return nil
}

// runMailer is the mailer: it receives.
func runMailer(ctx context.Context) error {
	d, err := dispatch.Open(ctx, Mailer)
	if err != nil {
		return err
	}
	dispatch.Handle(d, SendWelcome, func(ctx context.Context, w Welcome) error {
		err := mail(dispatch.MessageFrom(ctx).ID, w)
		if errors.Is(err, errNoSuchAddress) {
			return dispatch.Permanent(err) // never retried: to the dead letters
		}
		return err // nil: done; anything else: retried with backoff
	})
	return d.ListenAndServe(ctx) // until SIGTERM or SIGINT; nil after a clean stop
}

// A whole receiver. It finds its environment by itself and serves until it is told to stop.
func ExampleDispatcher_ListenAndServe() {
	if err := runMailer(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// answerProfiles is user-profiles: it replies.
func answerProfiles(d *dispatch.Dispatcher, names map[string]string) {
	dispatch.Answer(d, GetProfile, func(ctx context.Context, q ProfileQuery) (Profile, error) {
		name, ok := names[q.UserID]
		if !ok {
			return Profile{}, wsync.Errorf(wsync.NotFound, "there is no user %q", q.UserID)
		}
		return Profile{Name: name}, nil
	})
}

// A whole app in one process: four services and the emulator.
func Example() {
	ctx := context.Background()
	local, err := startLocally(ctx)
	if err != nil {
		panic(err)
	}
	defer local.Close()

	done := make(chan string, 2)
	local.run(ctx, Mailer, func(d *dispatch.Dispatcher) {
		dispatch.Handle(d, SendWelcome, func(_ context.Context, w Welcome) error {
			done <- "mailer greets " + w.To
			return nil
		})
	})
	local.run(ctx, Search, func(d *dispatch.Dispatcher) {
		dispatch.Handle(d, IndexUser, func(_ context.Context, e UserSignedUp) error {
			done <- "search indexes " + e.UserID
			return nil
		})
	})
	local.run(ctx, Profiles, func(d *dispatch.Dispatcher) {
		answerProfiles(d, map[string]string{"ann": "Ann Lee"})
	})
	login, err := dispatch.Open(ctx, Login, local.config())
	if err != nil {
		panic(err)
	}
	defer login.Close()
	if err := sendWelcomes(ctx, login, "ann"); err != nil {
		panic(err)
	}
	fmt.Println(<-done)
	fmt.Println(<-done)
	// Unordered output:
	// mailer greets Ann Lee
	// search indexes ann
}

// What the contracts do not let happen does not leave.
func ExampleSend_notDeclared() {
	ctx := context.Background()
	local, err := startLocally(ctx)
	if err != nil {
		panic(err)
	}
	defer local.Close()
	search, err := dispatch.Open(ctx, Search, local.config())
	if err != nil {
		panic(err)
	}
	defer search.Close()

	_, err = dispatch.Send(ctx, search, SendWelcome, Welcome{To: "Ann Lee"})
	fmt.Println(errors.Is(err, dispatch.ErrNotDeclared))
	fmt.Println(err)
	// Output:
	// true
	// dispatch: not declared: service "search" may not send task "send-welcome" to service "mailer"; if it should, add "search" to the dispatch.From of task "send-welcome"
}

// A task is delivered later, and once for each key.
func ExampleSend_later() {
	ctx := context.Background()
	local, err := startLocally(ctx)
	if err != nil {
		panic(err)
	}
	defer local.Close()
	login, err := dispatch.Open(ctx, Login, local.config())
	if err != nil {
		panic(err)
	}
	defer login.Close()

	for range 2 {
		receipt, err := dispatch.Send(ctx, login, SendWelcome, Welcome{To: "Ann Lee"},
			dispatch.Key("welcome:ann"), dispatch.After(10*time.Minute))
		if err != nil {
			panic(err)
		}
		fmt.Println(receipt.ID, receipt.Via, receipt.Duplicate)
	}
	// Output:
	// bbf96c1e-b92b-8cc9-b243-a550b30aa3df cloud-tasks false
	// bbf96c1e-b92b-8cc9-b243-a550b30aa3df cloud-tasks true
}

// A contracts package has one test.
func ExampleApp_Validate() {
	app := dispatch.NewApp("shop")
	mailer := app.Service("mailer")
	dispatch.NewTask[Welcome](mailer, "send-welcome")
	fmt.Println(app.Validate())
	// Output:
	// dispatch: the contracts of app shop: task "send-welcome": nobody may send it; name the senders with dispatch.From
}

// localRun is the emulator, an address for each service, and the services that run.
type localRun struct {
	emulator  *emulator.Emulator
	env       *dispatch.Environment
	listeners map[string]net.Listener
	stop      []func()
}

func startLocally(ctx context.Context) (*localRun, error) { return startApp(ctx, App) }

func startApp(ctx context.Context, app *dispatch.App) (*localRun, error) {
	emu, err := emulator.Start(ctx, emulator.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		return nil, err
	}
	l := &localRun{emulator: emu, listeners: map[string]net.Listener{}}
	l.env = &dispatch.Environment{Project: "demo", Location: "us-central1", Emulator: emu.Addr(), Services: map[string]dispatch.ServiceEnvironment{}}
	for _, name := range app.Services() {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		key, err := emu.KeyFile(name + "@demo.iam.gserviceaccount.com")
		if err != nil {
			return nil, err
		}
		l.listeners[name] = listener
		l.env.Services[name] = dispatch.ServiceEnvironment{URL: "http://" + listener.Addr().String(), CredentialsJSON: key}
	}
	plan, err := deploy.NewPlan(app, l.env)
	if err != nil {
		return nil, err
	}
	_, err = deploy.Create(ctx, plan, deploy.Options{})
	return l, err
}

func (l *localRun) config() dispatch.Config {
	return dispatch.Config{Environment: l.env, Logger: slog.New(slog.DiscardHandler)}
}

// run opens a service, has its handlers registered, and serves it until Close.
func (l *localRun) run(ctx context.Context, s *dispatch.Service, register func(*dispatch.Dispatcher)) {
	l.runWith(ctx, s, l.config(), register)
}

func (l *localRun) runWith(ctx context.Context, s *dispatch.Service, config dispatch.Config, register func(*dispatch.Dispatcher)) {
	d, err := dispatch.Open(ctx, s, config)
	if err != nil {
		panic(err)
	}
	register(d)
	ctx, cancel := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- d.Serve(ctx, l.listeners[s.Name()]) }()
	l.stop = append(l.stop, func() {
		cancel()
		if err := <-served; err != nil {
			panic(err)
		}
	})
}

func (l *localRun) Close() {
	for _, stop := range l.stop {
		stop()
	}
	for _, listener := range l.listeners {
		listener.Close()
	}
	l.emulator.Close()
}
