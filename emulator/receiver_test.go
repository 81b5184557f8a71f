package emulator_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"waybill.dev/auth"
	"waybill.dev/emulator"
)

// Waybill's own receiver works behind a gate with each reading of Google's documentation, and knows what it rests on.
func TestAReceiverBehindAGate(t *testing.T) {
	e := start(t, emulator.Config{})
	for _, signature := range []emulator.Signature{emulator.SignatureRemoved, emulator.SignatureRemovedFromServerless, emulator.SignatureKept} {
		seen := make(chan auth.Assurance, 1)
		var receive http.Handler
		container := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { receive.ServeHTTP(w, r) }))
		t.Cleanup(container.Close)
		g := openGate(t, e, emulator.GateConfig{Service: "search", Target: container.URL, Invokers: []string{invoker}, Signature: signature})
		keys, err := auth.NewKeySet(auth.KeySetConfig{URL: e.KeysURL(), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = keys.Close() })
		for _, asserts := range []bool{false, true} {
			verifier, err := auth.NewVerifier(auth.VerifierConfig{
				Audiences: []string{g.URL()}, Callers: []string{account}, Keys: keys, PlatformAsserts: asserts, Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			receive = verifier.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				identity, _ := auth.IdentityFrom(r.Context())
				seen <- identity.Assurance
			}))
			token := tokenOf(t, e, account, g.URL())
			for name, c := range map[string]struct {
				tokens map[string]string
				intact bool
			}{
				"a task or a push": {map[string]string{authorize: token}, signature != emulator.SignatureRemoved},
				"a call":           {map[string]string{authorize: token, alternate: token}, true},
			} {
				want := http.StatusOK
				if !c.intact && !asserts {
					want = http.StatusUnauthorized
				}
				response := call(t, g.URL(), c.tokens)
				if response.StatusCode != want {
					t.Errorf("signature %d, platform asserts %v: %s: %d, want %d", signature, asserts, name, response.StatusCode, want)
				}
				if response.StatusCode != http.StatusOK {
					continue
				}
				if got := <-seen; (got == auth.Verified) != c.intact {
					t.Errorf("signature %d, platform asserts %v: %s: assurance %v", signature, asserts, name, got)
				}
			}
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
}
