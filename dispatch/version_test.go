package dispatch_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"waybill.dev/dispatch"
	wsync "waybill.dev/sync"
)

// What a message was, and what it has become.
type (
	orderV1 struct{ Name string }
	orderV2 struct{ First, Last string }
	orderV3 struct{ First, Last, Title string }
)

// ordering is one build of an app whose messages are of type M.
type ordering[M any] struct {
	app          *dispatch.App
	login, store *dispatch.Service
	task         *dispatch.Task[M]
	event        *dispatch.Event[M]
	copy         *dispatch.Subscription[M]
	call         *dispatch.Call[M, profile]
}

func newOrdering[M any](options ...dispatch.AppOption) ordering[M] {
	var o ordering[M]
	o.app = dispatch.NewApp("shop", options...)
	o.login, o.store = o.app.Service("login"), o.app.Service("store")
	fast := dispatch.Retry{MaxAttempts: 3}
	o.task = dispatch.NewTask[M](o.store, "order", dispatch.From(o.login), fast)
	o.event = dispatch.NewEvent[M](o.login, "ordered")
	o.copy = o.event.To(o.store, "copy", fast)
	o.call = dispatch.NewCall[M, profile](o.store, "price", dispatch.From(o.login))
	return o
}

// The three builds: the last two know what came before them.
func builds() (ordering[orderV1], ordering[orderV2], ordering[orderV3]) {
	fromV1 := func(old orderV1) (orderV2, error) {
		first, last, ok := strings.Cut(old.Name, " ")
		if !ok {
			return orderV2{}, errors.New("a name without a space")
		}
		return orderV2{First: first, Last: last}, nil
	}
	return newOrdering[orderV1](),
		newOrdering[orderV2](dispatch.Version(2, dispatch.Accept(1, fromV1))),
		newOrdering[orderV3](dispatch.Version(3,
			dispatch.Accept(1, func(old orderV1) (orderV3, error) {
				m, err := fromV1(old)
				return orderV3{m.First, m.Last, "none"}, err
			}),
			dispatch.Accept(2, func(old orderV2) (orderV3, error) { return orderV3{old.First, old.Last, "none"}, nil })))
}

// sendAll sends a message on all three ways.
func sendAll[M any](t *testing.T, w *carrier, d *dispatch.Dispatcher, o ordering[M], m M) (status []int, callErr error) {
	t.Helper()
	if _, err := dispatch.Send(t.Context(), d, o.task, m); err != nil {
		t.Fatal(err)
	}
	if _, err := dispatch.Send(t.Context(), d, o.event, m); err != nil {
		t.Fatal(err)
	}
	status = append(status, w.deliver(w.task(), o.login, 1), w.push(w.event(), o.store, "copy", "/_waybill/events/copy", 1))
	_, callErr = dispatch.Request(t.Context(), d, o.call, m, dispatch.Deadline(100*time.Millisecond))
	return status, callErr
}

// receiveAll registers handlers that keep what comes.
func receiveAll[M any](d *dispatch.Dispatcher, o ordering[M], got *[]M) {
	keep := func(_ context.Context, m M) error { *got = append(*got, m); return nil }
	dispatch.Handle(d, o.task, keep)
	dispatch.Handle(d, o.copy, keep)
	dispatch.Answer(d, o.call, func(ctx context.Context, m M) (profile, error) { return profile{}, keep(ctx, m) })
}

func TestOlderVersionsAreAccepted(t *testing.T) {
	v1, v2, v3 := builds()
	w := newCarrier(t, v3.app)
	var got []orderV3
	receiveAll(w.open(v3.store), v3, &got)
	for version, send := range map[string]func() ([]int, error){
		"1": func() ([]int, error) { return sendAll(t, w, w.open(v1.login), v1, orderV1{"Ann Lee"}) },
		"2": func() ([]int, error) { return sendAll(t, w, w.open(v2.login), v2, orderV2{"Ann", "Lee"}) },
		"3": func() ([]int, error) { return sendAll(t, w, w.open(v3.login), v3, orderV3{"Ann", "Lee", "none"}) },
	} {
		got = nil
		status, err := send()
		if err != nil || status[0] != 204 || status[1] != 204 {
			t.Errorf("version %s: %v, %v", version, status, err)
		}
		for _, m := range got {
			if (m != orderV3{"Ann", "Lee", "none"}) {
				t.Errorf("version %s became %+v", version, m)
			}
		}
		if len(got) != 3 {
			t.Errorf("version %s: %d of 3 came", version, len(got))
		}
	}
	w.nothingLeft()
}

func TestTheVersionTravelsAsDataschema(t *testing.T) {
	v1, v2, _ := builds()
	w := newCarrier(t, v2.app)
	d := w.open(v2.login)
	if _, err := dispatch.Send(t.Context(), d, v2.task, orderV2{}); err != nil {
		t.Fatal(err)
	}
	if got := w.task().Header["ce-dataschema"]; got != "tag:waybill.dev,2026:shop.order/2" {
		t.Errorf("a task's is %q", got)
	}
	if _, err := dispatch.Send(t.Context(), d, v2.event, orderV2{}); err != nil {
		t.Fatal(err)
	}
	if got := w.event().Attributes["ce-dataschema"]; got != "tag:waybill.dev,2026:shop.ordered/2" {
		t.Errorf("an event's is %q", got)
	}
	if _, err := dispatch.Send(t.Context(), w.open(v1.login), v1.task, orderV1{}); err != nil {
		t.Fatal(err)
	}
	if got, ok := w.task().Header["ce-dataschema"]; ok {
		t.Errorf("version 1 carries %q", got)
	}
}

