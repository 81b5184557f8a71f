package dispatch_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	cloudtasks "cloud.google.com/go/cloudtasks/apiv2"
	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"go.opentelemetry.io/otel/trace"

	"waybill.dev/auth"
	"waybill.dev/dispatch"
	wsync "waybill.dev/sync"
	"waybill.dev/tasks"
)

// The invoker role is per service, so a declared sender of one route can reach all of them: each checks its own callers.
func TestEachRouteChecksItsOwnCallers(t *testing.T) {
	c := newContracts()
	count := dispatch.NewCall[query, profile](c.mailer, "count", dispatch.From(c.audit))
	w := newWorld(t, c.app)
	mailer := w.open(c.mailer)
	dispatch.Handle(mailer, c.sendWelcome, func(context.Context, welcome) error { return nil })
	dispatch.Answer(mailer, count, func(context.Context, query) (profile, error) { return profile{}, nil })
	w.serve(c.mailer, mailer)
	const auditAccount = "audit@waybill-local.iam.gserviceaccount.com"
	for _, tt := range []struct {
		account, path string
		status        int
	}{
		{loginAccount, "/_waybill/tasks/send-welcome", http.StatusNoContent},
		{auditAccount, "/_waybill/tasks/send-welcome", http.StatusForbidden},
		{auditAccount, "/_waybill/calls/count", http.StatusOK},
		{loginAccount, "/_waybill/calls/count", http.StatusForbidden},
	} {
		if status, answer := w.post(w.url(c.mailer, tt.path), w.token(tt.account, w.env.Services["mailer"].URL), `{}`); status != tt.status {
			t.Errorf("%s at %s: %d %s, want %d", tt.account, tt.path, status, answer, tt.status)
		}
	}
}

func TestARemovedSignatureCountsOnlyWhereThePlatformAsserts(t *testing.T) {
	for asserts, want := range map[bool]int{true: http.StatusNoContent, false: http.StatusUnauthorized} {
		c := newContracts()
		w := newWorld(t, c.app)
		env := w.env.Services["mailer"]
		env.PlatformAsserts = &asserts
		w.env.Services["mailer"] = env
		mailer := w.open(c.mailer)
		var how auth.Assurance
		dispatch.Handle(mailer, c.sendWelcome, func(ctx context.Context, _ welcome) error {
			how = dispatch.MessageFrom(ctx).Caller.Assurance
			return nil
		})
		w.serve(c.mailer, mailer)
		token := w.token(loginAccount, env.URL)
		removed := token[:strings.LastIndexByte(token, '.')] + ".SIGNATURE_REMOVED_BY_GOOGLE"
		if status, answer := w.post(w.url(c.mailer, "/_waybill/tasks/send-welcome"), removed, `{}`); status != want {
			t.Errorf("platform_asserts %v: %d %s, want %d", asserts, status, answer, want)
		}
		if asserts && how != auth.PlatformAsserted {
			t.Errorf("the identity is %v", how)
		}
	}
}

func TestTheAudienceIsTheConfiguredOne(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	for _, name := range []string{"mailer", "user-profiles"} {
		env := w.env.Services[name]
		env.Audience = "https://" + name + ".custom.example"
		w.env.Services[name] = env
	}
	mailer, profiles, login := w.open(c.mailer), w.open(c.profiles), w.open(c.login)
	audiences := make(chan string, 2)
	dispatch.Handle(mailer, c.sendWelcome, func(ctx context.Context, _ welcome) error {
		audiences <- dispatch.MessageFrom(ctx).Caller.Audience
		return nil
	})
	dispatch.Answer(profiles, c.getProfile, func(ctx context.Context, _ query) (profile, error) {
		audiences <- dispatch.MessageFrom(ctx).Caller.Audience
		return profile{}, nil
	})
	w.serve(c.mailer, mailer)
	w.serve(c.profiles, profiles)
	if _, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{}); err != nil {
		t.Fatal(err)
	}
	if a := receive(t, audiences, "the task"); a != "https://mailer.custom.example" {
		t.Errorf("the task's audience is %q", a)
	}
	if _, err := dispatch.Request(t.Context(), login, c.getProfile, query{}); err != nil {
		t.Fatal(err)
	}
	if a := receive(t, audiences, "the call"); a != "https://user-profiles.custom.example" {
		t.Errorf("the call's audience is %q", a)
	}
}

