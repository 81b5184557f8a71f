package dispatch_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gpubsub "cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/deploy"
	"waybill.dev/emulator"
	"waybill.dev/pubsub"
)

func TestAFailedTaskComesBackUntilItSucceeds(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	mailer := w.open(c.mailer)
	attempts := make(chan dispatch.Message, 10)
	dispatch.Handle(mailer, c.sendWelcome, func(ctx context.Context, _ welcome) error {
		m := dispatch.MessageFrom(ctx)
		attempts <- m
		if m.Attempt < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	w.serve(c.mailer, mailer)
	login := w.open(c.login)
	receipt, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{})
	if err != nil {
		t.Fatal(err)
	}
	for want := 1; want <= 3; want++ {
		if m := receive(t, attempts, "an attempt"); m.Attempt != want || m.ID != receipt.ID {
			t.Fatalf("attempt %d of %s, want %d of %s", m.Attempt, m.ID, want, receipt.ID)
		}
	}
	w.noDeadLetters("send-welcome")
}

func TestDeadLetters(t *testing.T) {
	secondThoughts := errors.New("no such address")
	for _, tt := range []struct {
		name     string
		outcome  func() error
		attempts string
		cause    string
	}{
		{"Permanent, at the first attempt", func() error { return dispatch.Permanent(secondThoughts) }, "1", "no such address"},
		{"the last of three attempts", func() error { return secondThoughts }, "3", "no such address"},
		{"a panic at the last attempt", func() error { panic("index out of range") }, "3", "index out of range"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newContracts()
			w := newWorld(t, c.app)
			mailer, search, audit := w.open(c.mailer), w.open(c.search), w.open(c.audit)
			dispatch.Handle(mailer, c.sendWelcome, func(context.Context, welcome) error { return tt.outcome() })
			dispatch.Handle(search, c.indexUser, func(context.Context, signedUp) error { return tt.outcome() })
			recorded := make(chan signedUp, 2)
			dispatch.Handle(audit, c.recordEvent, func(_ context.Context, e signedUp) error { recorded <- e; return nil })
			w.serve(c.mailer, mailer)
			w.serve(c.search, search)
			w.serve(c.audit, audit)
			login := w.open(c.login)

			task, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{To: "nobody"})
			if err != nil {
				t.Fatal(err)
			}
			event, err := dispatch.Send(t.Context(), login, c.signedUp, signedUp{UserID: "ann", Step: 1})
			if err != nil {
				t.Fatal(err)
			}
			for route, sent := range map[string]struct {
				receipt dispatch.Receipt
				body    string
				ceType  string
			}{
				"send-welcome": {task, `{"To":"nobody"}`, "shop.send-welcome"},
				"index-user":   {event, `{"UserID":"ann","Step":1}`, "shop.user-signed-up"},
			} {
				dead := w.deadLetter(route)
				got := map[string]string{"body": string(dead.Data)}
				for _, name := range []string{"ce-id", "ce-source", "ce-type", "content-type", "waybill-dead-route", "waybill-dead-attempts"} {
					got[name] = dead.Attributes[name]
				}
				want := map[string]string{
					"body": sent.body, "ce-id": sent.receipt.ID, "ce-source": "/shop/login", "ce-type": sent.ceType, "content-type": "application/json",
					"waybill-dead-route": route, "waybill-dead-attempts": tt.attempts,
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", route, diff)
				}
				if !strings.Contains(dead.Attributes["waybill-dead-cause"], tt.cause) {
					t.Errorf("%s: cause %q lacks %q", route, dead.Attributes["waybill-dead-cause"], tt.cause)
				}
			}
			// The other subscriber has its own copy, and a dead letter frees its key at this one.
			if e := receive(t, recorded, "audit's copy"); e.Step != 1 {
				t.Errorf("audit got %+v", e)
			}
			if !strings.Contains(w.log.String(), task.ID) {
				t.Error("the log does not name the task's message ID")
			}
		})
	}
}

