package dispatchtest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/dispatchtest"
	wsync "waybill.dev/sync"
)

var errBusy = errors.New("the mail server is busy")

// send sends, and ends the test if that fails.
func send[M any](t *testing.T, d *dispatch.Dispatcher, to dispatch.Route[M], m M, options ...dispatch.SendOption) dispatch.Receipt {
	t.Helper()
	receipt, err := dispatch.Send(t.Context(), d, to, m, options...)
	if err != nil {
		t.Fatal(err)
	}
	return receipt
}

// diff fails the test if the two differ.
func diff(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// since is when the attempts at a route began, counted from start.
func since(b *dispatchtest.Bench, r dispatchtest.Named, start time.Time) []time.Duration {
	var list []time.Duration
	for _, a := range b.Attempts(r) {
		list = append(list, a.At.Sub(start))
	}
	return list
}

func outcomes(b *dispatchtest.Bench, r dispatchtest.Named) []string {
	var list []string
	for _, a := range b.Attempts(r) {
		list = append(list, fmt.Sprintf("%d: %d %s", a.Number, a.Status, a.Outcome))
	}
	return list
}

func TestTaskIsDeliveredWithItsBackoff(t *testing.T) {
	onBothClocks(t, func(t *testing.T) {
		bench := dispatchtest.New(t, App)
		login, mailer := bench.Open(Login), bench.Open(Mailer)
		runs := 0
		dispatch.Handle(mailer, SendWelcome, func(ctx context.Context, w Welcome) error {
			runs++
			if m := dispatch.MessageFrom(ctx); m.Attempt != runs || m.Caller.Email != "login@waybill-test.iam.gserviceaccount.com" {
				t.Errorf("run %d is attempt %d of %s", runs, m.Attempt, m.Caller.Email)
			}
			if runs < 3 {
				return errBusy
			}
			return nil
		})
		start := bench.Now()
		receipt := send(t, login, SendWelcome, Welcome{To: "ann"})
		if runs != 0 || bench.Waiting(SendWelcome) != 1 {
			t.Fatalf("%d runs before Run", runs)
		}
		bench.Run()
		bench.Advance(999 * time.Millisecond)
		if runs != 1 {
			t.Fatalf("%d runs before the backoff is over", runs)
		}
		bench.Advance(time.Hour)
		diff(t, "times", since(bench, SendWelcome, start), []time.Duration{0, time.Second, 3 * time.Second})
		diff(t, "outcomes", outcomes(bench, SendWelcome), []string{"1: 500 to be tried again", "2: 500 to be tried again", "3: 204 done"})
		ann := []Welcome{{To: "ann"}}
		diff(t, "sent", dispatchtest.Sent(bench, SendWelcome), ann)
		diff(t, "retried", dispatchtest.Retried(bench, SendWelcome), append(ann, ann...))
		diff(t, "delivered", dispatchtest.Delivered(bench, SendWelcome), ann)
		if a := bench.Attempts(SendWelcome)[0]; a.ID != receipt.ID || !errors.Is(a.Err, errBusy) {
			t.Errorf("the first attempt is %v", a)
		}
		if bench.Waiting(SendWelcome) != 0 || bench.Now().Sub(start) < time.Hour {
			t.Errorf("%d wait, after %v", bench.Waiting(SendWelcome), bench.Now().Sub(start))
		}
		bench.RequireNoDead()
	})
}

func TestLastAttemptAndPermanentAreDeadLetters(t *testing.T) {
	onBothClocks(t, func(t *testing.T) {
		bench := dispatchtest.New(t, App)
		login, mailer, search := bench.Open(Login), bench.Open(Mailer), bench.Open(Search)
		dispatch.Handle(mailer, SendWelcome, func(_ context.Context, w Welcome) error {
			if w.To == "nobody" {
				return dispatch.Permanent(errors.New("no such address"))
			}
			panic("a bug")
		})
		dispatch.Handle(search, IndexUser, func(context.Context, UserSignedUp) error { return errBusy })
		id := send(t, login, SendWelcome, Welcome{To: "nobody"}).ID
		send(t, login, SendWelcome, Welcome{To: "ann"})
		send(t, login, SignedUp, UserSignedUp{UserID: "u1"})
		bench.Advance(time.Hour)

		dead := dispatchtest.Dead(bench, SendWelcome)
		if len(dead) != 2 {
			t.Fatalf("%d dead letters, want 2", len(dead))
		}
		diff(t, "the permanent", dead[0], dispatchtest.DeadLetter[Welcome]{Message: Welcome{To: "nobody"}, ID: id, Cause: "no such address", Attempts: 1})
		if dead[1].Message.To != "ann" || dead[1].Attempts != 4 {
			t.Errorf("the last attempt's is %+v", dead[1])
		}
		index := dispatchtest.Dead(bench, IndexUser)
		if len(index) != 1 || index[0].Attempts != 5 || index[0].Cause != errBusy.Error() {
			t.Errorf("the subscription's dead letters are %+v", index)
		}
		attempts := bench.Attempts(IndexUser)
		if last := attempts[len(attempts)-1]; last.Outcome != dispatchtest.Died || last.Status != 204 {
			t.Errorf("the last attempt is %v", last)
		}
	})
}

func TestKeysAndSchedules(t *testing.T) {
	onBothClocks(t, func(t *testing.T) {
		bench := dispatchtest.New(t, App)
		login, mailer := bench.Open(Login), bench.Open(Mailer)
		dispatch.Handle(mailer, SendWelcome, func(context.Context, Welcome) error { return nil })
		start := bench.Now()
		if send(t, login, SendWelcome, Welcome{To: "a"}, dispatch.Key("a"), dispatch.After(10*time.Minute)).Duplicate {
			t.Error("the first is a duplicate")
		}
		send(t, login, SendWelcome, Welcome{To: "b"}, dispatch.At(start.Add(5*time.Minute)))
		if !send(t, login, SendWelcome, Welcome{To: "a"}, dispatch.Key("a")).Duplicate {
			t.Error("a key that waits was taken twice")
		}
		bench.Advance(time.Hour)
		diff(t, "times", since(bench, SendWelcome, start), []time.Duration{5 * time.Minute, 10 * time.Minute})
		if !send(t, login, SendWelcome, Welcome{To: "a"}, dispatch.Key("a")).Duplicate {
			t.Error("a key that ended 50 minutes ago was taken")
		}
		bench.Advance(10 * time.Minute)
		if send(t, login, SendWelcome, Welcome{To: "a"}, dispatch.Key("a")).Duplicate {
			t.Error("a key that ended an hour ago was refused")
		}
		diff(t, "sent", dispatchtest.Sent(bench, SendWelcome), []Welcome{{To: "a"}, {To: "b"}, {To: "a"}})
	})
}

func TestRetryAfterHoldsTheQueue(t *testing.T) {
	onBothClocks(t, func(t *testing.T) {
		bench := dispatchtest.New(t, App)
		login, mailer := bench.Open(Login), bench.Open(Mailer)
		runs := 0
		dispatch.Handle(mailer, SendWelcome, func(context.Context, Welcome) error {
			if runs++; runs == 1 {
				return dispatch.RetryAfter(time.Minute, errBusy)
			}
			return nil
		})
		start := bench.Now()
		send(t, login, SendWelcome, Welcome{To: "a"})
		send(t, login, SendWelcome, Welcome{To: "b"})
		bench.Advance(time.Hour)
		diff(t, "times", since(bench, SendWelcome, start), []time.Duration{0, time.Minute, time.Minute})
		diff(t, "order", dispatchtest.Delivered(bench, SendWelcome), []Welcome{{To: "b"}, {To: "a"}})
	})
}

func TestEachSubscriptionGetsACopyInItsOrder(t *testing.T) {
	onBothClocks(t, func(t *testing.T) {
		bench := dispatchtest.New(t, App)
		login, mailer, search := bench.Open(Login), bench.Open(Mailer), bench.Open(Search)
		dispatch.Handle(mailer, CountUser, func(context.Context, UserSignedUp) error { return nil })
		var order []string
		dispatch.Handle(search, IndexUser, func(ctx context.Context, e UserSignedUp) error {
			order = append(order, e.UserID)
			if e.UserID == "a1" && dispatch.MessageFrom(ctx).Attempt < 3 {
				return errBusy
			}
			return nil
		})
		for _, id := range []string{"a1", "a2", "b1"} {
			send(t, login, SignedUp, UserSignedUp{UserID: id})
		}
		bench.Advance(time.Minute)
		diff(t, "order", order, []string{"a1", "b1", "a1", "a1", "a2"})
		all := []UserSignedUp{{"a1"}, {"a2"}, {"b1"}}
		diff(t, "sent", dispatchtest.Sent(bench, SignedUp), all)
		diff(t, "copies", dispatchtest.Sent(bench, CountUser), all)
		diff(t, "counted", dispatchtest.Delivered(bench, CountUser), all)
	})
}

func TestExpiredIsDropped(t *testing.T) {
	onBothClocks(t, func(t *testing.T) {
		bench := dispatchtest.New(t, App)
		var told []string
		login := bench.Open(Login)
		mailer := bench.Open(Mailer, dispatch.Config{OnExpired: func(_ context.Context, m dispatch.Message) { told = append(told, m.ID) }})
		dispatch.Handle(mailer, Remind, func(context.Context, Welcome) error { t.Error("it ran"); return nil })
		id := send(t, login, Remind, Welcome{To: "ann"}).ID
		up := bench.Down(Mailer)
		bench.Advance(time.Hour)
		up()
		bench.Advance(time.Hour)
		attempts := bench.Attempts(Remind)
		if last := attempts[len(attempts)-1]; last.Outcome != dispatchtest.Expired {
			t.Errorf("the last attempt is %v", last)
		}
		diff(t, "told", told, []string{id})
	})
}

func TestHandlerSendsRequestsAndRuns(t *testing.T) {
	onBothClocks(t, func(t *testing.T) {
		bench := dispatchtest.New(t, App)
		login, mailer, profiles := bench.Open(Login), bench.Open(Mailer), bench.Open(Profiles)
		dispatch.Answer(profiles, GetProfile, func(_ context.Context, q ProfileQuery) (Profile, error) {
			if q.UserID == "" {
				return Profile{}, wsync.Errorf(wsync.NotFound, "nobody")
			}
			return Profile{Name: "Ann Lee"}, nil
		})
		var events []string
		dispatch.Handle(mailer, SendWelcome, func(ctx context.Context, w Welcome) error {
			events = append(events, "begin "+w.To)
			defer func() { events = append(events, "end "+w.To) }()
			if _, err := dispatch.Send(ctx, mailer, Remind, w, dispatch.After(time.Minute)); err != nil {
				return err
			}
			if w.To == "outer" {
				bench.Run() // as if others were delivered meanwhile
			}
			return nil
		})
		dispatch.Handle(mailer, Remind, func(_ context.Context, w Welcome) error {
			events = append(events, "remind "+w.To)
			return nil
		})
		send(t, login, SendWelcome, Welcome{To: "outer"})
		send(t, login, SendWelcome, Welcome{To: "inner"})
		bench.Run()
		bench.Advance(time.Minute)
		diff(t, "events", events, []string{"begin outer", "begin inner", "end inner", "end outer", "remind outer", "remind inner"})

		profile, err := dispatch.Request(t.Context(), login, GetProfile, ProfileQuery{UserID: "ann"})
		if err != nil || profile.Name != "Ann Lee" {
			t.Errorf("%v, %v", profile, err)
		}
		_, err = dispatch.Request(t.Context(), login, GetProfile, ProfileQuery{})
		var refused *wsync.Error
		if !errors.As(err, &refused) || refused.Code != wsync.NotFound {
			t.Errorf("the error is %v", err)
		}
		diff(t, "questions", dispatchtest.Sent(bench, GetProfile), []ProfileQuery{{"ann"}, {""}})
		diff(t, "answered", dispatchtest.Delivered(bench, GetProfile), []ProfileQuery{{"ann"}})
	})
}

// A handler that hangs ends at its deadline, and its message is tried again.
func TestHangingHandlerInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bench := dispatchtest.New(t, App)
		login, mailer := bench.Open(Login), bench.Open(Mailer)
		dispatch.Handle(mailer, SendWelcome, func(ctx context.Context, _ Welcome) error {
			if dispatch.MessageFrom(ctx).Attempt == 1 {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		start := bench.Now()
		send(t, login, SendWelcome, Welcome{To: "ann"})
		bench.Advance(time.Hour)
		diff(t, "times", since(bench, SendWelcome, start), []time.Duration{0, 31 * time.Second})
		if a := bench.Attempts(SendWelcome)[0]; !errors.Is(a.Err, context.DeadlineExceeded) {
			t.Errorf("the first attempt is %v", a)
		}
	})
}

// Outside a bubble the handler says how long its work takes.
func TestSlowHandlerOnTheOwnClock(t *testing.T) {
	bench := dispatchtest.New(t, App)
	login, mailer := bench.Open(Login), bench.Open(Mailer)
	takes := []time.Duration{29 * time.Second, 30 * time.Second, 36 * time.Second, 0}
	dispatch.Handle(mailer, SendWelcome, func(ctx context.Context, _ Welcome) error {
		n := dispatch.MessageFrom(ctx).Attempt - 1
		bench.Advance(takes[n])
		if over := ctx.Err() != nil; over != (takes[n] >= 30*time.Second) {
			t.Errorf("after %v the context has %v", takes[n], ctx.Err())
		}
		if n == 0 {
			return errBusy
		}
		if n == 1 && !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			t.Errorf("the cause is %v", context.Cause(ctx))
		}
		if n == 1 {
			return ctx.Err()
		}
		return nil // the third time too late for Cloud Tasks
	})
	start := bench.Now()
	send(t, login, SendWelcome, Welcome{To: "ann"})
	bench.Run()
	bench.Advance(time.Hour)
	s := time.Second
	diff(t, "times", since(bench, SendWelcome, start), []time.Duration{0, 30 * s, 62 * s, 102 * s})
	diff(t, "outcomes", outcomes(bench, SendWelcome), []string{
		"1: 500 to be tried again", "2: 500 to be tried again", "3: 0 to be tried again", "4: 204 done",
	})
}