func TestDeadlinesReachTheHandlerAndTheTransport(t *testing.T) {
	app := dispatch.NewApp("shop")
	from, to := app.Service("login"), app.Service("mailer")
	const declared = 40 * time.Second
	task := dispatch.NewTask[welcome](to, "task", dispatch.From(from), dispatch.Deadline(declared))
	event := dispatch.NewEvent[welcome](from, "event")
	subscription := event.To(to, "subscription", dispatch.Deadline(declared))
	call := dispatch.NewCall[welcome, welcome](to, "call", dispatch.From(from), dispatch.Deadline(declared))
	w := newWorld(t, app)
	receiver, sender := w.open(to), w.open(from)
	left := make(chan time.Duration, 3)
	note := func(ctx context.Context) {
		deadline, ok := ctx.Deadline()
		if !ok {
			deadline = time.Now()
		}
		left <- time.Until(deadline)
	}
	dispatch.Handle(receiver, task, func(ctx context.Context, _ welcome) error { note(ctx); return nil })
	dispatch.Handle(receiver, subscription, func(ctx context.Context, _ welcome) error { note(ctx); return nil })
	dispatch.Answer(receiver, call, func(ctx context.Context, m welcome) (welcome, error) { note(ctx); return m, nil })
	w.serve(to, receiver)
	if _, err := dispatch.Send(t.Context(), sender, task, welcome{}); err != nil {
		t.Fatal(err)
	}
	if _, err := dispatch.Send(t.Context(), sender, event, welcome{}); err != nil {
		t.Fatal(err)
	}
	if _, err := dispatch.Request(t.Context(), sender, call, welcome{}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if d := receive(t, left, "a handler"); d > declared || d < declared-patience {
			t.Errorf("a handler has %v left of %v", d, declared)
		}
	}

	receipt, err := dispatch.Send(t.Context(), sender, task, welcome{}, dispatch.At(time.Now().Add(time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	client, err := cloudtasks.NewClient(t.Context(), tasks.EmulatorOptions(w.emulator.Addr())...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	stored, err := client.GetTask(t.Context(), &cloudtaskspb.GetTaskRequest{Name: receipt.Name, ResponseView: cloudtaskspb.Task_FULL})
	if err != nil {
		t.Fatal(err)
	}
	if d := stored.GetDispatchDeadline().AsDuration(); d != declared+5*time.Second {
		t.Errorf("Cloud Tasks waits %v, want 5 s more than the handler may run", d)
	}
	if at := time.Until(stored.GetScheduleTime().AsTime()); at < 59*time.Minute || at > time.Hour {
		t.Errorf("the task is due in %v, want 1h", at)
	}
	headers := stored.GetHttpRequest().GetHeaders()
	for name, want := range map[string]string{
		"ce-id": receipt.ID, "ce-source": "/shop/login", "ce-type": "shop.task", "ce-specversion": "1.0", "content-type": "application/json",
	} {
		got := ""
		for have, value := range headers {
			if strings.EqualFold(have, name) {
				got = value
			}
		}
		if got != want {
			t.Errorf("header %s is %q, want %q", name, got, want)
		}
	}
}

// Without a key a task has no name of its own: named tasks cost latency.
func TestOnlyAKeyNamesATask(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	login := w.open(c.login)
	name := func(options ...dispatch.SendOption) string {
		t.Helper()
		receipt, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{}, append(options, dispatch.After(time.Hour))...)
		if err != nil {
			t.Fatal(err)
		}
		return receipt.Name[strings.LastIndexByte(receipt.Name, '/')+1:]
	}
	if n := name(dispatch.Key("k")); len(n) != 64 {
		t.Errorf("a task with a key is called %q, want a hash", n)
	}
	if n := name(); len(n) == 64 {
		t.Errorf("a task without a key is called %q, which is a hash of its own", n)
	}
}

func TestACallIsRepeatedOnlyIfItsDeclarationSaysSo(t *testing.T) {
	c := newContracts()
	again := dispatch.NewCall[query, profile](c.profiles, "again", dispatch.From(c.login), dispatch.Retry{MaxAttempts: 3, MinBackoff: time.Millisecond, MaxBackoff: time.Millisecond})
	w := newWorld(t, c.app)
	profiles, login := w.open(c.profiles), w.open(c.login)
	var once, thrice atomic.Int32
	dispatch.Answer(profiles, c.getProfile, func(context.Context, query) (profile, error) {
		once.Add(1)
		return profile{}, errors.New("failed")
	})
	dispatch.Answer(profiles, again, func(context.Context, query) (profile, error) {
		thrice.Add(1)
		return profile{}, errors.New("failed")
	})
	w.serve(c.profiles, profiles)
	if _, err := dispatch.Request(t.Context(), login, c.getProfile, query{}); err == nil || once.Load() != 1 {
		t.Errorf("without Retry it ran %d times: %v", once.Load(), err)
	}
	if _, err := dispatch.Request(t.Context(), login, again, query{}); err == nil || thrice.Load() != 3 {
		t.Errorf("with three attempts it ran %d times: %v", thrice.Load(), err)
	}
}

func TestAnAnswerThatIsNoReply(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	w.serve(c.profiles, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusNoContent) }))
	login := w.open(c.login)
	if _, err := dispatch.Request(t.Context(), login, c.getProfile, query{}); err == nil || !strings.Contains(err.Error(), "204") {
		t.Errorf("an answer without a reply: %v", err)
	}
}

