package dispatch_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"waybill.dev/dispatch"
	wsync "waybill.dev/sync"
)

// relaying is a front that calls a middle, which calls a back and sends a task and an event to it.
func TestACallersDeadlineCrossesRequestsAndNeverSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := dispatch.NewApp("shop")
		front, middle, back := app.Service("front"), app.Service("middle"), app.Service("back")
		ask := dispatch.NewCall[query, profile](middle, "ask", dispatch.From(front), dispatch.Deadline(20*time.Second))
		askBack := dispatch.NewCall[query, profile](back, "ask-back", dispatch.From(middle), dispatch.Deadline(20*time.Second))
		task := dispatch.NewTask[welcome](back, "task", dispatch.From(middle), dispatch.Deadline(2*time.Minute))
		event := dispatch.NewEvent[welcome](middle, "event")
		subscription := event.To(back, "subscription", dispatch.Deadline(time.Minute))
		w := newCarrier(t, app)
		f, m, b := w.open(front), w.open(middle), w.open(back)
		left := map[string]time.Duration{}
		note := func(ctx context.Context) {
			left[dispatch.MessageFrom(ctx).Route] = -1
			if deadline, ok := ctx.Deadline(); ok {
				left[dispatch.MessageFrom(ctx).Route] = time.Until(deadline)
			}
		}
		dispatch.Answer(m, ask, func(ctx context.Context, _ query) (profile, error) {
			note(ctx)
			time.Sleep(50 * time.Millisecond)
			if _, err := dispatch.Send(ctx, m, task, welcome{}); err != nil {
				return profile{}, err
			}
			if _, err := dispatch.Send(ctx, m, event, welcome{}); err != nil {
				return profile{}, err
			}
			return dispatch.Request(ctx, m, askBack, query{})
		})
		dispatch.Answer(b, askBack, func(ctx context.Context, _ query) (profile, error) { note(ctx); return profile{}, nil })
		dispatch.Handle(b, task, func(ctx context.Context, _ welcome) error { note(ctx); return nil })
		dispatch.Handle(b, subscription, func(ctx context.Context, _ welcome) error { note(ctx); return nil })

		if _, err := dispatch.Request(t.Context(), f, ask, query{}, dispatch.Deadline(200*time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		sentTask, sentEvent := w.task(), w.event()
		if sentTask.DispatchDeadline != 2*time.Minute+5*time.Second {
			t.Errorf("the task's dispatch deadline is %v, want its route's", sentTask.DispatchDeadline)
		}
		for what, attributes := range map[string]map[string]string{"task": sentTask.Header, "event": sentEvent.Attributes} {
			for name := range attributes {
				if strings.EqualFold(name, wsync.TimeoutHeader) {
					t.Errorf("the %s carries %s", what, name)
				}
			}
		}
		w.deliver(sentTask, middle, 1)
		w.push(sentEvent, back, "subscription", "/_waybill/events/subscription", 1)
		for route, want := range map[string]time.Duration{
			"ask": 200 * time.Millisecond, "ask-back": 150 * time.Millisecond, "task": 2 * time.Minute, "subscription": time.Minute,
		} {
			if left[route] != want {
				t.Errorf("the handler of %s has %v, want %v", route, left[route], want)
			}
		}
	})
}

// A task's endpoint has nobody who waits for an answer, whatever the request says.
func TestATaskHeedsNoCallersTimeout(t *testing.T) {
	c := newContracts()
	w := newCarrier(t, c.app)
	mailer, login := w.open(c.mailer), w.open(c.login)
	var left time.Duration
	dispatch.Handle(mailer, c.sendWelcome, func(ctx context.Context, _ welcome) error {
		deadline, _ := ctx.Deadline()
		left = time.Until(deadline)
		return nil
	})
	if _, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{}); err != nil {
		t.Fatal(err)
	}
	task := w.task()
	task.Header[wsync.TimeoutHeader] = "1"
	if status := w.deliver(task, c.login, 1); status != 204 || left < 20*time.Second {
		t.Errorf("status %d with %v left, want the route's 30 s", status, left)
	}
}

func TestAHandlerThatUsesUpItsCallersTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newContracts()
		w := newCarrier(t, c.app)
		profiles, login := w.open(c.profiles), w.open(c.login)
		var ended time.Duration
		dispatch.Answer(profiles, c.getProfile, func(ctx context.Context, _ query) (profile, error) {
			began := time.Now()
			<-ctx.Done()
			ended = time.Since(began)
			return profile{}, ctx.Err()
		})
		_, err := dispatch.Request(t.Context(), login, c.getProfile, query{}, dispatch.Deadline(time.Second))
		if e, ok := errors.AsType[*wsync.Error](err); !errors.Is(err, context.DeadlineExceeded) && (!ok || e.Code != wsync.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if ended != time.Second {
			t.Errorf("the handler was ended after %v, want 1s", ended)
		}
	})
}
