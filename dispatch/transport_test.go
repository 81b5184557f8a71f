package dispatch_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"waybill.dev/auth"
	"waybill.dev/dispatch"
)

// All three ways, with the real endpoints and tokens, and neither a socket nor the real clock.
func TestATransportCarriesAllThreeWays(t *testing.T) {
	t.Setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1") // Google's client would follow it; there is none
	synctest.Test(t, func(t *testing.T) {
		c := newContracts()
		w := newCarrier(t, c.app)
		login, mailer, search, profiles := w.open(c.login), w.open(c.mailer), w.open(c.search), w.open(c.profiles)
		var got []dispatch.Message
		dispatch.Handle(mailer, c.sendWelcome, func(ctx context.Context, _ welcome) error {
			got = append(got, dispatch.MessageFrom(ctx))
			return nil
		})
		dispatch.Handle(search, c.indexUser, func(ctx context.Context, _ signedUp) error {
			got = append(got, dispatch.MessageFrom(ctx))
			return dispatch.Permanent(errors.New("no"))
		})
		dispatch.Answer(profiles, c.getProfile, func(ctx context.Context, q query) (profile, error) {
			got = append(got, dispatch.MessageFrom(ctx))
			return profile{Name: q.UserID}, nil
		})
		sent := time.Now()
		task, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{To: "ann"})
		if err != nil {
			t.Fatal(err)
		}
		event, err := dispatch.Send(t.Context(), login, c.signedUp, signedUp{UserID: "ann"})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour) // the bubble's
		if status := w.deliver(w.task(), c.login, 1); status != 204 {
			t.Errorf("the task: %d", status)
		}
		if status := w.push(w.event(), c.search, "index-user", "/_waybill/events/index-user", 1); status != 204 {
			t.Errorf("the event: %d", status)
		}
		if dead := w.event(); !strings.HasSuffix(dead.topic, "--index-user--dead") || dead.Attributes["ce-id"] != event.ID {
			t.Errorf("the dead letter: %+v", dead)
		}
		p, err := dispatch.Request(t.Context(), login, c.getProfile, query{UserID: "ann"})
		if err != nil || p.Name != "ann" {
			t.Errorf("the call: %v, %v", p, err)
		}
		if len(got) != 3 || got[0].ID != task.ID || got[1].ID != event.ID {
			t.Fatalf("messages %+v", got)
		}
		for i, caller := range []string{loginAccount, pushAccount, loginAccount} {
			if got[i].Caller.Email != caller || got[i].Caller.Assurance != auth.Verified {
				t.Errorf("message %d is %+v's, want %s's, verified", i, got[i].Caller, caller)
			}
		}
		if !got[0].PublishedAt.Equal(sent) {
			t.Errorf("published at %v, want %v", got[0].PublishedAt, sent)
		}
		w.nothingLeft()
	})
}

// What Google's clients would refuse is refused before a Transport, too.
func TestATransportGetsNothingThatIsTooLarge(t *testing.T) {
	c := newContracts()
	w := newCarrier(t, c.app)
	login := w.open(c.login)
	if _, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{To: strings.Repeat("x", 1<<20)}); !errors.Is(err, dispatch.ErrTooLarge) {
		t.Errorf("a task: %v", err)
	}
	if _, err := dispatch.Send(t.Context(), login, c.signedUp, signedUp{UserID: strings.Repeat("x", 1025)}); !errors.Is(err, dispatch.ErrTooLarge) {
		t.Errorf("an event with a long ordering key: %v", err)
	}
	w.nothingLeft()
}