func TestServeEndsWithShutdown(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	login := w.open(c.login) // receives nothing, and serves all the same
	served := make(chan error, 1)
	go func() { served <- login.Serve(t.Context(), w.listeners["login"]) }()
	for status := 0; status != http.StatusNotFound; {
		status, _ = w.post(w.url(c.login, "/anything"), "", "")
	}
	if err := login.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, served, "Serve's end"); err != nil {
		t.Error(err)
	}
}

func TestARouteThatIsDeclaredTooLate(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	login := w.open(c.login)
	late := dispatch.NewTask[welcome](c.mailer, "late", dispatch.From(c.login))
	if _, err := dispatch.Send(t.Context(), login, late, welcome{}); err == nil || !strings.Contains(err.Error(), "was declared after") {
		t.Errorf("error %v", err)
	}
}

// Whatever comes, its dead letter must be one that Pub/Sub takes.
func TestEveryDeadLetterCanBeKept(t *testing.T) {
	many := map[string]string{"content-type": "application/json"}
	for i := range 97 {
		many[fmt.Sprint("a", i)] = strings.Repeat("x", 2000)
	}
	for name, attributes := range map[string]map[string]string{
		"a topic with a schema": {"googclient_schemaencoding": "JSON"},
		"97 long attributes":    many,
		"a long key":            {strings.Repeat("k", 300): "v", "": "v"},
	} {
		c := newContracts()
		w := newWorld(t, c.app)
		search := w.open(c.search)
		dispatch.Handle(search, c.indexUser, func(context.Context, signedUp) error {
			return dispatch.Permanent(errors.New(strings.Repeat("é", 2000)))
		})
		w.serve(c.search, search)
		push, err := json.Marshal(map[string]any{
			"message":      map[string]any{"data": "e30=", "messageId": "1", "orderingKey": "ann", "attributes": attributes},
			"subscription": "projects/waybill-local/subscriptions/shop--index-user", "deliveryAttempt": 1,
		})
		if err != nil {
			t.Fatal(err)
		}
		status, answer := w.post(w.url(c.search, "/_waybill/events/index-user"), w.token(pushAccount, w.env.Services["search"].URL), string(push))
		if status != http.StatusNoContent {
			t.Errorf("%s: %d %s", name, status, answer)
			continue
		}
		dead := w.deadLetter("index-user")
		if dead.Attributes["waybill-dead-ordering-key"] != "ann" || dead.Attributes["waybill-dead-route"] != "index-user" || len(dead.Attributes["waybill-dead-cause"]) != 1024 {
			t.Errorf("%s: attributes %v", name, dead.Attributes)
		}
	}
}

