package emulator_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"

	"waybill.dev/emulator"
)

// counting counts the requests for keys.
type counting struct{ keys atomic.Int64 }

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/certs") {
		c.keys.Add(1)
	}
	return http.DefaultTransport.RoundTrip(r)
}

// A receiver that keeps the keys, and has found them by discovery, follows each rotation with one look at them.
func TestReceiversFollowRotations(t *testing.T) {
	e := start(t, emulator.Config{})
	transport := &counting{}
	ctx := oidc.ClientContext(t.Context(), &http.Client{Transport: transport})
	ctx = oidc.InsecureIssuerURLContext(ctx, "https://accounts.google.com") // the document is elsewhere
	provider, err := oidc.NewProvider(ctx, e.URL())
	if err != nil {
		t.Fatal(err)
	}
	verifier := provider.Verifier(&oidc.Config{ClientID: "https://mailer.test"})
	check := func(what, token string, valid bool, fetches int64) {
		t.Helper()
		before := transport.keys.Load()
		if _, err := verifier.Verify(context.WithoutCancel(ctx), token); valid != (err == nil) {
			t.Errorf("%s: %v", what, err)
		}
		if got := transport.keys.Load() - before; got != fetches {
			t.Errorf("%s: the keys were fetched %d times, not %d", what, got, fetches)
		}
	}
	mint := func() string { return tokenOf(t, e, account, "https://mailer.test") }

	first := mint()
	check("the first token", first, true, 1)
	check("and again", first, true, 0)
	if err := e.RotateKeys(emulator.KeepOldKey); err != nil {
		t.Fatal(err)
	}
	second := mint()
	check("a token of before", first, true, 0)
	check("a token of the new key", second, true, 1)
	check("the old one, by keys that were fetched after", first, true, 0)

	if kid := line(t, e.URL()+"/_emulator/rotate-keys?old=withdraw"); len(kid) != 40 {
		t.Errorf("key id %q", kid)
	}
	third := mint()
	check("a token after the withdrawal", third, true, 1)
	check("a token of the withdrawn key", second, false, 1)
	check("a token of the key before that", first, false, 1)
	post(t, e.URL()+"/_emulator/rotate-keys?old=maybe", http.StatusBadRequest)
}
