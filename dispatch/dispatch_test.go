package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"waybill.dev/auth"
	"waybill.dev/dispatch"
	wsync "waybill.dev/sync"
)

type welcome struct{ To string }

type signedUp struct {
	UserID string
	Step   int
}

type (
	query   struct{ UserID string }
	profile struct{ Name string }
)

// contracts are the shop of the design: what the package's users write.
type contracts struct {
	app                                    *dispatch.App
	login, profiles, search, mailer, audit *dispatch.Service
	sendWelcome                            *dispatch.Task[welcome]
	signedUp                               *dispatch.Event[signedUp]
	indexUser, recordEvent                 *dispatch.Subscription[signedUp]
	getProfile                             *dispatch.Call[query, profile]
	find                                   *dispatch.Call[query, profile] // of search, which login may not reach
}

func newContracts() contracts {
	var c contracts
	c.app = dispatch.NewApp("shop")
	c.login, c.profiles, c.search = c.app.Service("login"), c.app.Service("user-profiles"), c.app.Service("search")
	c.mailer, c.audit = c.app.Service("mailer"), c.app.Service("audit")
	fast := dispatch.Retry{MaxAttempts: 3, MinBackoff: 10 * time.Millisecond, MaxBackoff: 20 * time.Millisecond}
	c.sendWelcome = dispatch.NewTask[welcome](c.mailer, "send-welcome", dispatch.From(c.login), fast)
	c.signedUp = dispatch.NewEvent(c.login, "user-signed-up", dispatch.OrderBy(func(e signedUp) string { return e.UserID }))
	c.indexUser = c.signedUp.To(c.search, "index-user", fast)
	c.recordEvent = c.signedUp.To(c.audit, "record-sign-up", fast)
	c.getProfile = dispatch.NewCall[query, profile](c.profiles, "get-profile", dispatch.From(c.login))
	c.find = dispatch.NewCall[query, profile](c.search, "find", dispatch.From(c.audit))
	return c
}

const (
	loginAccount = "login@waybill-local.iam.gserviceaccount.com"
	pushAccount  = "shop-push@waybill-local.iam.gserviceaccount.com"
)

// delivered is a message as its handler saw it.
type delivered[M any] struct {
	message M
	about   dispatch.Message
}

func TestATaskArrivesOnceVerified(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	mailer := w.open(c.mailer)
	got := make(chan delivered[welcome], 10)
	dispatch.Handle(mailer, c.sendWelcome, func(ctx context.Context, m welcome) error {
		got <- delivered[welcome]{m, dispatch.MessageFrom(ctx)}
		return nil
	})
	w.serve(c.mailer, mailer)
	login := w.open(c.login)

	before := time.Now()
	receipt, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{To: "ann@example.com"}, dispatch.Key("welcome:ann"))
	if err != nil {
		t.Fatal(err)
	}
	d := receive(t, got, "the task")
	want := delivered[welcome]{welcome{"ann@example.com"}, dispatch.Message{
		ID: receipt.ID, Route: "send-welcome", Attempt: 1, Source: "/shop/login", Via: dispatch.ViaCloudTasks,
		Caller: auth.Identity{
			Email: loginAccount, Issuer: "https://accounts.google.com", Audience: w.env.Services["mailer"].URL, Assurance: auth.Verified,
		},
	}}
	if diff := cmp.Diff(want, d, cmp.AllowUnexported(delivered[welcome]{}),
		cmpopts.IgnoreFields(dispatch.Message{}, "PublishedAt"), cmpopts.IgnoreFields(auth.Identity{}, "Subject", "IssuedAt", "ExpiresAt")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if p := d.about.PublishedAt; p.Before(before) || p.After(time.Now()) {
		t.Errorf("published at %v, want now", p)
	}
	if receipt.Via != dispatch.ViaCloudTasks || receipt.Duplicate || !strings.HasPrefix(receipt.Name, "projects/waybill-local/locations/us-central1/queues/shop--send-welcome/tasks/") {
		t.Errorf("receipt %+v", receipt)
	}
	if strings.Contains(receipt.Name, "ann") {
		t.Errorf("the task's name %q shows the key", receipt.Name)
	}

	again, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{To: "ann@example.com"}, dispatch.Key("welcome:ann"), dispatch.After(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if !again.Duplicate || again.ID != receipt.ID || again.Name != receipt.Name || !again.ScheduledFor.IsZero() {
		t.Errorf("the second receipt %+v is not a duplicate of %+v", again, receipt)
	}
	other, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{To: "bob@example.com"}, dispatch.Key("welcome:bob"))
	if err != nil {
		t.Fatal(err)
	}
	if next := receive(t, got, "the next task"); next.about.ID != other.ID {
		t.Errorf("message %s arrived, want %s: the duplicate must not", next.about.ID, other.ID)
	}
}