func TestALongTraceStateFromOutsideHarmsNothing(t *testing.T) {
	var members []string
	for i := range 8 {
		members = append(members, fmt.Sprintf("v%d=%s", i, strings.Repeat("x", 200)))
	}
	state, err := trace.ParseTraceState(strings.Join(members, ","))
	if err != nil {
		t.Fatal(err)
	}
	c := newContracts()
	w := newWorld(t, c.app)
	search, audit, login := w.open(c.search), w.open(c.audit), w.open(c.login)
	traces := make(chan trace.SpanContext, 2)
	dispatch.Handle(search, c.indexUser, func(ctx context.Context, _ signedUp) error { traces <- trace.SpanContextFromContext(ctx); return nil })
	dispatch.Handle(audit, c.recordEvent, func(context.Context, signedUp) error { return nil })
	w.serve(c.search, search)
	w.serve(c.audit, audit)
	ctx := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceState: state,
	}))
	if _, err := dispatch.Send(ctx, login, c.signedUp, signedUp{UserID: "ann"}); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, traces, "the event"); got.TraceID() != (trace.TraceID{1}) {
		t.Errorf("trace %v", got.TraceID())
	}
}

func TestAnEventLeavesRoomForItsDeadLetter(t *testing.T) {
	c := newContracts()
	plain := dispatch.NewEvent[string](c.login, "noticed")
	w := newWorld(t, c.app)
	login := w.open(c.login)
	if _, err := dispatch.Send(t.Context(), login, plain, strings.Repeat("x", 10_000_000-1000)); !errors.Is(err, dispatch.ErrTooLarge) {
		t.Errorf("an event that fills Pub/Sub's limit: %v, want ErrTooLarge", err)
	}
	if _, err := dispatch.Send(t.Context(), login, plain, strings.Repeat("x", 10_000_000-10_000)); err != nil {
		t.Errorf("an event below it: %v", err)
	}
}

// A caller that asks too much is told to come back, and does.
func TestAHandlerMayAskACallerToComeBack(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	profiles, login := w.open(c.profiles), w.open(c.login)
	var ran atomic.Int32
	dispatch.Answer(profiles, c.getProfile, func(context.Context, query) (profile, error) {
		if ran.Add(1) == 1 {
			return profile{}, wsync.Errorf(wsync.ResourceExhausted, "too much at once")
		}
		return profile{Name: "Ann"}, nil
	})
	w.serve(c.profiles, profiles)
	if p, err := dispatch.Request(t.Context(), login, c.getProfile, query{}); err != nil || p.Name != "Ann" || ran.Load() != 2 {
		t.Errorf("%v, %v after %d runs", p, err, ran.Load())
	}
}

func TestConcurrencyAnswers429BeyondItsBound(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	profiles, login := w.open(c.profiles), w.open(c.login)
	started, finish := make(chan bool, 2), make(chan bool)
	dispatch.Answer(profiles, c.getProfile, func(_ context.Context, q query) (profile, error) {
		started <- true
		<-finish
		return profile{Name: q.UserID}, nil
	}, dispatch.Concurrency(1))
	refused := make(chan string, 10)
	w.serve(c.profiles, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rec := &statusRecorder{ResponseWriter: rw}
		profiles.ServeHTTP(rec, r)
		if rec.status == http.StatusTooManyRequests {
			refused <- rw.Header().Get("Retry-After")
		}
	}))
	answers := make(chan error, 2)
	ask := func(user string) {
		p, err := dispatch.Request(t.Context(), login, c.getProfile, query{UserID: user})
		if err == nil && p.Name != user {
			err = fmt.Errorf("the answer for %s is %q", user, p.Name)
		}
		answers <- err
	}
	go ask("first")
	receive(t, started, "the first")
	go ask("second")
	if after := receive(t, refused, "the refusal of the second"); after != "1" {
		t.Errorf("Retry-After %q", after)
	}
	if len(started) != 0 {
		t.Error("both run at once")
	}
	close(finish)
	for range 2 { // the second comes again by itself
		if err := receive(t, answers, "an answer"); err != nil {
			t.Error(err)
		}
	}
}

// statusRecorder remembers the status that was written.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (s *statusRecorder) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

func TestConcurrencyOfNothingIsAProblem(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	mailer := w.open(c.mailer)
	dispatch.Handle(mailer, c.sendWelcome, func(context.Context, welcome) error { return nil }, dispatch.Concurrency(0))
	if err := mailer.Check(); err == nil || !strings.Contains(err.Error(), "Concurrency(0)") {
		t.Errorf("Check: %v", err)
	}
}
