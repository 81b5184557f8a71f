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

	"waybill.dev/dispatch"
	wsync "waybill.dev/sync"
)

// steps records what happens in which order.
type steps []string

func (s *steps) add(format string, args ...any) { *s = append(*s, fmt.Sprintf(format, args...)) }

func (s *steps) middleware(name string) dispatch.Middleware {
	return func(next dispatch.HandlerFunc) dispatch.HandlerFunc {
		s.add("make %s", name)
		return func(ctx context.Context) error {
			s.add("%s before", name)
			err := next(ctx)
			s.add("%s after: %v", name, err)
			return err
		}
	}
}

func (s *steps) want(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, []string(*s)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	*s = nil
}

func withMiddleware(m ...dispatch.Middleware) func(*dispatch.Config) {
	return func(c *dispatch.Config) { c.Middleware = m }
}

func TestTheFirstMiddlewareIsOutermostAndIsMadeOnce(t *testing.T) {
	c := newContracts()
	w := newCarrier(t, c.app)
	var s steps
	mailer, login := w.open(c.mailer, withMiddleware(s.middleware("a"), s.middleware("b"))), w.open(c.login)
	dispatch.Handle(mailer, c.sendWelcome, func(context.Context, welcome) error { s.add("handler"); return nil }, s.middleware("c"), s.middleware("d"))
	s.want(t, "make d", "make c", "make b", "make a")
	if _, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{}); err != nil {
		t.Fatal(err)
	}
	task := w.task()
	for range 2 {
		w.deliver(task, c.login, 1)
		s.want(t, "a before", "b before", "c before", "d before", "handler", "d after: <nil>", "c after: <nil>", "b after: <nil>", "a after: <nil>")
	}
}

func TestMiddlewareRunsAroundAllThreeKindsWithTheMessage(t *testing.T) {
	c := newContracts()
	w := newCarrier(t, c.app)
	var seen []string
	note := func(next dispatch.HandlerFunc) dispatch.HandlerFunc {
		return func(ctx context.Context) error {
			m := dispatch.MessageFrom(ctx)
			_, bounded := ctx.Deadline()
			seen = append(seen, fmt.Sprintf("%s of %s, bounded %v", m.Route, m.Caller.Email, bounded))
			return next(ctx)
		}
	}
	login, mailer, search, profiles := w.open(c.login), w.open(c.mailer, withMiddleware(note)), w.open(c.search, withMiddleware(note)), w.open(c.profiles, withMiddleware(note))
	dispatch.Handle(mailer, c.sendWelcome, func(context.Context, welcome) error { return nil })
	dispatch.Handle(search, c.indexUser, func(context.Context, signedUp) error { return nil })
	dispatch.Answer(profiles, c.getProfile, func(_ context.Context, q query) (profile, error) { return profile{Name: q.UserID}, nil })
	if _, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{}); err != nil {
		t.Fatal(err)
	}
	if _, err := dispatch.Send(t.Context(), login, c.signedUp, signedUp{UserID: "ann"}); err != nil {
		t.Fatal(err)
	}
	w.deliver(w.task(), c.login, 1)
	w.push(w.event(), c.search, "index-user", "/_waybill/events/index-user", 1)
	if p, err := dispatch.Request(t.Context(), login, c.getProfile, query{UserID: "ann"}); err != nil || p.Name != "ann" {
		t.Errorf("%v, %v", p, err)
	}
	want := []string{"send-welcome of " + loginAccount + ", bounded true", "index-user of " + pushAccount + ", bounded true", "get-profile of " + loginAccount + ", bounded true"}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Verification comes before all of it, panics and what cannot be decoded are errors within it.
func TestWhatMiddlewareSees(t *testing.T) {
	c := newContracts()
	w := newCarrier(t, c.app)
	var s steps
	mailer := w.open(c.mailer, withMiddleware(s.middleware("m")))
	dispatch.Handle(mailer, c.sendWelcome, func(_ context.Context, m welcome) error {
		if m.To == "panic" {
			panic("boom")
		}
		return errors.New("not yet")
	})
	s.want(t, "make m")
	url := w.env.Services["mailer"].URL
	post := func(body, token string, header ...string) int {
		h := map[string][]string{"Content-Type": {"application/json"}}
		for i := 0; i+1 < len(header); i += 2 {
			h[header[i]] = header[i+1 : i+2]
		}
		return w.post(url+"/_waybill/tasks/send-welcome", h, []byte(body), token).Code
	}
	good := w.issuer.Token(loginAccount, url)
	for _, token := range []string{"", "no token", w.issuer.Token("stranger@example.com", url)} {
		if status := post("{}", token); status != 401 && status != 403 {
			t.Errorf("status %d", status)
		}
	}
	s.want(t) // nothing ran

	if status := post(`{"To":"ann"}`, good); status != 500 {
		t.Errorf("a failure: %d", status)
	}
	s.want(t, "m before", "m after: not yet")
	if status := post(`{"To":"panic"}`, good); status != 500 {
		t.Errorf("a panic: %d", status)
	}
	s.want(t, "m before", "m after: the handler panicked: boom")
	if lines := w.logged("delivery failed"); len(lines) != 2 || !strings.Contains(fmt.Sprint(lines[1]["stack"]), "middleware_test.go") {
		t.Errorf("the panic's stack is lost: %v", lines)
	}
	if status := post(`{"To":7}`, good); status != 204 {
		t.Errorf("what cannot be decoded: %d", status)
	}
	if len(s) != 2 || !strings.Contains(s[1], "cannot be decoded") {
		t.Errorf("steps %v", s)
	}
	s = nil
	w.event() // its dead letter
	if status := post(`{}`, good, "Ce-Expirytime", "2000-01-01T00:00:00Z"); status != 204 {
		t.Errorf("what has expired: %d", status)
	}
	s.want(t)
	w.nothingLeft()
}

