package auth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"waybill.dev/auth"
)

func verdicts(e auth.Explanation) map[string]auth.Verdict {
	m := make(map[string]auth.Verdict)
	for _, c := range e.Checks {
		m[c.Name] = c.Verdict
	}
	return m
}

// only are verdicts of a token that passes all but some checks.
func only(except map[string]auth.Verdict) map[string]auth.Verdict {
	m := make(map[string]auth.Verdict)
	for _, name := range []string{"form", "header", "alg", "typ", "payload", "exp", "kid", "signature", "iss", "aud", "sub", "iat", "nbf", "lifetime", "email", "email_verified", "caller"} {
		m[name] = auth.Passed
	}
	maps.Copy(m, except)
	return m
}

func TestExplain(t *testing.T) {
	key := key1()
	good := key.token(nil)
	parts := strings.Split(good, ".")
	now := time.Now().Unix()
	const failed, unchecked = auth.Failed, auth.Unchecked
	for _, c := range []struct {
		name, token string
		platform    bool
		assurance   string
		verdicts    map[string]auth.Verdict
	}{
		{"good", good, false, "verified", only(nil)},
		{"good, pasted", "  " + good + "\n", false, "verified", only(nil)},
		{"removed, asserted", withoutSignature(good), true, "platform-asserted", only(nil)},
		{"removed, not asserted", withoutSignature(good), false, "none", only(map[string]auth.Verdict{"signature": failed})},
		{
			"forged", swapSignature(key.token(object{"aud": "https://other.example", "email": search}), good), false, "none",
			only(map[string]auth.Verdict{"signature": failed, "aud": failed, "caller": failed}),
		},
		{
			"everything wrong that can be seen", key2().token(object{"iss": "x", "aud": "y", "email": search, "email_verified": false, "iat": now + 600, "nbf": now + 600, "exp": now + 86400}), false, "none",
			only(map[string]auth.Verdict{
				"kid": failed, "signature": unchecked, "iss": failed, "aud": failed, "email_verified": failed, "iat": failed, "nbf": failed, "lifetime": unchecked, "caller": failed,
			}),
		},
		{"expired", key.token(object{"iat": now - 7200, "exp": now - 3600}), false, "none", only(map[string]auth.Verdict{"exp": failed, "signature": unchecked})},
		{
			"another algorithm", iapKey().sign(`{"alg":"ES256","kid":"key-1"}`, claims(nil)), false, "none",
			only(map[string]auth.Verdict{"alg": failed, "kid": unchecked, "signature": unchecked}),
		},
		{
			"header unreadable", b64([]byte("null")) + "." + parts[1] + "." + parts[2], false, "none",
			only(map[string]auth.Verdict{"header": failed, "alg": unchecked, "typ": unchecked, "kid": unchecked, "signature": unchecked}),
		},
		{"cut short", good[:len(good)-4], false, "none", only(map[string]auth.Verdict{"signature": failed})},
		{"payload in other base64", parts[0] + "." + parts[1] + "=." + parts[2], false, "none", only(map[string]auth.Verdict{
			"payload": failed, "exp": unchecked, "signature": unchecked, "iss": unchecked, "aud": unchecked, "sub": unchecked, "iat": unchecked, "nbf": unchecked,
			"lifetime": unchecked, "email": unchecked, "email_verified": unchecked, "caller": unchecked,
		})},
		{"no exp", key.token(object{"exp": nil}), false, "none", only(map[string]auth.Verdict{"exp": failed, "signature": unchecked})},
		{"no email", key.token(object{"email": nil}), false, "verified", only(map[string]auth.Verdict{"email": failed, "caller": unchecked})},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, func(_ *auth.KeySetConfig, vc *auth.VerifierConfig) { vc.PlatformAsserts = c.platform })
			e := auth.Explain(t.Context(), c.token, w.Verifier)
			if d := cmp.Diff(c.verdicts, verdicts(e)); d != "" {
				t.Errorf("verdicts (-want +got):\n%s\n%s", d, e)
			}
			if e.Assurance != c.assurance {
				t.Errorf("assurance %q, want %q", e.Assurance, c.assurance)
			}
			if unproven := strings.Contains(e.String(), "may be made up"); unproven != (c.assurance == "none") {
				t.Errorf("says that the claims may be made up: %v\n%s", unproven, e)
			}
			if auth.CachedTokens(w.Verifier) != 0 {
				t.Error("the token is remembered")
			}
		})
	}
}

