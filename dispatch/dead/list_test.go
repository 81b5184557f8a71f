package dead_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/dead"
	"waybill.dev/emulator"
)

// tenant is a send middleware that adds a header of the user's own.
func tenant(c *dispatch.Config) {
	c.SendMiddleware = append(c.SendMiddleware, func(next dispatch.SendFunc) dispatch.SendFunc {
		return func(ctx context.Context, e *dispatch.Envelope) (dispatch.Receipt, error) {
			e.Attributes["x-tenant"] = "blue"
			return next(ctx, e)
		}
	})
}

// One contract for both ways: the message, its headers, cause, attempts and times.
func TestALetterSaysAllThatIsKnown(t *testing.T) {
	t.Parallel()
	s := newShop()
	w := newWorld(t, s.app)
	login, letters := w.open(s.login, tenant), w.letters(s.app)
	mailer, search := w.open(s.mailer), w.open(s.search)
	dispatch.Handle(mailer, s.sendWelcome, func(context.Context, welcome) error { return errBroken })
	dispatch.Handle(search, s.indexUser, func(context.Context, signedUp) error { return dispatch.Permanent(errBroken) })
	w.serve(s.mailer, mailer)
	w.serve(s.search, search)
	start := time.Now()
	task, event := send(t, login, s.sendWelcome, welcome{"ann"}), send(t, login, s.signedUp, signedUp{"ann"})
	got := w.buried(letters, 2)
	if got[0].Kind != dispatch.KindTask {
		got[0], got[1] = got[1], got[0]
	}
	want := []dead.Letter{
		{
			ID: task.ID, Route: "send-welcome", Kind: dispatch.KindTask, Cause: errBroken.Error(), Attempts: 1, Source: "/shop/login",
			Caller: "login@waybill-local.iam.gserviceaccount.com", Body: []byte(`{"To":"ann"}`), Copies: 1,
		},
		{
			ID: event.ID, Route: "index-user", Kind: dispatch.KindSubscription, Event: "user-signed-up", Cause: errBroken.Error(), Attempts: 1, Source: "/shop/login",
			OrderingKey: "ann", Body: []byte(`{"UserID":"ann"}`), Copies: 1,
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(dead.Letter{}), cmpopts.IgnoreFields(dead.Letter{}, "Headers", "SentAt", "LastAttempt", "Died")); diff != "" {
		t.Errorf("the letters (-want +got):\n%s", diff)
	}
	end := time.Now()
	for i, l := range got {
		times := []time.Time{start, l.SentAt, l.LastAttempt, l.Died, end}
		for j := range times[1:] {
			if times[j+1].Before(times[j]) {
				t.Errorf("%s: sent, last attempt and death are not in order: %v", l.Route, times)
			}
		}
		for _, name := range []string{"ce-id", "ce-source", "ce-type", "ce-specversion", "ce-time", "content-type", "traceparent", "x-tenant"} {
			if l.Headers[name] == "" {
				t.Errorf("%s lacks the header %s: %v", l.Route, name, l.Headers)
			}
		}
		if len(l.Headers) != 8 {
			t.Errorf("%s has other headers than its message: %v", l.Route, l.Headers)
		}
		found, err := letters.Find(t.Context(), "", l.ID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got[i], found, cmpopts.IgnoreUnexported(dead.Letter{})); diff != "" {
			t.Errorf("found (-listed +found):\n%s", diff)
		}
	}
	// After all this looking, both are there for whoever pulls.
	for _, name := range []string{"send-welcome--dead", "index-user--dead"} {
		w.peek(name)
	}
	if _, err := letters.Find(t.Context(), "send-welcome", event.ID); !errors.Is(err, dead.ErrNotFound) {
		t.Errorf("the event among the tasks: %v", err)
	}
}

// A receiver that never answers as one: Pub/Sub's own dead-lettering takes over. Its shape is read, listed and replayed.
func TestPubSubsOwnDeadLetterIsReplayed(t *testing.T) {
	t.Parallel()
	s := newShop()
	w := newWorld(t, s.app)
	login, letters, search := w.open(s.login), w.letters(s.app), w.open(s.search)
	got := make(chan dispatch.Message, 10)
	dispatch.Handle(search, s.indexUser, func(ctx context.Context, _ signedUp) error {
		got <- dispatch.MessageFrom(ctx)
		return nil
	})
	w.serve(s.search, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	receipt := send(t, login, s.signedUp, signedUp{"ann"})
	receive(t, w.endpoints["search"].answered, "the first failure")
	for {
		if _, err := w.emulator.Skip(t.Context(), time.Hour); errors.Is(err, emulator.ErrNothingDue) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	l := w.buried(letters, 1)[0]
	if l.ID != receipt.ID || l.Route != "index-user" || !l.ByPlatform || l.Attempts != 6 || l.OrderingKey != "ann" || l.SentAt.IsZero() || l.Cause == "" || len(l.Headers) != 7 {
		t.Errorf("the letter: %+v", l)
	}
	// Waybill's receiver buried it as well, as when its answer was lost.
	w.publish("index-user--dead", &pubsubpb.PubsubMessage{Data: []byte(`{"UserID":"ann"}`), Attributes: map[string]string{
		"ce-id": receipt.ID, "content-type": "application/json", "waybill-dead-route": "index-user", "waybill-dead-cause": "the disk is full", "waybill-dead-ordering-key": "ann",
	}})
	if l = w.buried(letters, 1)[0]; l.Copies != 2 || l.ByPlatform || l.Cause != "the disk is full" {
		t.Errorf("of two copies the one is shown that says less: %+v", l)
	}
	w.serve(s.search, search)
	w.emulator.Advance(time.Minute) // the pause of an endpoint that fails
	if results := replay(t, letters, dead.Query{}); len(results) != 1 {
		t.Errorf("two copies are %d replays", len(results))
	}
	if m := receive(t, got, "the event"); m.ID != receipt.ID || m.Attempt != 1 {
		t.Errorf("it arrived as %+v", m)
	}
	w.none(letters)
	if len(got) > 0 {
		t.Error("it was replayed twice")
	}
}

// Where nobody answers, nothing is known: that is no empty list.
func TestAnUnreachablePubSubIsAnError(t *testing.T) {
	t.Parallel()
	s := newShop()
	w := newWorld(t, s.app)
	letters := w.letters(s.app)
	w.emulator.Close()
	if listing, err := letters.List(t.Context(), dead.Query{}); err == nil {
		t.Errorf("listed %+v", listing)
	}
}

func TestMissingResourcesAreAnError(t *testing.T) {
	t.Parallel()
	s := newShop()
	w := newWorld(t, s.app)
	letters := w.letters(s.app)
	if err := w.google.SubscriptionAdminClient.DeleteSubscription(t.Context(), &pubsubpb.DeleteSubscriptionRequest{Subscription: w.subscription("index-user--dead")}); err != nil {
		t.Fatal(err)
	}
	if _, err := letters.List(t.Context(), dead.Query{Route: "index-user"}); err == nil {
		t.Error("a route without its dead-letter subscription has an empty list")
	}
	if _, err := letters.List(t.Context(), dead.Query{Route: "user-signed-up"}); err == nil {
		t.Error("an event has dead letters")
	}
}

// What died under a route's old name is listed and replayed under its new one.
func TestTheLettersOfAnAliasAreTheRoutes(t *testing.T) {
	t.Parallel()
	s := newShop()
	w := newWorld(t, s.app)
	w.publish("send-welcome--dead", &pubsubpb.PubsubMessage{Data: []byte(`{"To":"ann"}`), Attributes: map[string]string{
		"ce-id": "1", "ce-source": "/shop/login", "content-type": "application/json", "waybill-dead-route": "send-welcome",
	}})
	renamed := dispatch.NewApp("shop")
	login, mailer := renamed.Service("login"), renamed.Service("mailer")
	renamed.Service("search")
	renamed.Service("audit")
	greet := dispatch.NewTask[welcome](mailer, "greet", dispatch.From(login), dispatch.Alias("send-welcome"))
	w.deploy(renamed)
	d := w.open(mailer)
	got := make(chan dispatch.Message, 1)
	dispatch.Handle(d, greet, func(ctx context.Context, _ welcome) error { got <- dispatch.MessageFrom(ctx); return nil })
	w.serve(mailer, d)

	letters := w.letters(renamed)
	if l := w.buried(letters, 1)[0]; l.Route != "greet" || l.Alias != "send-welcome" {
		t.Errorf("the letter: %+v", l)
	}
	replay(t, letters, dead.Query{Route: "send-welcome"}) // either name will do
	if m := receive(t, got, "the task"); m.ID != "1" || m.Alias != "" {
		t.Errorf("it arrived as %+v", m)
	}
	w.none(letters)
}

func TestDiscardRemovesOneForGood(t *testing.T) {
	t.Parallel()
	s := newShop()
	w := newWorld(t, s.app)
	letters := w.letters(s.app)
	for _, id := range []string{"1", "2", "1"} { // the first is there twice
		w.publish("send-welcome--dead", &pubsubpb.PubsubMessage{Data: []byte("{}"), Attributes: map[string]string{"ce-id": id, "waybill-dead-route": "send-welcome"}})
	}
	if err := letters.Discard(t.Context(), "send-welcome", "1"); err != nil {
		t.Fatal(err)
	}
	if left := w.buried(letters, 1); left[0].ID != "2" {
		t.Errorf("left: %+v", left)
	}
	if err := letters.Discard(t.Context(), "send-welcome", "1"); !errors.Is(err, dead.ErrNotFound) {
		t.Errorf("again: %v", err)
	}
	if err := letters.Discard(t.Context(), "", "2"); err == nil {
		t.Error("discarded without a route")
	}
	w.buried(letters, 1)
}

func TestAListingThatIsNotCompleteSaysSo(t *testing.T) {
	t.Parallel()
	s := newShop()
	w := newWorld(t, s.app)
	letters := w.letters(s.app)
	for _, id := range []string{"1", "2", "3"} {
		w.publish("send-welcome--dead", &pubsubpb.PubsubMessage{Data: []byte("{}"), Attributes: map[string]string{"ce-id": id, "waybill-dead-route": "send-welcome"}})
	}
	some, err := letters.List(t.Context(), dead.Query{Limit: 2})
	if err != nil || len(some.Letters) != 2 || !some.More {
		t.Errorf("two of three: %+v, %v", some, err)
	}
	all, err := letters.List(t.Context(), dead.Query{})
	if err != nil || len(all.Letters) != 3 || all.More {
		t.Errorf("all: %+v, %v", all, err)
	}
}
