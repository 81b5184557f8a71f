package dispatch_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"waybill.dev/dispatch"
)

// kept keeps envelopes as an outbox does.
type kept struct {
	mu   sync.Mutex
	list []dispatch.Envelope
}

func (k *kept) keep(_ context.Context, e dispatch.Envelope) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.list = append(k.list, e)
	return nil
}

func TestAKeptMessageIsForwardedUnderItsID(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	mailer, search := w.open(c.mailer), w.open(c.search)
	got := make(chan delivered[welcome], 10)
	dispatch.Handle(mailer, c.sendWelcome, func(ctx context.Context, m welcome) error {
		got <- delivered[welcome]{m, dispatch.MessageFrom(ctx)}
		return nil
	})
	events := make(chan delivered[signedUp], 10)
	dispatch.Handle(search, c.indexUser, func(ctx context.Context, m signedUp) error {
		events <- delivered[signedUp]{m, dispatch.MessageFrom(ctx)}
		return nil
	})
	w.serve(c.mailer, mailer)
	w.serve(c.search, search)
	login := w.open(c.login)

	var k kept
	later := dispatch.Deferred(login, k.keep)
	task, err := dispatch.Send(t.Context(), later, c.sendWelcome, welcome{"ann"})
	if err != nil {
		t.Fatal(err)
	}
	event, err := dispatch.Send(t.Context(), later, c.signedUp, signedUp{UserID: "ann", Step: 1})
	if err != nil {
		t.Fatal(err)
	}
	if task.ID == "" || task.Name != "" || !strings.HasSuffix(task.String(), "kept to be sent") {
		t.Errorf("the receipt of a kept task is %+v (%s)", task, task)
	}

	for i := range 2 { // the second time after a crash that nobody noted the first
		receipt, err := login.Forward(t.Context(), k.list[0])
		if err != nil {
			t.Fatal(err)
		}
		if receipt.ID != task.ID || receipt.Duplicate != (i == 1) || receipt.Name == "" {
			t.Errorf("forwarded %d times: %+v", i+1, receipt)
		}
	}
	for range 2 {
		if receipt, err := login.Forward(t.Context(), k.list[1]); err != nil || receipt.ID != event.ID {
			t.Errorf("forwarded: %+v, %v", receipt, err)
		}
	}
	if d := receive(t, got, "the task"); d.about.ID != task.ID || d.message.To != "ann" || d.about.Source != "/shop/login" {
		t.Errorf("the task came as %+v", d)
	}
	for range 2 { // Pub/Sub delivers both, with one ID
		if d := receive(t, events, "the event"); d.about.ID != event.ID || d.message.Step != 1 {
			t.Errorf("the event came as %+v", d)
		}
	}
	if len(got) != 0 {
		t.Error("the task was delivered twice")
	}
}

