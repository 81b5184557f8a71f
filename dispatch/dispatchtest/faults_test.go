package dispatchtest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/dispatchtest"
	wsync "waybill.dev/sync"
)

func TestFailAndLoseAndDuplicate(t *testing.T) {
	onBothClocks(t, func(t *testing.T) {
		bench := dispatchtest.New(t, App)
		login, mailer := bench.Open(Login), bench.Open(Mailer)
		runs := 0
		dispatch.Handle(mailer, Remind, func(context.Context, Welcome) error { runs++; return nil })
		bench.Fail(Remind, 1, 503)
		bench.Fail(Remind, 1, 0)
		bench.LoseAnswer(Remind, 1)
		bench.Duplicate(Remind, 1)
		send(t, login, Remind, Welcome{To: "ann"})
		bench.Advance(time.Hour)
		diff(t, "outcomes", outcomes(bench, Remind), []string{
			"1: 503 to be tried again", "2: 0 to be tried again", "3: 0 to be tried again", "4: 204 done", "4: 204 done",
		})
		if runs != 3 {
			t.Errorf("%d runs, want 3", runs)
		}
	})
}

func TestDownCounts(t *testing.T) {
	onBothClocks(t, func(t *testing.T) {
		bench := dispatchtest.New(t, App)
		login, search := bench.Open(Login), bench.Open(Search)
		runs := 0
		dispatch.Handle(search, IndexUser, func(context.Context, UserSignedUp) error { runs++; return nil })
		up := bench.Down(Search)
		send(t, login, SignedUp, UserSignedUp{UserID: "a"})
		bench.Advance(24 * time.Hour)
		up()
		up() // says nothing new
		bench.Advance(24 * time.Hour)
		// Pub/Sub moves it by itself five attempts after the last of ours.
		dead := dispatchtest.Dead(bench, IndexUser)
		if runs != 0 || len(dead) != 1 || dead[0].Attempts != 10 || dead[0].Message.UserID != "a" || dead[0].Cause != "Pub/Sub gave it up after 10 attempts" {
			t.Errorf("%d runs, and the dead letters are %+v", runs, dead)
		}
	})
}

func TestForgedTokensAreRefused(t *testing.T) {
	onBothClocks(t, func(t *testing.T) {
		for _, c := range []struct {
			token dispatchtest.Token
			want  int
		}{
			{dispatchtest.Token{From: Search}, 403},
			{dispatchtest.Token{Account: "somebody@example.com"}, 403},
			{dispatchtest.Token{For: Search}, 401},
			{dispatchtest.Token{Age: 2 * time.Hour}, 401},
			{dispatchtest.Token{Foreign: true}, 401},
			{dispatchtest.Token{Missing: true}, 401},
			{dispatchtest.Token{}, 204},
		} {
			bench := dispatchtest.New(t, App)
			mailer := bench.Open(Mailer)
			runs := 0
			dispatch.Handle(mailer, SendWelcome, func(context.Context, Welcome) error { runs++; return nil })
			dispatch.Handle(mailer, CountUser, func(context.Context, UserSignedUp) error { runs++; return nil })
			bench.Forge(SendWelcome, 1, c.token)
			bench.Forge(CountUser, 1, c.token)
			for _, a := range []dispatchtest.Attempt{
				dispatchtest.Deliver(bench, SendWelcome, Welcome{To: "ann"}), dispatchtest.Deliver(bench, CountUser, UserSignedUp{UserID: "ann"}),
			} {
				if a.Status != c.want {
					t.Errorf("%+v: %s is answered %d, want %d", c.token, a.Route, a.Status, c.want)
				}
			}
			if (runs > 0) != (c.want == 204) {
				t.Errorf("%+v: %d runs", c.token, runs)
			}
		}
	})
}