// During a rollout a new sender may reach an old receiver: the next attempt may reach a new one.
func TestANewerVersionIsTriedAgain(t *testing.T) {
	v1, v2, _ := builds()
	w := newCarrier(t, v1.app)
	var old []orderV1
	receiveAll(w.open(v1.store), v1, &old)
	sender := w.open(v2.login)
	if _, err := dispatch.Send(t.Context(), sender, v2.task, orderV2{"Ann", "Lee"}); err != nil {
		t.Fatal(err)
	}
	if _, err := dispatch.Send(t.Context(), sender, v2.event, orderV2{"Ann", "Lee"}); err != nil {
		t.Fatal(err)
	}
	task, event := w.task(), w.event()
	if a, b := w.deliver(task, v2.login, 1), w.push(event, v1.store, "copy", "/_waybill/events/copy", 1); a != 500 || b != 500 {
		t.Errorf("the old receiver answers %d and %d, want 500: it comes again", a, b)
	}
	_, err := dispatch.Request(t.Context(), sender, v2.call, orderV2{"Ann", "Lee"}, dispatch.Deadline(50*time.Millisecond))
	if e, ok := errors.AsType[*wsync.Error](err); !ok || e.Code != wsync.Unavailable || e.RetryAfter != time.Second {
		t.Errorf("a call: %v, want it to be repeated in a second", err)
	}
	w.nothingLeft() // no dead letter yet
	if len(old) != 0 {
		t.Errorf("the old handler ran: %v", old)
	}

	// Where nobody newer comes, the last attempt is one.
	if status := w.deliver(task, v2.login, 3); status != 204 {
		t.Errorf("the last attempt: %d", status)
	}
	dead := w.event()
	if dead.Attributes["ce-dataschema"] != "tag:waybill.dev,2026:shop.order/2" || !strings.Contains(dead.Attributes["waybill-dead-cause"], "version 2") {
		t.Errorf("dead letter %v", dead.Attributes)
	}

	var got []orderV2
	receiveAll(w.open(v2.store), v2, &got) // the new instance
	if status := w.deliver(task, v2.login, 2); status != 204 || len(got) != 1 || got[0] != (orderV2{"Ann", "Lee"}) {
		t.Errorf("the new receiver: %d, %v", status, got)
	}
}

func TestAnOlderVersionThatIsNotAcceptedIsADeadLetter(t *testing.T) {
	v1, _, _ := builds()
	alone := newOrdering[orderV2](dispatch.Version[orderV2](2))
	w := newCarrier(t, alone.app)
	var got []orderV2
	receiveAll(w.open(alone.store), alone, &got)
	status, err := sendAll(t, w, w.open(v1.login), v1, orderV1{"Ann Lee"})
	if len(got) != 0 || status[0] != 204 || status[1] != 204 {
		t.Errorf("%v, %v", status, got)
	}
	if e, ok := errors.AsType[*wsync.Error](err); !ok || e.Code != wsync.InvalidArgument {
		t.Errorf("a call: %v", err)
	}
	for range 2 {
		if dead := w.event(); !strings.Contains(dead.Attributes["waybill-dead-cause"], "add dispatch.Accept(1, ...)") {
			t.Errorf("cause %q", dead.Attributes["waybill-dead-cause"])
		}
	}
}

func TestWhatCannotBeUpgradedIsADeadLetter(t *testing.T) {
	v1, v2, _ := builds()
	w := newCarrier(t, v2.app)
	var got []orderV2
	receiveAll(w.open(v2.store), v2, &got)
	status, err := sendAll(t, w, w.open(v1.login), v1, orderV1{"Ann"})
	if len(got) != 0 || status[0] != 204 || status[1] != 204 || err == nil {
		t.Errorf("%v, %v, %v", status, got, err)
	}
	for range 2 {
		if dead := w.event(); !strings.Contains(dead.Attributes["waybill-dead-cause"], "a name without a space") {
			t.Errorf("cause %q", dead.Attributes["waybill-dead-cause"])
		}
	}
}

// Whoever publishes by hand has a dataschema of their own, if any: it says nothing of ours.
func TestAForeignDataschemaIsVersion1(t *testing.T) {
	_, v2, _ := builds()
	w := newCarrier(t, v2.app)
	var got []orderV2
	receiveAll(w.open(v2.store), v2, &got)
	for _, schema := range []string{"https://example.com/order.json", "tag:waybill.dev,2026:shop.order/new", "tag:waybill.dev,2026:shop.order/0"} {
		m := published{at: time.Now()}
		m.Data, m.Attributes = []byte(`{"Name":"Ann Lee"}`), map[string]string{"ce-dataschema": schema}
		if status := w.push(m, v2.store, "copy", "/_waybill/events/copy", 1); status != 204 {
			t.Errorf("%s: %d", schema, status)
		}
	}
	if len(got) != 3 || got[0] != (orderV2{"Ann", "Lee"}) {
		t.Errorf("got %v", got)
	}
	w.nothingLeft()
}
