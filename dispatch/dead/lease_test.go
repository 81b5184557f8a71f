package dead

import (
	"log/slog"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/deploy"
	"waybill.dev/emulator"
	"waybill.dev/emulator/emulatortest"
)

// A replay that takes longer than a lease: what is renewed in time is still held, so that its acknowledgement counts.
func TestLeasesAreRenewed(t *testing.T) {
	t.Parallel()
	app := dispatch.NewApp("shop")
	dispatch.NewTask[string](app.Service("mailer"), "send-welcome", dispatch.From(app.Service("login")))
	e := emulatortest.Start(t, emulator.Config{Logger: slog.New(slog.DiscardHandler)})
	env := &dispatch.Environment{Project: "waybill-local", Location: "us-central1", Emulator: e.Addr()}
	plan, err := deploy.NewPlan(app, env)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := deploy.Create(t.Context(), plan, deploy.Options{}); err != nil {
		t.Fatal(err)
	}
	c, err := Open(t.Context(), app, Config{Environment: env})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.google.TopicAdminClient.Publish(t.Context(), &pubsubpb.PublishRequest{
		Topic:    "projects/waybill-local/topics/shop--send-welcome--dead",
		Messages: []*pubsubpb.PubsubMessage{{Data: []byte("1")}, {Data: []byte("2")}},
	}); err != nil {
		t.Fatal(err)
	}
	rd := c.reader(c.routes[0])
	copies, err := rd.next(t.Context(), 2)
	if err != nil || len(copies) != 2 {
		t.Fatal(copies, err)
	}
	others := func() []*leased {
		t.Helper()
		other := c.reader(c.routes[0])
		defer other.release(t.Context())
		got, err := other.next(t.Context(), 2)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for range 3 {
		e.Advance(leaseTime - 10*time.Second)
		rd.renewed = rd.renewed.Add(-renewAfter) // as if this clock had been moved, too
		if err := rd.renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := others(); len(got) > 0 {
			t.Fatalf("somebody else was given what is held: %+v", got[0].letter)
		}
	}
	if err := rd.acknowledge(t.Context(), copies[:1]); err != nil {
		t.Errorf("a lease that was renewed: %v", err)
	}
	e.Advance(leaseTime + 10*time.Second) // and this one is not
	if left := others(); len(left) != 1 || left[0].letter.ID != copies[1].letter.ID {
		t.Errorf("left: %v", left)
	}
}