func TestCallsFail(t *testing.T) {
	onBothClocks(t, func(t *testing.T) {
		bench := dispatchtest.New(t, App)
		login, profiles := bench.Open(Login), bench.Open(Profiles)
		runs := 0
		answer := func(context.Context, ProfileQuery) (Profile, error) { runs++; return Profile{Name: "Ann"}, nil }
		dispatch.Answer(profiles, GetProfile, answer)
		dispatch.Answer(profiles, FindProfile, answer)
		code := func(err error) wsync.Code {
			var e *wsync.Error
			errors.As(err, &e)
			if e == nil {
				t.Fatalf("the error is %v", err)
			}
			return e.Code
		}
		ask := func(c *dispatch.Call[ProfileQuery, Profile]) error {
			_, err := dispatch.Request(t.Context(), login, c, ProfileQuery{UserID: "ann"})
			return err
		}
		bench.Forge(GetProfile, 1, dispatchtest.Token{From: Mailer})
		if err := ask(GetProfile); code(err) != wsync.PermissionDenied || runs != 0 {
			t.Errorf("the error is %v, after %d runs", err, runs)
		}
		bench.Fail(GetProfile, 1, 0) // nothing was sent, so it is repeated
		if err := ask(GetProfile); err != nil || runs != 1 {
			t.Errorf("the error is %v, after %d runs", err, runs)
		}
		bench.LoseAnswer(GetProfile, 1) // it may have run, so it is not
		if err := ask(GetProfile); !errors.Is(err, dispatch.ErrAmbiguous) || runs != 2 {
			t.Errorf("the error is %v, after %d runs", err, runs)
		}
		bench.LoseAnswer(FindProfile, 1) // this one may be repeated
		if err := ask(FindProfile); err != nil || runs != 4 {
			t.Errorf("the error is %v, after %d runs", err, runs)
		}
		diff(t, "outcomes", outcomes(bench, FindProfile), []string{"1: 0 answered by an error", "2: 200 done"})
		diff(t, "questions", len(dispatchtest.Sent(bench, FindProfile)), 1)
		bench.FailSend(GetProfile, 1, errBusy)
		if err := ask(GetProfile); !errors.Is(err, errBusy) || runs != 4 {
			t.Errorf("the error is %v, after %d runs", err, runs)
		}
	})
}

func TestSendsFail(t *testing.T) {
	onBothClocks(t, func(t *testing.T) {
		bench := dispatchtest.New(t, App)
		login := bench.Open(Login)
		for _, c := range []struct {
			err  error
			kept int
		}{{errBusy, 0}, {fmt.Errorf("%w: connection reset", dispatch.ErrAmbiguous), 1}} {
			before := bench.Waiting(SendWelcome) + bench.Waiting(IndexUser)
			bench.FailSend(SendWelcome, 1, c.err)
			bench.FailSend(SignedUp, 1, c.err)
			_, err := dispatch.Send(t.Context(), login, SendWelcome, Welcome{To: "ann"})
			_, also := dispatch.Send(t.Context(), login, SignedUp, UserSignedUp{UserID: "ann"})
			if !errors.Is(err, c.err) || !errors.Is(also, c.err) {
				t.Errorf("the errors are %v, %v; want %v", err, also, c.err)
			}
			if kept := bench.Waiting(SendWelcome) + bench.Waiting(IndexUser) - before; kept != 2*c.kept {
				t.Errorf("after %v %d are kept", c.err, kept)
			}
		}
		send(t, login, SendWelcome, Welcome{To: "ann"})
	})
}

// A dead letter that cannot be kept is not acknowledged.
func TestDeadLettersFail(t *testing.T) {
	onBothClocks(t, func(t *testing.T) {
		bench := dispatchtest.New(t, App)
		mailer := bench.Open(Mailer)
		dispatch.Handle(mailer, SendWelcome, func(context.Context, Welcome) error { return dispatch.Permanent(errBusy) })
		bench.FailDead(SendWelcome, 1, errors.New("the topic is gone"))
		if a := dispatchtest.Deliver(bench, SendWelcome, Welcome{To: "ann"}); a.Outcome != dispatchtest.Again || a.Status != 503 {
			t.Errorf("the attempt is %v", a)
		}
		bench.Advance(time.Hour)
		if dead := dispatchtest.Dead(bench, SendWelcome); len(dead) != 1 || dead[0].Attempts != 2 {
			t.Errorf("the dead letters are %+v", dead)
		}
	})
}