// TestExplainRefusals: for every bad input the explanation says what Verify says, points at the check, and holds
// nothing that could be used.
func TestExplainRefusals(t *testing.T) {
	w := newWorld(t, nil)
	w.jwks.serve(refusalKeys()...)
	for _, c := range refusals(t) {
		t.Run(c.name, func(t *testing.T) {
			token := strings.TrimSpace(c.token)
			e := auth.Explain(t.Context(), token, w.Verifier)
			_, err := w.Verify(t.Context(), token)
			if e.Accepted || e.Status != auth.Status(err) || e.Reason != err.Error() {
				t.Errorf("explained %d %q, Verify says %v", e.Status, e.Reason, err)
			}
			first := slices.IndexFunc(e.Checks, func(r auth.CheckResult) bool { return r.Verdict != auth.Passed })
			if first < 0 || e.Checks[first].Verdict != auth.Failed || !strings.HasSuffix(e.Reason, e.Checks[first].Reason) {
				t.Errorf("the first check that fails is not the reason:\n%s", e)
			}
			document, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			for segment := range strings.SplitSeq(token, ".") {
				if len(segment) > 20 && (strings.Contains(e.String(), segment) || strings.Contains(string(document), segment)) {
					t.Errorf("it holds a part of the token:\n%s\n%s", e, document)
				}
			}
		})
	}
	if n := w.jwks.fetches.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

func TestExplainWithoutKeys(t *testing.T) {
	w := newWorld(t, nil)
	w.jwks.handle(http.NotFound)
	e := auth.Explain(t.Context(), key1().token(object{"aud": "https://other.example"}), w.Verifier)
	if e.Status != http.StatusServiceUnavailable || !strings.Contains(e.Reason, "404") {
		t.Errorf("%d %s", e.Status, e.Reason)
	}
	if d := cmp.Diff(only(map[string]auth.Verdict{"kid": auth.Failed, "signature": auth.Unchecked, "aud": auth.Failed}), verdicts(e)); d != "" {
		t.Error(d)
	}
}

func TestExplainIAP(t *testing.T) {
	v, _ := newIAP(t, func(c *auth.IAPConfig) { c.Callers, c.AnyCaller = nil, true })
	e := auth.Explain(t.Context(), iapKey().assertion(nil), v)
	if _, asked := verdicts(e)["email_verified"]; !e.Accepted || asked {
		t.Errorf("accepted %v, asked for email_verified %v", e.Accepted, asked)
	}
	e = auth.Explain(t.Context(), iapKey().assertion(nil)[:200], v)
	if e.Accepted {
		t.Error("accepted a part of an assertion")
	}
}

func TestExplainJSON(t *testing.T) {
	w := newWorld(t, nil)
	document := marshal(auth.Explain(t.Context(), key1().token(object{"aud": "https://other.example"}), w.Verifier))
	var got struct {
		Accepted          bool
		Status            int
		Reason, Assurance string
		ExpiresAt         time.Time `json:"expires_at"`
		Checks            []struct{ Name, Expected, Came, Verdict, Reason string }
	}
	if err := json.Unmarshal([]byte(document), &got); err != nil {
		t.Fatal(err)
	}
	if got.Accepted || got.Status != 401 || got.Assurance != "verified" || got.ExpiresAt.Before(time.Now()) || !strings.Contains(got.Reason, "https://other.example") {
		t.Errorf("%+v", got)
	}
	i := slices.IndexFunc(got.Checks, func(c struct{ Name, Expected, Came, Verdict, Reason string }) bool { return c.Verdict == "failed" })
	if i < 0 || got.Checks[i].Name != "aud" || got.Checks[i].Came != `"https://other.example"` || got.Checks[i].Expected != `"`+audience+`"` || got.Checks[i].Reason == "" {
		t.Errorf("%s", document)
	}
}

// TestExplainControlCharacters: what a stranger wrote into a token does not reach the terminal as it is.
func TestExplainControlCharacters(t *testing.T) {
	w := newWorld(t, nil)
	e := auth.Explain(t.Context(), key1().sign(header1, claims(object{"aud": "\x1b[2Jx\u202e\n\t"}))+"\n", w.Verifier)
	if s := strings.ReplaceAll(e.String(), "\n", ""); strings.ContainsAny(s, "\x1b\u202e\t") {
		t.Errorf("%q", s)
	}
}

// What the command line prints for a token that was minted for another service.
func ExampleExplain() {
	jwks := startKeyServer(key1().jwk(nil))
	defer jwks.Close()
	keys, err := auth.NewKeySet(auth.KeySetConfig{
		URL:        "https://issuer.example/keys",
		HTTPClient: &http.Client{Transport: &elsewhere{to: jwks.URL, base: jwks.Client().Transport}},
	})
	if err != nil {
		panic(err)
	}
	noon := time.Date(2100, 1, 1, 12, 0, 0, 0, time.UTC)
	verifier, err := auth.NewVerifier(auth.VerifierConfig{
		Audiences: []string{"https://mailer.example"},
		Callers:   []string{"login@shop.iam.gserviceaccount.com"},
		Keys:      keys,
		Now:       func() time.Time { return noon },
	})
	if err != nil {
		panic(err)
	}
	token := key1().token(object{"aud": "https://search.example", "iat": noon.Unix() - 600, "exp": noon.Unix() + 3000})
	for line := range strings.Lines(auth.Explain(context.Background(), token, verifier).String()) {
		fmt.Println(strings.TrimRight(line, " \n"))
	}
	// Output:
	// refused with 401: auth: the token is for another audience: it is for "https://search.example"; this service expects "https://mailer.example": mint the token for that audience, or add the other one to VerifierConfig.Audiences
	//
	// CHECK           VERDICT  CAME                                          EXPECTED
	// form            passed   3 parts, 659 bytes                            3 parts, at most 8192 bytes
	// header          passed   alg kid typ                                   a JSON object with alg and kid, without crit
	// alg             passed   "RS256"                                       RS256
	// typ             passed   "JWT"                                         JWT, or none
	// payload         passed   aud azp email email_verified exp iat iss sub  a JSON object, each member once and of its type
	// exp             passed   2100-01-01T12:50:00Z, in 50m0s                after 2100-01-01T12:00:00Z
	// kid             passed   "key-1"                                       a key of https://issuer.example/keys
	// signature       passed   256 bytes                                     one that matches the key
	// iss             passed   "https://accounts.google.com"                 "https://accounts.google.com" or "accounts.google.com"
	// aud             FAILED   "https://search.example"                      "https://mailer.example"
	// sub             passed   "1001"                                        the account's ID
	// iat             passed   2100-01-01T11:50:00Z, 10m0s ago               at most 1m0s after 2100-01-01T12:00:00Z
	// nbf             passed   none                                          none, or as iat
	// lifetime        passed   1h0m0s                                        at most 1h0m0s
	// email           passed   "login@shop.iam.gserviceaccount.com"          the account's email
	// email_verified  passed   true                                          true
	// caller          passed   "login@shop.iam.gserviceaccount.com"          "login@shop.iam.gserviceaccount.com"
}
