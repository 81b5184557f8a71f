package dead_test

import (
	"context"
	"strings"
	"testing"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/dead"
	"waybill.dev/dispatch/deploy"
)

// Without the contracts: what deploy has written down, and an environment without URLs, as the emulator's variables make one.
func TestWithoutTheContracts(t *testing.T) {
	t.Parallel()
	s := newShop()
	w := newWorld(t, s.app)
	login, mailer, search := w.open(s.login), w.open(s.mailer), w.open(s.search)
	got := make(chan dispatch.Message, 10)
	broken := true // read and written between the deaths and the replays
	handle := func(ctx context.Context) error {
		if broken {
			return errBroken
		}
		got <- dispatch.MessageFrom(ctx)
		return nil
	}
	dispatch.Handle(mailer, s.sendWelcome, func(ctx context.Context, _ welcome) error { return handle(ctx) })
	dispatch.Handle(search, s.indexUser, func(ctx context.Context, _ signedUp) error { return handle(ctx) })
	w.serve(s.mailer, mailer)
	w.serve(s.search, search)
	sent := map[string]string{
		send(t, login, s.sendWelcome, welcome{"ann"}).ID: "send-welcome",
		send(t, login, s.signedUp, signedUp{"ann"}).ID:   "index-user",
	}
	for _, name := range []string{"mailer", "search"} {
		receive(t, w.endpoints[name].answered, "the answer of "+name)
	}
	broken = false
	letters, err := dead.OpenDeployed(t.Context(), "", dead.Config{Environment: &dispatch.Environment{
		Project: "waybill-local", Location: "us-central1", Emulator: w.emulator.Addr(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer letters.Close()
	if letters.App() != "shop" || strings.Join(letters.Routes(), " ") != "index-user record-sign-up send-welcome" {
		t.Errorf("app %s, routes %v", letters.App(), letters.Routes())
	}
	w.buried(letters, 2)
	replay(t, letters, dead.Query{})
	for range sent {
		m := receive(t, got, "a replayed message")
		if sent[m.ID] != m.Route {
			t.Errorf("it arrived as %+v", m)
		}
	}
	w.none(letters)
}

func TestWhichAppIsMeant(t *testing.T) {
	t.Parallel()
	s := newShop()
	w := newWorld(t, s.app)
	env := &dispatch.Environment{Project: "waybill-local", Location: "us-central1", Emulator: w.emulator.Addr(), Services: w.env.Services}
	open := func(app, prefix string) (*dead.Client, error) {
		e := *env
		e.Prefix = prefix
		return dead.OpenDeployed(t.Context(), app, dead.Config{Environment: &e})
	}
	refused := func(what, app, prefix, want string) {
		t.Helper()
		if c, err := open(app, prefix); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; want %q", what, c, err, want)
		}
	}
	refused("an app that is not there", "store", "", `no dead-letter subscriptions of app "store"`)
	refused("another prefix", "", "staging", `of Waybill's under the prefix "staging"`)

	store := dispatch.NewApp("store")
	dispatch.NewTask[welcome](store.Service("till"), "charge", dispatch.From(store.Service("web")))
	plan, err := deploy.NewPlan(store, &dispatch.Environment{Project: "waybill-local", Location: "us-central1", Emulator: w.emulator.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := deploy.Create(t.Context(), plan, deploy.Options{}); err != nil {
		t.Fatal(err)
	}
	refused("one of two", "", "", "several apps: shop, store; name one")
	c, err := open("store", "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if strings.Join(c.Routes(), " ") != "charge" {
		t.Errorf("routes %v", c.Routes())
	}
}

// Labels are the contracts' as they were when they were deployed. deploy says when they no longer are.
func TestDeploySaysThatLabelsAreOld(t *testing.T) {
	t.Parallel()
	s := newShop()
	w := newWorld(t, s.app)
	changed := dispatch.NewApp("shop")
	mailer, audit := changed.Service("mailer"), changed.Service("audit")
	dispatch.NewTask[welcome](mailer, "send-welcome", dispatch.From(audit))
	plan, err := deploy.NewPlan(changed, &dispatch.Environment{Project: "waybill-local", Location: "us-central1", Emulator: w.emulator.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	changes, err := deploy.Create(t.Context(), plan, deploy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := "gcloud pubsub subscriptions update projects/waybill-local/subscriptions/shop--send-welcome--dead --update-labels=waybill-from-audit=yes --remove-labels=waybill-from-login"
	for _, c := range changes {
		if isDead := c.Kind == "dead-letter subscription"; isDead != strings.HasSuffix(c.Note, want) {
			t.Errorf("%s %s: %q", c.Kind, c.Name, c.Note)
		}
	}
	found, err := w.google.SubscriptionAdminClient.GetSubscription(t.Context(), &pubsubpb.GetSubscriptionRequest{Subscription: w.subscription("send-welcome--dead")})
	if err != nil || found.Labels["waybill-from-login"] == "" {
		t.Errorf("deploy changed the labels: %v, %v", found.GetLabels(), err)
	}
}