func TestWhatDoesNotDecodeIsADeadLetterWithoutRunning(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	mailer, search := w.open(c.mailer), w.open(c.search)
	dispatch.Handle(mailer, c.sendWelcome, func(context.Context, welcome) error { t.Error("the task's handler ran"); return nil })
	dispatch.Handle(search, c.indexUser, func(context.Context, signedUp) error { t.Error("the event's handler ran"); return nil })
	w.serve(c.mailer, mailer)
	w.serve(c.search, search)

	token := w.token(loginAccount, w.env.Services["mailer"].URL)
	for _, tt := range []struct{ body, contentType, cause string }{
		{`{"To": 7, "secret": "hunter2"}`, "application/json", `field "To"`},
		{`{"To": "ann`, "application/json", "cannot be decoded"},
		{`To: ann`, "application/yaml", "no codec reads"},
	} {
		status, answer := w.post(w.url(c.mailer, "/_waybill/tasks/send-welcome"), token, tt.body, "Content-Type", tt.contentType, "ce-id", "forged-1")
		if status != http.StatusNoContent {
			t.Fatalf("%s: %d %s, want 204", tt.body, status, answer)
		}
		dead := w.deadLetter("send-welcome")
		if string(dead.Data) != tt.body || dead.Attributes["ce-id"] != "forged-1" || !strings.Contains(dead.Attributes["waybill-dead-cause"], tt.cause) {
			t.Errorf("dead letter %q %v", dead.Data, dead.Attributes)
		}
	}
	publish(t, w, "shop--user-signed-up", &gpubsub.Message{Data: []byte("not JSON"), Attributes: map[string]string{"content-type": "application/json"}})
	if dead := w.deadLetter("index-user"); string(dead.Data) != "not JSON" {
		t.Errorf("dead letter %q", dead.Data)
	}
	if strings.Contains(w.log.String(), "hunter2") {
		t.Error("a payload shows in the log")
	}
}