func TestWhatAMiddlewareReturnsDecides(t *testing.T) {
	for _, tt := range []struct {
		name       string
		middleware dispatch.Middleware
		status     int
		dead       bool
		ran        int
	}{
		{"done without the handler", func(dispatch.HandlerFunc) dispatch.HandlerFunc {
			return func(context.Context) error { return nil }
		}, 204, false, 0},
		{"an error in its place", func(next dispatch.HandlerFunc) dispatch.HandlerFunc {
			return func(ctx context.Context) error { _ = next(ctx); return dispatch.Permanent(errors.New("no")) }
		}, 204, true, 1},
		{"a panic of its own", func(dispatch.HandlerFunc) dispatch.HandlerFunc {
			return func(context.Context) error { panic("boom") }
		}, 500, false, 0},
		{"another context", func(next dispatch.HandlerFunc) dispatch.HandlerFunc {
			return func(context.Context) error { return next(context.Background()) }
		}, 204, true, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newContracts()
			w := newCarrier(t, c.app)
			mailer, login := w.open(c.mailer), w.open(c.login)
			ran := 0
			dispatch.Handle(mailer, c.sendWelcome, func(context.Context, welcome) error { ran++; return nil }, tt.middleware)
			if _, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{}); err != nil {
				t.Fatal(err)
			}
			if status := w.deliver(w.task(), c.login, 1); status != tt.status || ran != tt.ran {
				t.Errorf("status %d after %d runs, want %d after %d", status, ran, tt.status, tt.ran)
			}
			if tt.dead {
				w.event()
			}
			w.nothingLeft()
		})
	}
}

func TestAMiddlewareMustNotLoseACallsReply(t *testing.T) {
	c := newContracts()
	w := newCarrier(t, c.app)
	profiles, login := w.open(c.profiles), w.open(c.login)
	dispatch.Answer(profiles, c.getProfile, func(context.Context, query) (profile, error) { return profile{}, nil },
		dispatch.Middleware(func(dispatch.HandlerFunc) dispatch.HandlerFunc { return func(context.Context) error { return nil } }))
	_, err := dispatch.Request(t.Context(), login, c.getProfile, query{})
	if e, ok := errors.AsType[*wsync.Error](err); !ok || e.Code != wsync.Internal {
		t.Errorf("error %v, want an internal one", err)
	}
}

