package outbox_test

import (
	"context"
	"log/slog"
	"net"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/deploy"
	"waybill.dev/emulator"
)

type (
	Welcome      struct{ To string }
	UserSignedUp struct{ UserID string }
)

// Contracts: in an app of yours they are a package that every service imports.
var (
	App    = dispatch.NewApp("shop")
	Login  = App.Service("login")
	Mailer = App.Service("mailer")

	SendWelcome = dispatch.NewTask[Welcome](Mailer, "send-welcome", dispatch.From(Login))
	SignedUp    = dispatch.NewEvent(Login, "user-signed-up", dispatch.OrderBy(func(e UserSignedUp) string { return e.UserID }))
	CountUser   = SignedUp.To(Mailer, "count-user")
)

// local is the emulator and an address for each service: what a laptop has during a local run.
type local struct {
	emulator  *emulator.Emulator
	env       *dispatch.Environment
	listeners map[string]net.Listener
	stop      []func()
}

func startLocally(ctx context.Context) *local {
	emu := must(emulator.Start(ctx, emulator.Config{Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)}))
	l := &local{emulator: emu, listeners: map[string]net.Listener{}}
	l.env = &dispatch.Environment{Project: "demo", Location: "us-central1", Emulator: emu.Addr(), Services: map[string]dispatch.ServiceEnvironment{}}
	for _, name := range App.Services() {
		l.listeners[name] = must(net.Listen("tcp", "127.0.0.1:0"))
		l.env.Services[name] = dispatch.ServiceEnvironment{URL: "http://" + l.listeners[name].Addr().String()}
	}
	must(deploy.Create(ctx, must(deploy.NewPlan(App, l.env)), deploy.Options{}))
	return l
}

func (l *local) open(ctx context.Context, s *dispatch.Service) *dispatch.Dispatcher {
	return must(dispatch.Open(ctx, s, dispatch.Config{Environment: l.env, Logger: slog.New(slog.DiscardHandler)}))
}

// serve serves a service until Close.
func (l *local) serve(ctx context.Context, d *dispatch.Dispatcher) {
	ctx, cancel := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- d.Serve(ctx, l.listeners[d.Service().Name()]) }()
	l.stop = append(l.stop, func() {
		cancel()
		if err := <-served; err != nil {
			panic(err)
		}
	})
}

func (l *local) Close() {
	for _, stop := range l.stop {
		stop()
	}
	for _, listener := range l.listeners {
		listener.Close()
	}
	l.emulator.Close()
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
