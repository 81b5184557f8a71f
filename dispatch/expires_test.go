package dispatch_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"waybill.dev/dispatch"
)

// expiring is an app whose task and one of whose two subscriptions have an Expires.
type expiring struct {
	app            *dispatch.App
	from, to       *dispatch.Service
	task, plain    *dispatch.Task[welcome]
	event          *dispatch.Event[welcome]
	hasty, patient *dispatch.Subscription[welcome]
	carrier        *carrier
	sender         *dispatch.Dispatcher
	ran            []string // the ids that a handler saw
	dropped        []dispatch.Message
	outcome        error
}

func newExpiring(t *testing.T) *expiring {
	e := &expiring{app: dispatch.NewApp("shop")}
	e.from, e.to = e.app.Service("login"), e.app.Service("mailer")
	e.task = dispatch.NewTask[welcome](e.to, "expiring", dispatch.From(e.from), dispatch.Expires(10*time.Minute))
	e.plain = dispatch.NewTask[welcome](e.to, "plain", dispatch.From(e.from))
	e.event = dispatch.NewEvent[welcome](e.from, "happened")
	e.hasty = e.event.To(e.to, "hasty", dispatch.Expires(10*time.Minute))
	e.patient = e.event.To(e.to, "patient")
	e.carrier = newCarrier(t, e.app)
	e.sender = e.carrier.open(e.from)
	receiver := e.carrier.open(e.to, func(c *dispatch.Config) {
		c.OnExpired = func(_ context.Context, m dispatch.Message) { e.dropped = append(e.dropped, m) }
	})
	run := func(ctx context.Context, _ welcome) error {
		e.ran = append(e.ran, dispatch.MessageFrom(ctx).ID)
		return e.outcome
	}
	dispatch.Handle(receiver, e.task, run)
	dispatch.Handle(receiver, e.plain, run)
	dispatch.Handle(receiver, e.hasty, run)
	dispatch.Handle(receiver, e.patient, run)
	return e
}

// want checks how many handlers have run and how many messages were dropped, with neither a dead letter nor anything else left.
func (e *expiring) want(t *testing.T, ran, dropped int) {
	t.Helper()
	if len(e.ran) != ran || len(e.dropped) != dropped {
		t.Fatalf("%d ran and %d were dropped, want %d and %d", len(e.ran), len(e.dropped), ran, dropped)
	}
	if lines := e.carrier.logged("message dropped: it expired"); len(lines) != dropped {
		t.Fatalf("%d lines in the log, want one for each of %d", len(lines), dropped)
	}
	e.carrier.nothingLeft()
}

func TestAStaleTaskIsDroppedWithoutRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newExpiring(t)
		receipt, err := dispatch.Send(t.Context(), e.sender, e.task, welcome{})
		if err != nil {
			t.Fatal(err)
		}
		task := e.carrier.task()
		if want := time.Now().Add(10 * time.Minute).UTC().Format(time.RFC3339); task.Header["ce-expirytime"] != want {
			t.Errorf("on the wire %q, want %q", task.Header["ce-expirytime"], want)
		}
		time.Sleep(10*time.Minute - time.Nanosecond)
		if status := e.carrier.deliver(task, e.from, 1); status != 204 {
			t.Errorf("in time: %d", status)
		}
		e.want(t, 1, 0)
		time.Sleep(time.Nanosecond)
		if status := e.carrier.deliver(task, e.from, 2); status != 204 { // acknowledged
			t.Errorf("too late: %d", status)
		}
		e.want(t, 1, 1)
		line := e.carrier.logged("message dropped: it expired")[0]
		if line["level"] != "INFO" || line["route"] != "expiring" || line["message_id"] != receipt.ID {
			t.Errorf("logged %v", line)
		}
		if m := e.dropped[0]; m.ID != receipt.ID || m.Route != "expiring" || m.Attempt != 2 || !m.ExpiresAt.Equal(time.Now()) {
			t.Errorf("OnExpired got %+v", m)
		}
	})
}