func TestADelayedTaskWaits(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	mailer := w.open(c.mailer)
	got := make(chan string, 10)
	dispatch.Handle(mailer, c.sendWelcome, func(_ context.Context, m welcome) error { got <- m.To; return nil })
	w.serve(c.mailer, mailer)
	login := w.open(c.login)

	later, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{To: "later"}, dispatch.After(10*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if wait := time.Until(later.ScheduledFor); wait < 9*time.Minute || wait > 10*time.Minute {
		t.Errorf("scheduled in %v, want 10m", wait)
	}
	if _, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{To: "now"}); err != nil {
		t.Fatal(err)
	}
	if first := receive(t, got, "the task for now"); first != "now" {
		t.Fatalf("%q came first", first)
	}
	w.emulator.Advance(9 * time.Minute)
	if len(got) != 0 {
		t.Fatal("the delayed task came a minute early")
	}
	w.emulator.Advance(time.Minute)
	if second := receive(t, got, "the delayed task"); second != "later" {
		t.Errorf("%q came", second)
	}
}

func TestAnEventReachesEachSubscriberInOrder(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	const n = 20
	indexed, recorded := make(chan delivered[signedUp], 3*n), make(chan delivered[signedUp], 3*n)
	search, audit := w.open(c.search), w.open(c.audit)
	failures := 2
	dispatch.Handle(search, c.indexUser, func(ctx context.Context, e signedUp) error {
		if e.Step == 5 && failures > 0 { // one at a time for this key, so nothing else runs now
			failures--
			return errors.New("not yet")
		}
		indexed <- delivered[signedUp]{e, dispatch.MessageFrom(ctx)}
		return nil
	})
	dispatch.Handle(audit, c.recordEvent, func(ctx context.Context, e signedUp) error {
		recorded <- delivered[signedUp]{e, dispatch.MessageFrom(ctx)}
		return nil
	})
	w.serve(c.search, search)
	w.serve(c.audit, audit)
	login := w.open(c.login)

	ids := map[int]string{}
	for step := range n {
		receipt, err := dispatch.Send(t.Context(), login, c.signedUp, signedUp{UserID: "ann", Step: step})
		if err != nil {
			t.Fatal(err)
		}
		ids[step] = receipt.ID
		if receipt.Via != dispatch.ViaPubSub || receipt.Name == "" {
			t.Errorf("receipt %+v", receipt)
		}
	}
	for name, got := range map[string]chan delivered[signedUp]{"index-user": indexed, "record-sign-up": recorded} {
		for step := range n {
			d := receive(t, got, fmt.Sprintf("step %d at %s", step, name))
			if d.message.Step != step {
				t.Fatalf("%s: step %d came where %d was due", name, d.message.Step, step)
			}
			if d.about.ID != ids[step] || d.about.Route != name || d.about.Caller.Email != pushAccount || d.about.Via != dispatch.ViaPubSub {
				t.Errorf("%s: %+v", name, d.about)
			}
			if name == "index-user" && step == 5 && d.about.Attempt != 3 {
				t.Errorf("step 5 succeeded at attempt %d, want 3", d.about.Attempt)
			}
		}
	}
}