// publish publishes around the library.
func publish(t *testing.T, w *world, topic string, m *gpubsub.Message) {
	t.Helper()
	client, err := gpubsub.NewClient(t.Context(), w.env.Project, pubsub.EmulatorOptions(w.emulator.Addr())...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	publisher := client.Publisher(topic)
	defer publisher.Stop()
	if _, err := publisher.Publish(t.Context(), m).Get(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestNothingIsAcknowledgedThatTheDeadLettersDidNotTake(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	client, err := gpubsub.NewClient(t.Context(), w.env.Project, pubsub.EmulatorOptions(w.emulator.Addr())...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	topic := "projects/waybill-local/topics/shop--send-welcome--dead"
	if err := client.TopicAdminClient.DeleteTopic(t.Context(), &pubsubpb.DeleteTopicRequest{Topic: topic}); err != nil {
		t.Fatal(err)
	}
	mailer := w.open(c.mailer)
	ran, restored := make(chan int, 100), make(chan bool)
	dispatch.Handle(mailer, c.sendWelcome, func(ctx context.Context, _ welcome) error {
		attempt := dispatch.MessageFrom(ctx).Attempt
		ran <- attempt
		if attempt == 3 {
			<-restored
		}
		return dispatch.Permanent(errors.New("no such address"))
	})
	w.serve(c.mailer, mailer)
	login := w.open(c.login)
	if _, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{To: "nobody"}); err != nil {
		t.Fatal(err)
	}
	receive(t, ran, "the first attempt")
	receive(t, ran, "the second attempt: the first was not acknowledged")
	receive(t, ran, "the third")
	sub := "projects/waybill-local/subscriptions/shop--send-welcome--dead"
	if err := client.SubscriptionAdminClient.DeleteSubscription(t.Context(), &pubsubpb.DeleteSubscriptionRequest{Subscription: sub}); err != nil {
		t.Fatal(err)
	}
	plan, err := deploy.NewPlan(c.app, w.env)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := deploy.Create(t.Context(), plan, deploy.Options{}); err != nil {
		t.Fatal(err)
	}
	close(restored)
	if dead := w.deadLetter("send-welcome"); string(dead.Data) != `{"To":"nobody"}` {
		t.Errorf("dead letter %q", dead.Data)
	}
}

func TestAPanicIsAFailedAttemptAndTheProcessLives(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	mailer, profiles := w.open(c.mailer), w.open(c.profiles)
	dispatch.Handle(mailer, c.sendWelcome, func(context.Context, welcome) error { panic("boom") })
	dispatch.Answer(profiles, c.getProfile, func(context.Context, query) (profile, error) { panic("boom") })
	w.serve(c.mailer, mailer)
	w.serve(c.profiles, profiles)
	for url, audience := range map[string]string{
		w.url(c.mailer, "/_waybill/tasks/send-welcome"):  w.env.Services["mailer"].URL,
		w.url(c.profiles, "/_waybill/calls/get-profile"): w.env.Services["user-profiles"].URL,
	} {
		for range 2 {
			status, answer := w.post(url, w.token(loginAccount, audience), `{}`, "ce-id", "id-of-"+audience)
			if status != http.StatusInternalServerError || strings.Contains(answer, "boom") {
				t.Errorf("%s: %d %q, want 500 without the panic's text", url, status, answer)
			}
		}
		if log := w.log.String(); !strings.Contains(log, "id-of-"+audience) || !strings.Contains(log, "failure_test.go") {
			t.Errorf("the log has neither the message's ID nor the stack:\n%s", log)
		}
	}
}

func TestRetryAfterAnswers503(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	mailer := w.open(c.mailer)
	dispatch.Handle(mailer, c.sendWelcome, func(context.Context, welcome) error {
		return dispatch.RetryAfter(1500*time.Millisecond, errors.New("busy"))
	})
	var retryAfter atomic.Value
	w.serve(c.mailer, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		mailer.ServeHTTP(rw, r)
		retryAfter.Store(rw.Header().Get("Retry-After"))
	}))
	status, _ := w.post(w.url(c.mailer, "/_waybill/tasks/send-welcome"), w.token(loginAccount, w.env.Services["mailer"].URL), `{}`)
	if status != http.StatusServiceUnavailable || retryAfter.Load() != "2" {
		t.Errorf("%d, Retry-After %v; want 503 and 2 (seconds, rounded up)", status, retryAfter.Load())
	}
}

func TestUnusualRequests(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	mailer, search := w.open(c.mailer), w.open(c.search)
	dispatch.Handle(mailer, c.sendWelcome, func(context.Context, welcome) error { return nil })
	w.serve(c.mailer, mailer)
	w.serve(c.search, search) // without handlers
	token := w.token(loginAccount, w.env.Services["mailer"].URL)

	if status, answer := w.post(w.url(c.mailer, "/_waybill/tasks/unknown"), token, `{}`); status != http.StatusNotFound || !strings.Contains(answer, "no route at this path") {
		t.Errorf("an unknown route: %d %s", status, answer)
	}
	without := w.url(c.search, "/_waybill/events/index-user")
	if status, answer := w.post(without, w.token(pushAccount, w.env.Services["search"].URL), `{}`); status != http.StatusServiceUnavailable || !strings.Contains(answer, "no handler") {
		t.Errorf("a route without a handler: %d %s", status, answer)
	}
	if status, answer := w.post(without, "", `{}`); status != http.StatusUnauthorized {
		t.Errorf("a route without a handler, and no token: %d %s", status, answer)
	}
	if status := w.get(w.url(c.mailer, "/_waybill/tasks/send-welcome"), token); status != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d, want 405", status)
	}
	if status := w.postHalf(w.listeners["mailer"].Addr().String(), "/_waybill/tasks/send-welcome", token); status != http.StatusBadRequest {
		t.Errorf("a body that stops half-way: %d, want 400", status)
	}
	// A push for another subscription, by the right account: each endpoint takes its own only.
	push, _ := json.Marshal(map[string]any{"message": map[string]any{"data": "e30=", "messageId": "1"}, "subscription": "projects/waybill-local/subscriptions/shop--record-sign-up"})
	audit := w.open(c.audit)
	dispatch.Handle(audit, c.recordEvent, func(context.Context, signedUp) error { return nil })
	w.serve(c.audit, audit)
	token = w.token(pushAccount, w.env.Services["audit"].URL)
	if status, answer := w.post(w.url(c.audit, "/_waybill/events/record-sign-up"), token, string(push)); status != http.StatusNoContent {
		t.Errorf("its own push: %d %s", status, answer)
	}
	foreign := strings.Replace(string(push), "record-sign-up", "index-user", 1)
	if status, answer := w.post(w.url(c.audit, "/_waybill/events/record-sign-up"), token, foreign); status < 400 || !strings.Contains(answer, "subscription") {
		t.Errorf("a push for another subscription: %d %s", status, answer)
	}
}