// What sends beside the test is delivered while the bubble's time passes.
func TestBubbleFollowsGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bench := dispatchtest.New(t, App)
		login, mailer := bench.Open(Login), bench.Open(Mailer)
		dispatch.Handle(mailer, SendWelcome, func(context.Context, Welcome) error { return nil })
		login.Background("welcome", func(ctx context.Context) error {
			time.Sleep(time.Minute)
			_, err := dispatch.Send(ctx, login, SendWelcome, Welcome{To: "ann"})
			return err
		})
		start := bench.Now()
		bench.Advance(time.Hour)
		diff(t, "times", since(bench, SendWelcome, start), []time.Duration{time.Minute})
	})
}

func TestManyGoroutines(t *testing.T) {
	bench := dispatchtest.New(t, App)
	login, mailer := bench.Open(Login), bench.Open(Mailer)
	var mu sync.Mutex
	runs := 0
	dispatch.Handle(mailer, SendWelcome, func(context.Context, Welcome) error {
		mu.Lock()
		defer mu.Unlock()
		runs++
		return nil
	})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 25 {
				if _, err := dispatch.Send(t.Context(), login, SendWelcome, Welcome{To: "ann"}); err != nil {
					t.Error(err)
				}
				bench.Run()
				bench.Attempts(SendWelcome)
			}
		})
	}
	wg.Wait()
	if runs != 200 || len(dispatchtest.Delivered(bench, SendWelcome)) != 200 {
		t.Errorf("%d runs, want 200", runs)
	}
}