func TestACallIsAnswered(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	profiles := w.open(c.profiles)
	dispatch.Answer(profiles, c.getProfile, func(ctx context.Context, q query) (profile, error) {
		m := dispatch.MessageFrom(ctx)
		switch q.UserID {
		case "ann":
			return profile{Name: "Ann, asked by " + m.Caller.Email + " via " + string(m.Via)}, nil
		case "nobody":
			return profile{}, wsync.Errorf(wsync.NotFound, "no user %s", q.UserID)
		case "gone":
			return profile{}, dispatch.Permanent(errors.New("secret reason"))
		default:
			return profile{}, errors.New("secret reason")
		}
	})
	w.serve(c.profiles, profiles)
	login := w.open(c.login)

	p, err := dispatch.Request(t.Context(), login, c.getProfile, query{UserID: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	if want := "Ann, asked by " + loginAccount + " via http"; p.Name != want {
		t.Errorf("answer %q, want %q", p.Name, want)
	}
	for _, tt := range []struct {
		user string
		code wsync.Code
		text string
	}{
		{"nobody", wsync.NotFound, "no user nobody"},
		{"broken", wsync.Internal, ""},
		{"gone", wsync.FailedPrecondition, ""},
	} {
		_, err := dispatch.Request(t.Context(), login, c.getProfile, query{UserID: tt.user})
		e, ok := errors.AsType[*wsync.Error](err)
		if !ok {
			t.Errorf("%s: the error is %v, want a *sync.Error", tt.user, err)
			continue
		}
		if e.Code != tt.code || !strings.Contains(e.Message, tt.text) {
			t.Errorf("%s: %+v", tt.user, e)
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: an error that was not meant for the caller crossed the wire: %v", tt.user, err)
		}
		if (tt.user == "gone") != e.Permanent {
			t.Errorf("%s: Permanent is %v", tt.user, e.Permanent)
		}
	}
}

func TestACallsDeadlineSpansItsRetries(t *testing.T) {
	c := newContracts()
	again := dispatch.NewCall[query, profile](c.profiles, "again", dispatch.From(c.login), dispatch.Deadline(time.Minute),
		dispatch.Retry{MaxAttempts: 1000, MinBackoff: time.Millisecond, MaxBackoff: time.Millisecond})
	w := newWorld(t, c.app)
	profiles := w.open(c.profiles)
	dispatch.Answer(profiles, again, func(context.Context, query) (profile, error) {
		return profile{}, wsync.Errorf(wsync.Unavailable, "not now")
	})
	w.serve(c.profiles, profiles)
	login := w.open(c.login)
	began := time.Now()
	_, err := dispatch.Request(t.Context(), login, again, query{}, dispatch.Deadline(50*time.Millisecond))
	if e, ok := errors.AsType[*wsync.Error](err); !ok && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v, %v; want the last answer, or the deadline's", err, e)
	}
	if took := time.Since(began); took > patience {
		t.Errorf("it took %v, retries included", took)
	}
	if _, err := dispatch.Request(t.Context(), login, again, query{}, dispatch.Deadline(2*time.Minute)); !errors.Is(err, dispatch.ErrOption) {
		t.Errorf("a longer deadline than the declared one: %v, want ErrOption", err)
	}
}

func TestWhatIsNotDeclaredNeverLeaves(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	login, search := w.open(c.login), w.open(c.search)
	_, err := dispatch.Request(t.Context(), login, c.find, query{})
	wantNotDeclared(t, err, `service "login" may not send call "find" to service "search"; if it should, add "login" to the dispatch.From of call "find"`)
	_, err = dispatch.Send(t.Context(), search, c.sendWelcome, welcome{})
	wantNotDeclared(t, err, `service "search" may not send task "send-welcome"`)
	_, err = dispatch.Send(t.Context(), search, c.signedUp, signedUp{UserID: "ann"})
	wantNotDeclared(t, err, `which is service "login"'s`)
	_, err = dispatch.Send(t.Context(), login, newContracts().sendWelcome, welcome{})
	wantNotDeclared(t, err, "belongs to another app")
}

func wantNotDeclared(t *testing.T, err error, text string) {
	t.Helper()
	if !errors.Is(err, dispatch.ErrNotDeclared) || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want ErrNotDeclared with %q", err, text)
	}
}

