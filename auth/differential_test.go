package auth_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"waybill.dev/auth"
)

// stricter reports whether err is of those with which Waybill refuses what go-oidc lets in: that looks at no account,
// at no lifetime, at iat not at all and at nbf with 5 minutes of grace, takes one audience out of several, and reads
// base64 and JSON as the standard library does.
func stricter(err error) bool {
	for _, reason := range []error{auth.ErrCaller, auth.ErrEmail, auth.ErrLifetime, auth.ErrNotYetValid, auth.ErrMalformed} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return errors.Is(err, auth.ErrAudience) && strings.Contains(err.Error(), "it is a list")
}

// agree compares the verdicts of Waybill and of go-oidc on one token.
func agree(ctx context.Context, t *testing.T, v *auth.Verifier, o *oidc.IDTokenVerifier, token string) error {
	t.Helper()
	id, err := v.Verify(ctx, token)
	other, otherErr := o.Verify(ctx, token)
	if err == nil {
		if otherErr != nil {
			t.Fatalf("go-oidc refuses what Waybill lets in: %v", otherErr)
		}
		if id.Issuer != other.Issuer || id.Subject != other.Subject || len(other.Audience) != 1 || id.Audience != other.Audience[0] ||
			!id.ExpiresAt.Equal(other.Expiry) || !id.IssuedAt.Equal(other.IssuedAt) {
			t.Fatalf("Waybill reads %+v, go-oidc %+v", id, other)
		}
		return nil
	}
	if otherErr == nil && !stricter(err) {
		t.Errorf("go-oidc lets in what Waybill refuses: %v", err)
	}
	return err
}

// TestDifferential holds Waybill's verdicts against go-oidc's: on every bad input, and on good ones. go-oidc never
// refuses what Waybill lets in, and lets in only what Waybill is known to be stricter about.
func TestDifferential(t *testing.T) {
	w := newWorld(t, nil)
	o := newOIDCVerifier(w.jwks)
	good := key1().token(nil)
	now := time.Now().Unix()
	for name, token := range map[string]string{
		"good":                        good,
		"the issuer without a scheme": key1().token(object{"iss": "accounts.google.com"}),
		"nbf in the past":             key1().token(object{"nbf": now - 60}),
		"short life":                  key1().token(object{"exp": now + 60}),
		"claims of all kinds":         key1().token(object{"google": object{"x": []any{1.5, nil, true, "\u00e9", object{}}}, "s": `"\u0041\\`}),
		"white space":                 key1().sign(" "+header1+"\n", "\t"+claims(nil)+" "),
		"no typ":                      key1().sign(`{"alg":"RS256","kid":"key-1"}`, claims(nil)),
		"escapes in a claim":          key1().sign(header1, strings.Replace(claims(nil), "https://accounts", `https:\/\/accounts`, 1)),
	} {
		if err := agree(t.Context(), t, w.Verifier, o, token); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, c := range refusals(t) {
		t.Run(c.name, func(t *testing.T) {
			if agree(t.Context(), t, w.Verifier, o, strings.TrimSpace(c.token)) == nil {
				t.Error("let in")
			}
		})
	}
	for i := range len(good) { // each byte changed
		for _, c := range "A_.{" {
			changed := good[:i] + string(c) + good[i+1:]
			if changed != good && agree(t.Context(), t, w.Verifier, o, changed) == nil {
				t.Fatalf("let in with byte %d changed to %c", i, c)
			}
		}
	}
}

// FuzzDifferential signs whatever header and payload come, so that the two readers meet behind the signature.
func FuzzDifferential(f *testing.F) {
	jwks := startKeyServer(key1().jwk(nil))
	f.Cleanup(jwks.Close)
	v, err := auth.NewVerifier(auth.VerifierConfig{Audiences: []string{audience}, Callers: []string{login}, Keys: keysOf(f, jwks), CacheSize: -1})
	if err != nil {
		f.Fatal(err)
	}
	o := newOIDCVerifier(jwks)
	good := claims(object{"exp": time.Now().Unix() + 3600})
	for _, change := range []string{
		"", `"iss":"https://accounts.google.com",`, `"AUD":"x",`, `"x":{"aud":"y"},`, `"nbf":1,`, `"exp":1e3,`, `"\u0061ud":"z",`, `"x":"\ud800",`,
	} {
		f.Add(header1, "{"+change+good[1:])
	}
	f.Add(`{"alg":"RS256","kid":"key-1","crit":["b64"],"b64":false}`, good)
	f.Add(`{"alg":"RS256","kid":"key-1","typ":"at+jwt"}`, good)
	f.Add(header1, strings.Replace(good, `"`+audience+`"`, `["`+audience+`"]`, 1))
	f.Fuzz(func(t *testing.T, header, payload string) {
		if len(header)+len(payload) > 4<<10 {
			return // what is refused for its length alone is checked elsewhere
		}
		_ = agree(t.Context(), t, v, o, key1().sign(header, payload))
	})
}
