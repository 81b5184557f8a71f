package dispatchtest_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/dispatchtest"
)

// exampleT stands for the *testing.T of a test, which an example has not.
type exampleT struct{ cleanups []func() }

func (*exampleT) Helper()                   {}
func (*exampleT) Context() context.Context  { return context.Background() }
func (*exampleT) Failed() bool              { return false }
func (*exampleT) Logf(string, ...any)       {}
func (*exampleT) Errorf(f string, a ...any) { log.Printf(f, a...) }
func (*exampleT) Fatalf(f string, a ...any) { log.Panicf(f, a...) }
func (t *exampleT) Cleanup(f func())        { t.cleanups = append(t.cleanups, f) }

func (t *exampleT) end() {
	for _, f := range t.cleanups {
		f()
	}
}

// The services under test: what each adds to its Dispatcher in production, too.

func addMailer(d *dispatch.Dispatcher, deliver func(to string) error) {
	dispatch.Handle(d, SendWelcome, func(_ context.Context, w Welcome) error {
		if w.To == "" {
			return dispatch.Permanent(errors.New("no such address"))
		}
		return deliver(w.To)
	})
}

func addSearch(d *dispatch.Dispatcher) {
	dispatch.Handle(d, IndexUser, func(context.Context, UserSignedUp) error { return nil })
}

func addProfiles(d *dispatch.Dispatcher) {
	dispatch.Answer(d, GetProfile, func(context.Context, ProfileQuery) (Profile, error) { return Profile{Name: "Ann Lee"}, nil })
}

func signUp(ctx context.Context, login *dispatch.Dispatcher, id string) error {
	profile, err := dispatch.Request(ctx, login, GetProfile, ProfileQuery{UserID: id})
	if err != nil {
		return err
	}
	if _, err := dispatch.Send(ctx, login, SendWelcome, Welcome{To: profile.Name}, dispatch.Key("welcome:"+id)); err != nil {
		return err
	}
	_, err = dispatch.Send(ctx, login, SignedUp, UserSignedUp{UserID: id})
	return err
}

func delivered(string) error { return nil }

// Several services together.
func Example() {
	t := new(exampleT)
	defer t.end()

	bench := dispatchtest.New(t, App)
	login := bench.Open(Login)
	addMailer(bench.Open(Mailer), delivered)
	addSearch(bench.Open(Search))
	addProfiles(bench.Open(Profiles))

	if err := signUp(t.Context(), login, "ann"); err != nil {
		t.Fatalf("%v", err)
	}
	bench.Run()

	fmt.Println("asked:", dispatchtest.Delivered(bench, GetProfile))
	fmt.Println("mailed:", dispatchtest.Delivered(bench, SendWelcome))
	fmt.Println("indexed:", dispatchtest.Delivered(bench, IndexUser))
	// Output:
	// asked: [{ann}]
	// mailed: [{Ann Lee}]
	// indexed: [{ann}]
}

// A receiver alone: the message comes from its declared sender, which is not there.
func ExampleDeliver() {
	t := new(exampleT)
	defer t.end()

	bench := dispatchtest.New(t, App)
	addMailer(bench.Open(Mailer), delivered)

	fmt.Println(dispatchtest.Deliver(bench, SendWelcome, Welcome{To: "Ann Lee"}))
	fmt.Println(dispatchtest.Deliver(bench, SendWelcome, Welcome{}))
	// Output:
	// send-welcome attempt 1: 204, done
	// send-welcome attempt 1: 204, dead: no such address
}

// A sender alone: nobody receives, and what was sent can be looked at.
func ExampleSent() {
	t := new(exampleT)
	defer t.end()

	bench := dispatchtest.New(t, App)
	addProfiles(bench.Open(Profiles)) // a call needs somebody who answers
	if err := signUp(t.Context(), bench.Open(Login), "ann"); err != nil {
		t.Fatalf("%v", err)
	}

	fmt.Println(dispatchtest.Sent(bench, SendWelcome))
	fmt.Println(dispatchtest.Sent(bench, SignedUp))
	// Output:
	// [{Ann Lee}]
	// [{ann}]
}

// A failure, and success when its backoff is over.
func ExampleBench_Advance() {
	t := new(exampleT)
	defer t.end()

	bench := dispatchtest.New(t, App)
	failures := 1
	addMailer(bench.Open(Mailer), func(string) error {
		if failures > 0 {
			failures--
			return errors.New("the mail server is busy")
		}
		return nil
	})
	if _, err := dispatch.Send(t.Context(), bench.Open(Login), SendWelcome, Welcome{To: "Ann Lee"}); err != nil {
		t.Fatalf("%v", err)
	}

	start := bench.Now()
	bench.Run()
	bench.Advance(time.Minute)
	for _, a := range bench.Attempts(SendWelcome) {
		fmt.Println("after", a.At.Sub(start), "-", a)
	}
	// Output:
	// after 0s - send-welcome attempt 1: 500, to be tried again: the mail server is busy
	// after 1s - send-welcome attempt 2: 204, done
}

// What goes on failing ends among the dead letters.
func ExampleDead() {
	t := new(exampleT)
	defer t.end()

	bench := dispatchtest.New(t, App)
	addMailer(bench.Open(Mailer), func(string) error { return errors.New("the mail server is gone") })
	if _, err := dispatch.Send(t.Context(), bench.Open(Login), SendWelcome, Welcome{To: "Ann Lee"}); err != nil {
		t.Fatalf("%v", err)
	}
	bench.Advance(time.Hour)

	for _, dead := range dispatchtest.Dead(bench, SendWelcome) {
		fmt.Printf("%v, %d attempts: %s\n", dead.Message, dead.Attempts, dead.Cause)
	}
	// Output:
	// {Ann Lee}, 4 attempts: the mail server is gone
}

// Whoever the contracts do not name is refused, and so is a token for somebody else.
func ExampleBench_Forge() {
	t := new(exampleT)
	defer t.end()

	bench := dispatchtest.New(t, App)
	addMailer(bench.Open(Mailer), delivered)

	bench.Forge(SendWelcome, 1, dispatchtest.Token{From: Search})
	fmt.Println(dispatchtest.Deliver(bench, SendWelcome, Welcome{To: "Ann Lee"}).Status)
	bench.Forge(SendWelcome, 1, dispatchtest.Token{For: Search})
	fmt.Println(dispatchtest.Deliver(bench, SendWelcome, Welcome{To: "Ann Lee"}).Status)
	fmt.Println(dispatchtest.Delivered(bench, SendWelcome))
	// Output:
	// 403
	// 401
	// []
}

// A handler must bear duplicates: here one whose answer was lost.
func ExampleBench_LoseAnswer() {
	t := new(exampleT)
	defer t.end()

	bench := dispatchtest.New(t, App)
	mails := 0
	addMailer(bench.Open(Mailer), func(string) error { mails++; return nil })

	bench.LoseAnswer(SendWelcome, 1)
	dispatchtest.Deliver(bench, SendWelcome, Welcome{To: "Ann Lee"})
	bench.Advance(time.Minute)
	fmt.Println(mails, "mails")
	// Output:
	// 2 mails
}