func TestWhoIsNotDeclaredIsRefused(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	profiles, search := w.open(c.profiles), w.open(c.search)
	ran := make(chan string, 10)
	dispatch.Answer(profiles, c.getProfile, func(context.Context, query) (profile, error) { ran <- "get-profile"; return profile{}, nil })
	dispatch.Answer(search, c.find, func(context.Context, query) (profile, error) { ran <- "find"; return profile{}, nil })
	dispatch.Handle(search, c.indexUser, func(context.Context, signedUp) error { ran <- "index-user"; return nil })
	w.serve(c.profiles, profiles)
	w.serve(c.search, search)

	find, index := w.url(c.search, "/_waybill/calls/find"), w.url(c.search, "/_waybill/events/index-user")
	audience := w.env.Services["search"].URL
	good := w.token("audit@waybill-local.iam.gserviceaccount.com", audience)
	for _, tt := range []struct {
		name, url, token string
		status           int
		reason           string
	}{
		{"no token", find, "", http.StatusUnauthorized, "token"},
		{"an undeclared caller", find, w.token(loginAccount, audience), http.StatusForbidden, loginAccount},
		{"a foreign audience", find, w.token("audit@waybill-local.iam.gserviceaccount.com", w.env.Services["user-profiles"].URL), http.StatusUnauthorized, "audience"},
		{"a tampered signature", find, tampered(good), http.StatusUnauthorized, "signature"},
		{"a publisher that pushes by itself", index, w.token(loginAccount, audience), http.StatusForbidden, loginAccount},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, answer := w.post(tt.url, tt.token, `{}`)
			if status != tt.status || !strings.Contains(answer, tt.reason) {
				t.Errorf("%d %s, want %d with %q", status, answer, tt.status, tt.reason)
			}
			if tt.token != "" && strings.Contains(answer+w.log.String(), tt.token) {
				t.Error("the token shows in the answer or the log")
			}
		})
	}
	if len(ran) != 0 {
		t.Errorf("handler %q ran", <-ran)
	}
	if status, answer := w.post(find, good, `{}`); status != http.StatusOK {
		t.Errorf("the declared caller: %d %s, want 200", status, answer)
	}
}

// tampered changes one character in the middle of a token's signature.
func tampered(token string) string {
	i := strings.LastIndexByte(token, '.') + 20
	c := byte('A')
	if token[i] == c {
		c = 'B'
	}
	return token[:i] + string(c) + token[i+1:]
}

func TestOptionsThatARouteCannotHonour(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	login := w.open(c.login)
	for _, tt := range []struct {
		name string
		send func() error
		text string
	}{
		{"a delayed event", func() error {
			_, err := dispatch.Send(t.Context(), login, c.signedUp, signedUp{UserID: "a"}, dispatch.After(time.Hour))
			return err
		}, "cannot be delayed"},
		{"After and At", func() error {
			_, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{}, dispatch.After(time.Hour), dispatch.At(time.Now()))
			return err
		}, "give one of them"},
		{"a negative delay", func() error {
			_, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{}, dispatch.After(-time.Hour))
			return err
		}, "in the past"},
		{"a delay beyond Cloud Tasks'", func() error {
			_, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{}, dispatch.After(31*24*time.Hour))
			return err
		}, "30 days at most"},
		{"an empty key", func() error {
			_, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{}, dispatch.Key(""))
			return err
		}, "an empty Key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.send(); !errors.Is(err, dispatch.ErrOption) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error %v, want ErrOption with %q", err, tt.text)
			}
		})
	}
	if _, err := dispatch.Send(t.Context(), login, c.signedUp, signedUp{}); err == nil || !strings.Contains(err.Error(), "this message's key is empty") {
		t.Errorf("an empty ordering key: %v", err)
	}
}

func TestAnEventsKeyIsItsID(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	login := w.open(c.login)
	ids := map[string]bool{}
	for range 2 {
		receipt, err := dispatch.Send(t.Context(), login, c.signedUp, signedUp{UserID: "ann"}, dispatch.Key("ann"))
		if err != nil {
			t.Fatal(err)
		}
		ids[receipt.ID] = true
	}
	task, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{}, dispatch.Key("ann"))
	if err != nil {
		t.Fatal(err)
	}
	ids[task.ID] = true
	if len(ids) != 2 {
		t.Errorf("IDs %v: one key is one message on its route, and another on another", ids)
	}
}

