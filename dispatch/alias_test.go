package dispatch_test

import (
	"context"
	"errors"
	"testing"

	"waybill.dev/dispatch"
)

// renaming is a shop before and after its routes were renamed: two builds of one app.
type renaming struct {
	app          *dispatch.App
	login, store *dispatch.Service
	task         *dispatch.Task[welcome]
	subscription *dispatch.Subscription[welcome]
	event        *dispatch.Event[welcome]
	call         *dispatch.Call[query, profile]
}

func newRenaming(task, subscription, call string, aliases map[string]dispatch.Alias) renaming {
	var r renaming
	r.app = dispatch.NewApp("shop")
	r.login, r.store = r.app.Service("login"), r.app.Service("store")
	taskOptions := []dispatch.TaskOption{dispatch.From(r.login)}
	callOptions := []dispatch.CallOption{dispatch.From(r.login)}
	var subscriptionOptions []dispatch.SubscriptionOption
	if aliases != nil {
		taskOptions = append(taskOptions, aliases[task])
		callOptions = append(callOptions, aliases[call])
		subscriptionOptions = append(subscriptionOptions, aliases[subscription])
	}
	r.task = dispatch.NewTask[welcome](r.store, task, taskOptions...)
	r.event = dispatch.NewEvent[welcome](r.login, "happened")
	r.subscription = r.event.To(r.store, subscription, subscriptionOptions...)
	r.call = dispatch.NewCall[query, profile](r.store, call, callOptions...)
	return r
}

func TestARenamedRouteReceivesByItsOldNameToo(t *testing.T) {
	before := newRenaming("old-task", "old-copy", "old-call", nil)
	after := newRenaming("task", "copy", "call", map[string]dispatch.Alias{"task": "old-task", "copy": "old-copy", "call": "old-call"})
	w := newCarrier(t, after.app)
	store := w.open(after.store)
	var got []dispatch.Message
	outcome := dispatch.Permanent(errors.New("no"))
	handle := func(ctx context.Context, _ welcome) error {
		got = append(got, dispatch.MessageFrom(ctx))
		return outcome
	}
	dispatch.Handle(store, after.task, handle)
	dispatch.Handle(store, after.subscription, handle)
	dispatch.Answer(store, after.call, func(ctx context.Context, q query) (profile, error) {
		got = append(got, dispatch.MessageFrom(ctx))
		return profile{Name: q.UserID}, nil
	})
	if err := store.Check(); err != nil {
		t.Fatal(err)
	}
	oldSender, newSender := w.open(before.login), w.open(after.login)

	for _, tt := range []struct {
		sender     *dispatch.Dispatcher
		build      renaming
		task, copy string
		alias      string
	}{
		{oldSender, before, "old-task", "old-copy", "old-"},
		{newSender, after, "task", "copy", ""},
	} {
		got = nil
		if _, err := dispatch.Send(t.Context(), tt.sender, tt.build.task, welcome{}); err != nil {
			t.Fatal(err)
		}
		if _, err := dispatch.Send(t.Context(), tt.sender, tt.build.event, welcome{}); err != nil {
			t.Fatal(err)
		}
		if status := w.deliver(w.task(), after.login, 1); status != 204 {
			t.Errorf("%s: %d", tt.task, status)
		}
		m := w.event()
		if status := w.push(m, after.store, tt.copy, "/_waybill/events/"+tt.copy, 1); status != 204 {
			t.Errorf("%s: %d", tt.copy, status)
		}
		if p, err := dispatch.Request(t.Context(), tt.sender, tt.build.call, query{UserID: "ann"}); err != nil || p.Name != "ann" {
			t.Errorf("a call by %q: %v, %v", tt.build.call.Name(), p, err)
		}
		// The dead letters are in one place, and show the name that came.
		for _, name := range []string{tt.task, tt.copy} {
			dead := w.event()
			if dead.Attributes["waybill-dead-route"] != name {
				t.Errorf("the dead letter of %s says %q", name, dead.Attributes["waybill-dead-route"])
			}
			if want := "projects/waybill-local/topics/shop--" + name[len(tt.alias):] + "--dead"; dead.topic != want {
				t.Errorf("the dead letter of %s went to %s, want %s", name, dead.topic, want)
			}
		}
		if len(got) != 3 {
			t.Fatalf("%d messages", len(got))
		}
		for i, route := range []string{"task", "copy", "call"} {
			want := ""
			if tt.alias != "" {
				want = tt.alias + route
			}
			if got[i].Route != route || got[i].Alias != want {
				t.Errorf("route %q, alias %q; want %q, %q", got[i].Route, got[i].Alias, route, want)
			}
		}
	}
	if lines := w.logged("dead-lettered"); len(lines) != 4 || lines[0]["route"] != "old-task" || lines[2]["route"] != "task" {
		t.Errorf("logged %v", lines)
	}
	// A push for the old subscription belongs at the old path.
	if status := w.push(published{}, after.store, "old-copy", "/_waybill/events/copy", 1); status != 403 {
		t.Errorf("the old subscription at the new path: %d", status)
	}
	w.nothingLeft()
}

// However its messages come, a route has one handler, and one bound.
func TestAnAliasSharesTheHandlersConcurrency(t *testing.T) {
	before := newRenaming("old-task", "old-copy", "old-call", nil)
	after := newRenaming("task", "copy", "call", map[string]dispatch.Alias{"task": "old-task", "copy": "old-copy", "call": "old-call"})
	w := newCarrier(t, after.app)
	store := w.open(after.store)
	newSender, oldSender := w.open(after.login), w.open(before.login)
	inner := make(chan error, 1)
	dispatch.Answer(store, after.call, func(_ context.Context, q query) (profile, error) {
		if q.UserID == "first" {
			status := w.post(w.env.Services["store"].URL+"/_waybill/calls/old-call", map[string][]string{}, []byte("{}"),
				w.issuer.Token(account(after.login), w.env.Services["store"].URL)).Code
			if status != 429 {
				inner <- errors.New("a second one ran at once")
			}
			inner <- nil
		}
		return profile{}, nil
	}, dispatch.Concurrency(1))
	if _, err := dispatch.Request(t.Context(), newSender, after.call, query{UserID: "first"}); err != nil {
		t.Fatal(err)
	}
	if err := <-inner; err != nil {
		t.Error(err)
	}
	if _, err := dispatch.Request(t.Context(), oldSender, before.call, query{}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
