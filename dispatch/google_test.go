package dispatch_test

import (
	"context"
	"testing"

	"waybill.dev/dispatch"
	"waybill.dev/internal/googletest"
)

// Google's own Pub/Sub emulator pushes without a token. With Waybill's in front of it the same program runs, receivers
// that verify included.
func TestBehindGooglesOwnPubSubEmulator(t *testing.T) {
	c := newContracts()
	w := newWorldOn(t, c.app, googletest.PubSub(t))
	search, audit, login := w.open(c.search), w.open(c.audit), w.open(c.login)
	indexed, recorded := make(chan delivered[signedUp], 10), make(chan delivered[signedUp], 10)
	keep := func(to chan delivered[signedUp]) func(context.Context, signedUp) error {
		return func(ctx context.Context, e signedUp) error {
			to <- delivered[signedUp]{e, dispatch.MessageFrom(ctx)}
			return nil
		}
	}
	dispatch.Handle(search, c.indexUser, keep(indexed))
	dispatch.Handle(audit, c.recordEvent, keep(recorded))
	w.serve(c.search, search)
	w.serve(c.audit, audit)
	receipt, err := dispatch.Send(t.Context(), login, c.signedUp, signedUp{UserID: "ann", Step: 1})
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]chan delivered[signedUp]{"index-user": indexed, "record-sign-up": recorded} {
		d := receive(t, got, "the copy of "+name)
		if d.about.ID != receipt.ID || d.message.Step != 1 || d.about.Caller.Email != pushAccount {
			t.Errorf("%s: %+v", name, d)
		}
	}
}