func TestProtobufTravelsAsProtobuf(t *testing.T) {
	app := dispatch.NewApp("proto")
	from, to := app.Service("sender"), app.Service("receiver")
	task := dispatch.NewTask[*wrapperspb.StringValue](to, "note", dispatch.From(from))
	call := dispatch.NewCall[*wrapperspb.Int64Value, *wrapperspb.Int64Value](to, "double", dispatch.From(from))
	w := newWorld(t, app)
	receiver := w.open(to)
	got := make(chan string, 1)
	dispatch.Handle(receiver, task, func(_ context.Context, m *wrapperspb.StringValue) error { got <- m.GetValue(); return nil })
	dispatch.Answer(receiver, call, func(_ context.Context, q *wrapperspb.Int64Value) (*wrapperspb.Int64Value, error) {
		return wrapperspb.Int64(2 * q.GetValue()), nil
	})
	types := make(chan string, 10)
	w.serve(to, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		types <- r.Header.Get("Content-Type")
		receiver.ServeHTTP(rw, r)
	}))
	sender := w.open(from)
	if _, err := dispatch.Send(t.Context(), sender, task, wrapperspb.String("hello")); err != nil {
		t.Fatal(err)
	}
	if note := receive(t, got, "the note"); note != "hello" {
		t.Errorf("note %q", note)
	}
	answer, err := dispatch.Request(t.Context(), sender, call, wrapperspb.Int64(21))
	if err != nil || answer.GetValue() != 42 {
		t.Errorf("answer %v, %v", answer, err)
	}
	for range 2 {
		if contentType := receive(t, types, "the content type"); contentType != "application/protobuf" {
			t.Errorf("content type %q", contentType)
		}
	}
}

func TestTheTraceGoesOnOnAllThreeWays(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	traces := make(chan trace.SpanContext, 10)
	note := func(ctx context.Context) { traces <- trace.SpanContextFromContext(ctx) }
	mailer, search, profiles, audit := w.open(c.mailer), w.open(c.search), w.open(c.profiles), w.open(c.audit)
	dispatch.Handle(mailer, c.sendWelcome, func(ctx context.Context, _ welcome) error { note(ctx); return nil })
	dispatch.Handle(search, c.indexUser, func(ctx context.Context, _ signedUp) error { note(ctx); return nil })
	dispatch.Handle(audit, c.recordEvent, func(ctx context.Context, _ signedUp) error { note(ctx); return nil })
	dispatch.Answer(profiles, c.getProfile, func(ctx context.Context, _ query) (profile, error) { note(ctx); return profile{}, nil })
	w.serve(c.mailer, mailer)
	w.serve(c.search, search)
	w.serve(c.audit, audit)
	w.serve(c.profiles, profiles)
	login := w.open(c.login)

	id, _ := trace.TraceIDFromHex("4bf92f3577b34da6a3ce929d0e0e4736")
	span, _ := trace.SpanIDFromHex("00f067aa0ba902b7")
	state, err := trace.ParseTraceState("vendor=1")
	if err != nil {
		t.Fatal(err)
	}
	ctx := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: id, SpanID: span, TraceFlags: trace.FlagsSampled, TraceState: state,
	}))
	sendAll := func(ctx context.Context) {
		t.Helper()
		if _, err := dispatch.Send(ctx, login, c.sendWelcome, welcome{}); err != nil {
			t.Fatal(err)
		}
		if _, err := dispatch.Send(ctx, login, c.signedUp, signedUp{UserID: "ann"}); err != nil {
			t.Fatal(err)
		}
		if _, err := dispatch.Request(ctx, login, c.getProfile, query{}); err != nil {
			t.Fatal(err)
		}
	}
	sendAll(ctx)
	for range 4 {
		got := receive(t, traces, "a trace")
		if got.TraceID() != id || !got.IsSampled() || got.TraceState().String() != "vendor=1" {
			t.Errorf("trace %v %v", got.TraceID(), got.TraceState())
		}
	}
	sendAll(t.Context())
	for range 4 {
		if got := receive(t, traces, "a trace"); !got.TraceID().IsValid() || got.TraceID() == id || got.IsSampled() {
			t.Errorf("without a trace one is started, not sampled; got %v, sampled %v", got.TraceID(), got.IsSampled())
		}
	}
}