// failing is a T whose test fails: what it was told, in its order.
type failing struct {
	*testing.T
	said []string
}

func (f *failing) Errorf(format string, args ...any) {
	f.said = append(f.said, fmt.Sprintf(format, args...))
}

func (f *failing) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	runtime.Goexit()
}

// What a test got wrong is said with its mend.
func TestMistakes(t *testing.T) {
	other := dispatch.NewApp("other")
	foreign := dispatch.NewTask[Welcome](other.Service("a"), "a", dispatch.From(other.Service("b")))
	for name, c := range map[string]struct {
		make func(*dispatchtest.Bench)
		want string
	}{
		"an event":   {func(b *dispatchtest.Bench) { b.Fail(SignedUp, 1, 500) }, "name one of them"},
		"no route":   {func(b *dispatchtest.Bench) { b.Attempts(foreign) }, `have no route "a"`},
		"no status":  {func(b *dispatchtest.Bench) { b.Fail(SendWelcome, 1, 7) }, "7 is no HTTP status"},
		"no service": {func(b *dispatchtest.Bench) { b.Open(nil) }, "got no service"},
		"other's":    {func(b *dispatchtest.Bench) { b.Open(foreign2) }, "opening"},
		"not open":   {func(b *dispatchtest.Bench) { dispatchtest.Deliver(b, SendWelcome, Welcome{}) }, `service "mailer", which receives "send-welcome", is not open`},
		"twice":      {func(b *dispatchtest.Bench) { b.Duplicate(GetProfile, 1) }, "declares dispatch.Retry"},
		"backwards":  {func(b *dispatchtest.Bench) { b.Advance(-1) }, "does not go back"},
		"an option": {func(b *dispatchtest.Bench) {
			b.Open(Mailer)
			dispatchtest.Deliver(b, CountUser, UserSignedUp{"a"}, dispatch.After(1))
		}, "cannot be delayed"},
		"two configs": {func(b *dispatchtest.Bench) { b.Open(Mailer, dispatch.Config{}, dispatch.Config{}) }, "give one"},
		"dead letters": {func(b *dispatchtest.Bench) {
			mailer := b.Open(Mailer)
			dispatch.Handle(mailer, SendWelcome, func(context.Context, Welcome) error { return dispatch.Permanent(errBusy) })
			dispatchtest.Deliver(b, SendWelcome, Welcome{})
			b.RequireNoDead()
		}, errBusy.Error()},
		"no service, later": {func(b *dispatchtest.Bench) {
			mailer := b.Open(Mailer)
			dispatch.Handle(mailer, Remind, func(context.Context, Welcome) error { return nil })
			b.Fail(Remind, dispatchtest.Always, 500)
			if a := dispatchtest.Deliver(b, Remind, Welcome{}); a.Status != 500 {
				t.Errorf("the attempt is %v", a)
			}
			b.Open(nil)
		}, "got no service"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &failing{T: t}
			done := make(chan struct{})
			go func() { // Fatalf ends its goroutine
				defer close(done)
				c.make(dispatchtest.New(f, App))
			}()
			<-done
			if len(f.said) == 0 || !strings.Contains(f.said[0], c.want) {
				t.Errorf("it said %q, want %q", f.said, c.want)
			}
		})
	}
}

var foreign2 = dispatch.NewApp("another").Service("else")

// Messages that cause one another without end do not hang the test.
func TestEndlessLoop(t *testing.T) {
	if testing.Short() {
		t.Skip("20,000 deliveries; the full run does it")
	}
	f := &failing{T: t}
	bench := dispatchtest.New(f, App)
	mailer := bench.Open(Mailer, dispatch.Config{Logger: slog.New(slog.DiscardHandler)})
	dispatch.Handle(mailer, Remind, func(ctx context.Context, w Welcome) error {
		_, err := dispatch.Send(ctx, mailer, Remind, w)
		return err
	})
	send(t, mailer, Remind, Welcome{To: "ann"})
	bench.Run()
	if len(f.said) != 1 || !strings.Contains(f.said[0], "do messages cause one another?") {
		t.Errorf("it said %q", f.said)
	}
}
