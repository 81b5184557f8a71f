package dispatch_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"waybill.dev/dispatch"
)

// What Encode makes is what Send keeps, and Decode reads both.
func TestEncodeIsAsSendEncodes(t *testing.T) {
	app := dispatch.NewApp("shop")
	login, search := app.Service("login"), app.Service("search")
	signedUp := dispatch.NewEvent[UserSignedUp](login, "user-signed-up", dispatch.OrderBy(func(e UserSignedUp) string { return "key of " + e.UserID }))
	index := signedUp.To(search, "index-user")
	remind := dispatch.NewTask[Welcome](search, "remind", dispatch.From(login), dispatch.Expires(time.Hour))
	c := newCarrier(t, app)
	d := c.open(login)

	var kept dispatch.Envelope
	box := dispatch.Deferred(d, func(_ context.Context, e dispatch.Envelope) error { kept = e; return nil })
	check := func(made dispatch.Envelope, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range []dispatch.Envelope{made, kept} {
			for _, differs := range []string{"ce-time", "ce-expirytime", "traceparent"} {
				if name := differs; e.Attributes[name] != "" {
					e.Attributes[name] = "some"
				}
			}
		}
		if d := cmp.Diff(kept, made); d != "" {
			t.Errorf("(-Send +Encode):\n%s", d)
		}
	}
	if _, err := dispatch.Send(t.Context(), box, signedUp, UserSignedUp{"ann"}, dispatch.Key("ann")); err != nil {
		t.Fatal(err)
	}
	check(dispatch.Encode(t.Context(), signedUp, UserSignedUp{"ann"}, time.Now(), dispatch.Key("ann")))
	if got, err := dispatch.Decode(index, kept); err != nil || got.UserID != "ann" {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := dispatch.Send(t.Context(), box, remind, Welcome{"ann"}, dispatch.Key("ann")); err != nil {
		t.Fatal(err)
	}
	check(dispatch.Encode(t.Context(), remind, Welcome{"ann"}, time.Now(), dispatch.Key("ann")))

	of, err := dispatch.Encode(t.Context(), index, UserSignedUp{"ann"}, time.Now())
	if err != nil || of.OrderingKey != "key of ann" || of.Attributes["ce-type"] != "shop.user-signed-up" {
		t.Errorf("a subscription's is %+v, %v", of, err)
	}
	if _, err := dispatch.Encode(t.Context(), signedUp, UserSignedUp{"ann"}, time.Now(), dispatch.After(time.Hour)); !errors.Is(err, dispatch.ErrOption) {
		t.Errorf("an option that the route cannot honor: %v", err)
	}
	nobodys := dispatch.NewTask[Welcome](search, "nobodys")
	if _, err := dispatch.Encode(t.Context(), nobodys, Welcome{}, time.Now()); !errors.Is(err, dispatch.ErrNotDeclared) {
		t.Errorf("a route that nobody may send: %v", err)
	}
	kept.Body = []byte("{")
	if _, err := dispatch.Decode(remind, kept); err == nil {
		t.Error("half a message was read")
	}
	if _, err := dispatch.Decode(dispatch.NewTask[Welcome](nil, "lost"), kept); err == nil {
		t.Error("a route without a service was read by")
	}
}