// A message that has failed before is dropped as well: what is stale is of no use at its last attempt, nor as a dead letter.
func TestAStaleMessageIsNoDeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newExpiring(t)
		e.outcome = errors.New("not yet")
		if _, err := dispatch.Send(t.Context(), e.sender, e.task, welcome{}); err != nil {
			t.Fatal(err)
		}
		task := e.carrier.task()
		if status := e.carrier.deliver(task, e.from, 9); status != 500 {
			t.Errorf("an attempt in time: %d", status)
		}
		time.Sleep(time.Hour)
		if status := e.carrier.deliver(task, e.from, 10); status != 204 {
			t.Errorf("the last attempt, too late: %d", status)
		}
		e.want(t, 1, 1)
		e.outcome, task.Header["waybill-replay"] = nil, "1"
		if status := e.carrier.deliver(task, e.from, 1); status != 204 {
			t.Errorf("replayed: %d", status)
		}
		e.want(t, 2, 1)
	})
}

func TestExpiresCountsFromTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newExpiring(t)
		for i, later := range []func() dispatch.SendOption{
			func() dispatch.SendOption { return dispatch.After(time.Hour) },
			func() dispatch.SendOption { return dispatch.At(time.Now().Add(time.Hour)) },
		} {
			if _, err := dispatch.Send(t.Context(), e.sender, e.task, welcome{}, later()); err != nil {
				t.Fatal(err)
			}
			task := e.carrier.task()
			time.Sleep(time.Hour + 9*time.Minute)
			e.carrier.deliver(task, e.from, 1)
			e.want(t, i+1, i)
			time.Sleep(time.Minute)
			e.carrier.deliver(task, e.from, 2)
			e.want(t, i+1, i+1)
		}
	})
}

func TestAnExpiresOfSendTakesThePlaceOfTheDeclaration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newExpiring(t)
		for _, route := range []*dispatch.Task[welcome]{e.task, e.plain} {
			if _, err := dispatch.Send(t.Context(), e.sender, route, welcome{}, dispatch.Expires(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		first, second := e.carrier.task(), e.carrier.task()
		time.Sleep(59 * time.Minute)
		e.carrier.deliver(first, e.from, 1)
		e.carrier.deliver(second, e.from, 1)
		e.want(t, 2, 0)
		time.Sleep(time.Minute)
		e.carrier.deliver(first, e.from, 1)
		e.carrier.deliver(second, e.from, 1)
		e.want(t, 2, 2)
		if _, err := dispatch.Send(t.Context(), e.sender, e.plain, welcome{}, dispatch.Expires(0)); !errors.Is(err, dispatch.ErrOption) {
			t.Errorf("Expires(0): %v, want ErrOption", err)
		}
		if _, err := dispatch.Send(t.Context(), e.sender, e.plain, welcome{}); err != nil {
			t.Fatal(err)
		}
		if task := e.carrier.task(); task.Header["ce-expirytime"] != "" {
			t.Errorf("without an Expires: %q", task.Header["ce-expirytime"])
		}
	})
}

// A subscription's Expires is that receiver's own; with an event's, the earlier counts.
func TestEachSubscriptionHasItsOwnExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newExpiring(t)
		push := func(m published) {
			t.Helper()
			for _, name := range []string{"hasty", "patient"} {
				if status := e.carrier.push(m, e.to, name, "/_waybill/events/"+name, 1); status != 204 {
					t.Errorf("%s: %d", name, status)
				}
			}
		}
		if _, err := dispatch.Send(t.Context(), e.sender, e.event, welcome{}); err != nil {
			t.Fatal(err)
		}
		plain := e.carrier.event()
		if _, err := dispatch.Send(t.Context(), e.sender, e.event, welcome{}, dispatch.Expires(5*time.Minute)); err != nil {
			t.Fatal(err)
		}
		short := e.carrier.event()
		time.Sleep(5 * time.Minute)
		push(plain)
		e.want(t, 2, 0)
		push(short)
		e.want(t, 2, 2)
		time.Sleep(5 * time.Minute)
		push(plain)
		e.want(t, 3, 3)
		// Somebody published by hand: without a ce-time Pub/Sub's own counts, and a time that cannot be read says nothing.
		plain.Attributes = map[string]string{"content-type": "application/json", "ce-expirytime": "soon"}
		push(plain)
		e.want(t, 4, 4)
		// Whoever replays a dead letter has decided that it is of use.
		short.Attributes["waybill-replay"] = "1"
		push(short)
		e.want(t, 6, 4)
	})
}