func (w *world) get(url, token string) int {
	w.t.Helper()
	request, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, url, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		w.t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// postHalf announces a body, sends half of it and stops.
func (w *world) postHalf(address, path, token string) int {
	w.t.Helper()
	conn, err := (&net.Dialer{}).DialContext(w.t.Context(), "tcp", address)
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	_, err = io.WriteString(conn, "POST "+path+" HTTP/1.1\r\nHost: "+address+"\r\nAuthorization: Bearer "+token+
		"\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"To\":")
	if err != nil {
		w.t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		w.t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		w.t.Fatal(err)
	}
	var status int
	if line, _, _ := strings.Cut(string(answer), "\r\n"); len(line) > 12 {
		for _, c := range line[9:12] {
			status = 10*status + int(c-'0')
		}
	}
	return status
}

func TestTooLargeNeverLeaves(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	login := w.open(c.login)
	for name, send := range map[string]func() error{
		"a task over 1 MiB": func() error {
			_, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{To: strings.Repeat("x", 1<<20)})
			return err
		},
		"an event over 10 MB": func() error {
			_, err := dispatch.Send(t.Context(), login, c.signedUp, signedUp{UserID: strings.Repeat("x", 10<<20)})
			return err
		},
		"a call over 32 MiB": func() error {
			_, err := dispatch.Request(t.Context(), login, c.getProfile, query{UserID: strings.Repeat("x", 32<<20)})
			return err
		},
	} {
		if err := send(); !errors.Is(err, dispatch.ErrTooLarge) {
			t.Errorf("%s: %v, want ErrTooLarge", name, err)
		}
	}
}

func TestWithoutADispatcherThereIsAnError(t *testing.T) {
	c := newContracts()
	var none *dispatch.Dispatcher
	if _, err := dispatch.Send(t.Context(), none, c.sendWelcome, welcome{}); err == nil || !strings.Contains(err.Error(), "no Dispatcher") {
		t.Errorf("Send through a nil Dispatcher: %v", err)
	}
	if _, err := dispatch.Send(t.Context(), nil, c.sendWelcome, welcome{}); err == nil || !strings.Contains(err.Error(), "no Dispatcher") {
		t.Errorf("Send through nothing: %v", err)
	}
	if _, err := dispatch.Request(t.Context(), none, c.getProfile, query{}); err == nil || !strings.Contains(err.Error(), "no Dispatcher") {
		t.Errorf("Request through a nil Dispatcher: %v", err)
	}
}

func TestNothingIsSentAfterCloseOrWithADoneContext(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	login := w.open(c.login)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	sends := map[string]func(context.Context) error{
		"a task": func(ctx context.Context) error {
			_, err := dispatch.Send(ctx, login, c.sendWelcome, welcome{})
			return err
		},
		"an event": func(ctx context.Context) error {
			_, err := dispatch.Send(ctx, login, c.signedUp, signedUp{UserID: "ann"})
			return err
		},
		"a call": func(ctx context.Context) error {
			_, err := dispatch.Request(ctx, login, c.getProfile, query{})
			return err
		},
	}
	for name, send := range sends {
		if err := send(done); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "nothing was sent") {
			t.Errorf("%s with a done context: %v", name, err)
		}
	}
	if err := login.Close(); err != nil {
		t.Fatal(err)
	}
	if err := login.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	for name, send := range sends {
		if err := send(t.Context()); !errors.Is(err, dispatch.ErrClosed) {
			t.Errorf("%s after Close: %v, want ErrClosed", name, err)
		}
	}
}

func TestShutdownLetsHandlersFinishAndSend(t *testing.T) {
	c := newContracts()
	echo := dispatch.NewTask[welcome](c.mailer, "echo", dispatch.From(c.mailer))
	w := newWorld(t, c.app)
	mailer, login := w.open(c.mailer), w.open(c.login)
	started, finish, finished := make(chan bool), make(chan bool), make(chan error, 1)
	dispatch.Handle(mailer, c.sendWelcome, func(ctx context.Context, m welcome) error {
		close(started)
		<-finish
		_, err := dispatch.Send(ctx, mailer, echo, m)
		finished <- err
		return err
	})
	dispatch.Handle(mailer, echo, func(context.Context, welcome) error { return nil })
	w.serve(c.mailer, mailer)
	if _, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{}); err != nil {
		t.Fatal(err)
	}
	receive(t, started, "the handler's start")

	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	shut := make(chan error, 1)
	go func() { shut <- mailer.Shutdown(t.Context()) }()
	url, token := w.url(c.mailer, "/_waybill/tasks/send-welcome"), w.token(loginAccount, w.env.Services["mailer"].URL)
	for status := 0; status != http.StatusServiceUnavailable; { // from the moment that Shutdown has begun
		status, _ = w.post(w.url(c.mailer, "/_waybill/tasks/echo"), token, `{}`)
		if status == http.StatusForbidden { // not draining yet: login may not send echo
			continue
		}
	}
	if err := mailer.Shutdown(impatient); !errors.Is(err, context.Canceled) {
		t.Errorf("an impatient Shutdown: %v", err)
	}
	close(finish)
	if err := receive(t, finished, "the handler's send"); err != nil {
		t.Errorf("a running handler may send while the Dispatcher drains: %v", err)
	}
	if err := receive(t, shut, "Shutdown's end"); err != nil {
		t.Error(err)
	}
	if status, answer := w.post(url, token, `{}`); status != http.StatusServiceUnavailable {
		t.Errorf("after Shutdown: %d %s", status, answer)
	}
}