// A service that is not open is not there yet.
func TestMessagesWaitForTheirService(t *testing.T) {
	bench := dispatchtest.New(t, App)
	login := bench.Open(Login)
	send(t, login, SendWelcome, Welcome{To: "ann"})
	bench.Advance(time.Hour)
	if len(bench.Attempts(SendWelcome)) != 0 || bench.Waiting(SendWelcome) != 1 {
		t.Fatalf("%v, %d waiting", bench.Attempts(SendWelcome), bench.Waiting(SendWelcome))
	}
	mailer := bench.Open(Mailer)
	bench.Run() // declared, but without a handler: 503, as in production
	dispatch.Handle(mailer, SendWelcome, func(context.Context, Welcome) error { return nil })
	bench.Advance(time.Minute)
	diff(t, "outcomes", outcomes(bench, SendWelcome), []string{"1: 503 to be tried again", "2: 204 done"})

	if err := mailer.Close(); err != nil {
		t.Fatal(err)
	}
	send(t, login, SendWelcome, Welcome{To: "ben"})
	bench.Run() // it is shut down
	mailer = bench.Open(Mailer)
	dispatch.Handle(mailer, SendWelcome, func(context.Context, Welcome) error { return nil })
	bench.Advance(time.Minute)
	diff(t, "delivered", dispatchtest.Delivered(bench, SendWelcome), []Welcome{{To: "ann"}, {To: "ben"}})
}