func TestSendMiddleware(t *testing.T) {
	c := newContracts()
	w := newCarrier(t, c.app)
	var s steps
	stamp := func(name string) dispatch.SendMiddleware {
		return func(next dispatch.SendFunc) dispatch.SendFunc {
			s.add("make %s", name)
			return func(ctx context.Context, e *dispatch.Envelope) (dispatch.Receipt, error) {
				s.add("%s: %s", name, e.Route)
				e.Attributes["tenant"] += name
				receipt, err := next(ctx, e)
				if err == nil && (receipt.ID != e.ID || e.Attributes["ce-id"] != e.ID) {
					err = fmt.Errorf("receipt %s, envelope %s, attribute %s", receipt.ID, e.ID, e.Attributes["ce-id"])
				}
				return receipt, err
			}
		}
	}
	login := w.open(c.login, func(cfg *dispatch.Config) { cfg.SendMiddleware = []dispatch.SendMiddleware{stamp("a"), stamp("b")} })
	s.want(t, "make b", "make a")
	profiles := w.open(c.profiles)
	var tenant string
	dispatch.Answer(profiles, c.getProfile, func(_ context.Context, q query) (profile, error) { return profile{Name: q.UserID}, nil })
	inner := w.at["user-profiles.test"]
	w.at["user-profiles.test"] = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { tenant = r.Header.Get("tenant"); inner.ServeHTTP(rw, r) })

	if _, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{}, dispatch.Key("k"), dispatch.After(time.Hour)); err != nil {
		t.Fatal(err)
	}
	s.want(t, "a: send-welcome", "b: send-welcome")
	if task := w.task(); task.Header["tenant"] != "ab" || task.ScheduleTime.IsZero() {
		t.Errorf("the task %+v", task)
	}
	if _, err := dispatch.Send(t.Context(), login, c.signedUp, signedUp{UserID: "ann"}); err != nil {
		t.Fatal(err)
	}
	s.want(t, "a: user-signed-up", "b: user-signed-up")
	if m := w.event(); m.Attributes["tenant"] != "ab" || m.OrderingKey != "ann" {
		t.Errorf("the event %+v", m)
	}
	if p, err := dispatch.Request(t.Context(), login, c.getProfile, query{UserID: "ann"}); err != nil || p.Name != "ann" || tenant != "ab" {
		t.Errorf("%v, %v, tenant %q", p, err, tenant)
	}
	s.want(t, "a: get-profile", "b: get-profile")

	// What is not declared never gets as far.
	if _, err := dispatch.Request(t.Context(), login, c.find, query{}); !errors.Is(err, dispatch.ErrNotDeclared) {
		t.Errorf("error %v", err)
	}
	s.want(t)
}

func TestASendMiddlewareMayChangeTheBodyAndRefuse(t *testing.T) {
	c := newContracts()
	w := newCarrier(t, c.app)
	refused := errors.New("not on Sundays")
	login := w.open(c.login, func(cfg *dispatch.Config) {
		cfg.SendMiddleware = []dispatch.SendMiddleware{func(next dispatch.SendFunc) dispatch.SendFunc {
			return func(ctx context.Context, e *dispatch.Envelope) (dispatch.Receipt, error) {
				switch string(e.Body) {
				case `{"To":"nobody"}`:
					return dispatch.Receipt{}, refused
				case `{"To":"lost"}`:
					return next(context.Background(), e)
				}
				e.Body = []byte(`{"To":"changed"}`)
				return next(ctx, e)
			}
		}}
	})
	if _, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{To: "ann"}); err != nil {
		t.Fatal(err)
	}
	if task := w.task(); string(task.Body) != `{"To":"changed"}` {
		t.Errorf("body %s", task.Body)
	}
	if _, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{To: "nobody"}); !errors.Is(err, refused) {
		t.Errorf("error %v", err)
	}
	if _, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{To: "lost"}); err == nil || !strings.Contains(err.Error(), "nothing was sent") {
		t.Errorf("another context: %v", err)
	}
	w.nothingLeft()
}

// An outbox's message goes through when it is kept, under the sender's context, and not again when it is sent on.
func TestSendMiddlewareRunsOnceForAnOutbox(t *testing.T) {
	c := newContracts()
	w := newCarrier(t, c.app)
	runs := 0
	login := w.open(c.login, func(cfg *dispatch.Config) {
		cfg.SendMiddleware = []dispatch.SendMiddleware{func(next dispatch.SendFunc) dispatch.SendFunc {
			return func(ctx context.Context, e *dispatch.Envelope) (dispatch.Receipt, error) {
				runs++
				e.Attributes["tenant"] = "ann"
				return next(ctx, e)
			}
		}}
	})
	var kept dispatch.Envelope
	outbox := dispatch.Deferred(login, func(_ context.Context, e dispatch.Envelope) error { kept = e; return nil })
	if _, err := dispatch.Send(t.Context(), outbox, c.sendWelcome, welcome{}); err != nil {
		t.Fatal(err)
	}
	if _, err := login.Forward(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	if task := w.task(); runs != 1 || task.Header["tenant"] != "ann" {
		t.Errorf("%d runs, headers %v", runs, task.Header)
	}
}

func TestANilMiddlewareIsAProblem(t *testing.T) {
	c := newContracts()
	w := newCarrier(t, c.app)
	mailer := w.open(c.mailer)
	dispatch.Handle(mailer, c.sendWelcome, func(context.Context, welcome) error { return nil }, dispatch.Middleware(nil))
	if err := mailer.Check(); err == nil || !strings.Contains(err.Error(), "a Middleware is nil") {
		t.Errorf("Check: %v", err)
	}
	for _, cfg := range []dispatch.Config{{Middleware: []dispatch.Middleware{nil}}, {SendMiddleware: []dispatch.SendMiddleware{nil}}} {
		cfg.Environment, cfg.Transport = w.env, way{w, loginAccount}
		if _, err := dispatch.Open(t.Context(), c.login, cfg); err == nil || !strings.Contains(err.Error(), "a middleware that is nil") {
			t.Errorf("Open: %v", err)
		}
	}
}