func TestCheckReportsEveryHandlersProblem(t *testing.T) {
	c := newContracts()
	second := dispatch.NewTask[welcome](c.mailer, "second", dispatch.From(c.login))
	third := dispatch.NewTask[welcome](c.mailer, "third", dispatch.From(c.login))
	w := newWorld(t, c.app)
	mailer := w.open(c.mailer)
	nothing := func(context.Context, welcome) error { return nil }
	dispatch.Handle(mailer, second, nothing)
	dispatch.Handle(mailer, second, nothing)
	dispatch.Handle(mailer, third, nil)
	dispatch.Handle(mailer, c.indexUser, func(context.Context, signedUp) error { return nil })
	dispatch.Handle(mailer, newContracts().sendWelcome, nothing)
	err := mailer.Check()
	if err == nil {
		t.Fatal("no error")
	}
	for _, text := range []string{
		`task "send-welcome" has no handler; add one with dispatch.Handle`,
		`task "second" has two handlers`,
		`task "third": dispatch.Handle got no function`,
		`subscription "index-user" is service "search"'s, and this is "mailer"`,
		`task "send-welcome" belongs to another app`,
	} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the error lacks %q:\n%v", text, err)
		}
	}
	if err := mailer.ListenAndServe(t.Context()); err == nil || !strings.Contains(err.Error(), "has no handler") {
		t.Errorf("ListenAndServe does not check: %v", err)
	}
}

func TestServeDrainsWhenItsContextEnds(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	mailer, login := w.open(c.mailer), w.open(c.login)
	got := make(chan string, 1)
	dispatch.Handle(mailer, c.sendWelcome, func(_ context.Context, m welcome) error { got <- m.To; return nil })
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- mailer.Serve(ctx, w.listeners["mailer"]) }()
	if _, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{To: "ann"}); err != nil {
		t.Fatal(err)
	}
	receive(t, got, "the task")
	cancel()
	if err := receive(t, served, "Serve's end"); err != nil {
		t.Error(err)
	}
}

func TestAnEmulatorThatGoesAwayAndComesBack(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	login, mailer, search := w.open(c.login), w.open(c.mailer), w.open(c.search)
	mailed, indexed := make(chan string, 10), make(chan int, 10)
	dispatch.Handle(mailer, c.sendWelcome, func(_ context.Context, m welcome) error { mailed <- m.To; return nil })
	dispatch.Handle(search, c.indexUser, func(_ context.Context, e signedUp) error { indexed <- e.Step; return nil })
	w.serve(c.mailer, mailer)
	w.serve(c.search, search)
	if _, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{To: "before"}); err != nil {
		t.Fatal(err)
	}
	receive(t, mailed, "the task before")
	if err := w.emulator.Close(); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := dispatch.Send(short, login, c.sendWelcome, welcome{}); err == nil {
		t.Fatal("a send without an emulator has no error")
	}

	again, err := emulator.Start(t.Context(), emulator.Config{Listen: w.emulator.Addr(), Keys: w.keys, Logger: w.logger()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { again.Close() })
	plan, err := deploy.NewPlan(c.app, w.env)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := deploy.Create(t.Context(), plan, deploy.Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{To: "after"}); err != nil {
		t.Fatalf("a task after its return: %v", err)
	}
	if _, err := dispatch.Send(t.Context(), login, c.signedUp, signedUp{UserID: "ann", Step: 7}); err != nil {
		t.Fatalf("an event after its return: %v", err)
	}
	if to := receive(t, mailed, "the task after"); to != "after" {
		t.Errorf("%q arrived", to)
	}
	if step := receive(t, indexed, "the event after"); step != 7 {
		t.Errorf("step %d arrived", step)
	}
}