func TestDeliver(t *testing.T) {
	onBothClocks(t, func(t *testing.T) {
		bench := dispatchtest.New(t, App)
		mailer := bench.Open(Mailer)
		var ids []string
		dispatch.Handle(mailer, SendWelcome, func(ctx context.Context, _ Welcome) error {
			if m := dispatch.MessageFrom(ctx); m.Source != "/shop/login" || m.Caller.Email != "login@waybill-test.iam.gserviceaccount.com" {
				t.Errorf("it came from %s, %s", m.Source, m.Caller.Email)
			}
			ids = append(ids, dispatch.MessageFrom(ctx).ID)
			if len(ids) == 1 {
				return errBusy
			}
			return nil
		})
		dispatch.Handle(mailer, CountUser, func(context.Context, UserSignedUp) error { return dispatch.Permanent(errBusy) })
		a := dispatchtest.Deliver(bench, SendWelcome, Welcome{To: "ann"}, dispatch.Key("ann"))
		if a.Outcome != dispatchtest.Again || !errors.Is(a.Err, errBusy) {
			t.Errorf("the attempt is %v", a)
		}
		if a := dispatchtest.Deliver(bench, SendWelcome, Welcome{To: "ann"}, dispatch.Key("ann")); a.Outcome != dispatchtest.Done {
			t.Errorf("the attempt is %v", a)
		}
		bench.Advance(time.Minute)
		if len(ids) != 3 || ids[0] != ids[1] || ids[0] != ids[2] {
			t.Errorf("the IDs are %v", ids)
		}
		if a := dispatchtest.Deliver(bench, CountUser, UserSignedUp{UserID: "u1"}); a.Outcome != dispatchtest.Died || a.Status != 204 {
			t.Errorf("the attempt is %v", a)
		}
		if dead := dispatchtest.Dead(bench, CountUser); len(dead) != 1 || dead[0].Message.UserID != "u1" {
			t.Errorf("the dead letters are %v", dead)
		}
		if sent := dispatchtest.Sent(bench, SendWelcome); len(sent) != 0 {
			t.Errorf("%v were sent", sent)
		}
	})
}

// What a handler that takes time sends at its end is still due within the same Run.
func TestRunGoesOnWhileHandlersTakeTime(t *testing.T) {
	onBothClocks(t, func(t *testing.T) {
		bench := dispatchtest.New(t, App)
		login, mailer := bench.Open(Login), bench.Open(Mailer)
		dispatch.Handle(mailer, SendWelcome, func(ctx context.Context, w Welcome) error {
			bench.Advance(10 * time.Second)
			_, err := dispatch.Send(ctx, mailer, Remind, w)
			return err
		})
		dispatch.Handle(mailer, Remind, func(context.Context, Welcome) error { return nil })
		start := bench.Now()
		send(t, login, SendWelcome, Welcome{To: "ann"})
		bench.Run()
		diff(t, "times", since(bench, Remind, start), []time.Duration{10 * time.Second})
	})
}