func TestForwardChecksAgainstItsOwnContracts(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	login := w.open(c.login)
	var k kept
	if _, err := dispatch.Send(t.Context(), dispatch.Deferred(login, k.keep), c.sendWelcome, welcome{"ann"}, dispatch.After(time.Hour)); err != nil {
		t.Fatal(err)
	}
	good := k.list[0]
	for _, test := range []struct {
		name   string
		change func(*dispatch.Envelope)
		want   error
		text   string
	}{
		{"a route that was removed", func(e *dispatch.Envelope) { e.Route = "send-goodbye" }, dispatch.ErrNotDeclared, `no task or event "send-goodbye"; it was removed or renamed`},
		{"a route of somebody else's", func(e *dispatch.Envelope) { e.Route = "find" }, dispatch.ErrNotDeclared, "no task or event"},
		{"a newer version", func(e *dispatch.Envelope) { e.Version++ }, dispatch.ErrEnvelope, "let the newer build send it"},
		{"an empty envelope", func(e *dispatch.Envelope) { *e = dispatch.Envelope{Version: 1} }, dispatch.ErrEnvelope, "lacks its ID"},
		{"lost attributes", func(e *dispatch.Envelope) { e.Attributes = nil }, dispatch.ErrEnvelope, "keep every field"},
		{"a task that became an event", func(e *dispatch.Envelope) { e.Route, e.OrderingKey = "user-signed-up", "ann" }, dispatch.ErrOption, "events cannot be delayed"},
		{"an event that became ordered", func(e *dispatch.Envelope) { e.Route = "user-signed-up" }, dispatch.ErrEnvelope, "the envelope has no key"},
	} {
		e := good
		test.change(&e)
		_, err := login.Forward(t.Context(), e)
		if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if _, err := w.open(c.mailer).Forward(t.Context(), good); !errors.Is(err, dispatch.ErrNotDeclared) {
		t.Errorf("by a service that may not send it: %v", err)
	}
}

func TestAMessageThatCannotBeKeptIsAnError(t *testing.T) {
	c := newContracts()
	login := newWorld(t, c.app).open(c.login)
	full := errors.New("the disk is full")
	s := dispatch.Deferred(login, func(context.Context, dispatch.Envelope) error { return full })
	if receipt, err := dispatch.Send(t.Context(), s, c.sendWelcome, welcome{"ann"}); !errors.Is(err, full) || receipt != (dispatch.Receipt{}) {
		t.Errorf("%+v, %v", receipt, err)
	}
	if err := login.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := dispatch.Send(t.Context(), s, c.sendWelcome, welcome{"ann"}); !errors.Is(err, dispatch.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// openToFail is open for a Dispatcher whose Shutdown returns an error.
func (w *world) openToFail(s *dispatch.Service) *dispatch.Dispatcher {
	w.t.Helper()
	d, err := dispatch.Open(w.t.Context(), s, dispatch.Config{Environment: w.env, Logger: w.logger()})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { d.Close() })
	return d
}

// Background work ends after the handlers and before sending does.
func TestBackgroundOutlivesTheHandlersAndMaySend(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	login := w.openToFail(c.login)
	release, entered := make(chan struct{}), make(chan struct{})
	login.Mount("/slow", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(entered); <-release }))
	w.serve(c.login, login)
	ended := make(chan struct{})
	sent := make(chan error, 1)
	login.Background("relay", func(ctx context.Context) error {
		<-ctx.Done()
		close(ended)
		_, err := dispatch.Send(context.WithoutCancel(ctx), login, c.sendWelcome, welcome{"ann"})
		sent <- err
		return errors.New("one thing is left")
	})
	login.Background("crash", func(ctx context.Context) error { <-ctx.Done(); panic("out of order") })
	answered := make(chan error, 1)
	go func() {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url(c.login, "/slow"), nil)
		if err == nil {
			_, err = (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
		}
		answered <- err
	}()
	receive(t, entered, "the request")
	closed := make(chan error, 1)
	go func() { closed <- login.Shutdown(t.Context()) }()
	select {
	case <-ended:
		t.Error("background work was ended while a handler ran")
	case <-time.After(50 * time.Millisecond): // it can only be shown that it has not ended yet
	}
	close(release)
	if err := receive(t, answered, "the answer"); err != nil {
		t.Error(err)
	}
	if err := receive(t, sent, "the relay's end"); err != nil {
		t.Errorf("background work could not send at its end: %v", err)
	}
	err := receive(t, closed, "the end of Shutdown")
	for _, want := range []string{"relay: one thing is left", "crash: the handler panicked: out of order"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Shutdown returned %v, want %q in it", err, want)
		}
	}
	login.Background("late", func(context.Context) error { t.Error("it was started after Shutdown"); return nil })
}

func TestShutdownSaysWhatStillRuns(t *testing.T) {
	c := newContracts()
	login := newWorld(t, c.app).openToFail(c.login)
	release := make(chan struct{})
	login.Background("stubborn", func(context.Context) error { <-release; return nil })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := login.Shutdown(ctx)
	close(release)
	if err == nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown returned %v", err)
	}
}
