package issuer

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// accountKey reads a key file as a client does.
func accountKey(t *testing.T, i *Issuer) *rsa.PrivateKey {
	t.Helper()
	raw, err := i.KeyFile(account)
	if err != nil {
		t.Fatal(err)
	}
	var file keyFile
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(file.PrivateKey))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if file.ClientEmail != account || file.TokenURI != i.TokenURL() || file.Type != "service_account" || file.ProjectID != "shop" {
		t.Errorf("key file of %q at %q, %q, %q", file.ClientEmail, file.TokenURI, file.Type, file.ProjectID)
	}
	return key.(*rsa.PrivateKey)
}

func exchange(t *testing.T, h http.Handler, form url.Values) (int, map[string]any) {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1:8085/token", strings.NewReader(form.Encode()))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r := get(t, h, request)
	var answer map[string]any
	if err := json.Unmarshal([]byte(body(t, r)), &answer); err != nil {
		t.Fatal(err)
	}
	if r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control %q", r.Header.Get("Cache-Control"))
	}
	return r.StatusCode, answer
}

func TestTokenEndpoint(t *testing.T) {
	i, n, h := newIssuer(t)
	key := accountKey(t, i)
	signing, _, err := i.keys.newest().get()
	if err != nil {
		t.Fatal(err)
	}
	try := func(key *rsa.PrivateKey, change func(map[string]any)) (int, map[string]any) {
		claims := map[string]any{
			"iss": account, "aud": i.TokenURL(), "target_audience": "https://mailer.test",
			"iat": n.get().Unix(), "exp": n.get().Add(time.Hour).Unix(),
		}
		change(claims)
		compact, err := sign(key, "", claims)
		if err != nil {
			t.Fatal(err)
		}
		return exchange(t, h, url.Values{"grant_type": {grantType}, "assertion": {compact}})
	}

	code, answer := try(key, func(map[string]any) {})
	if code != http.StatusOK {
		t.Fatalf("%d %v", code, answer)
	}
	if claims := i.claimsOf(t, answer["id_token"].(string)); claims["email"] != account || claims["aud"] != "https://mailer.test" {
		t.Errorf("claims %v", claims)
	}
	code, answer = try(key, func(c map[string]any) { delete(c, "target_audience"); c["scope"] = "cloud-platform" })
	if accessToken, _ := answer["access_token"].(string); code != http.StatusOK || !strings.HasPrefix(accessToken, "ya29.") || answer["token_type"] != "Bearer" || answer["expires_in"] != 3599.0 {
		t.Errorf("%d %v", code, answer)
	}

	for name, c := range map[string]struct {
		key    *rsa.PrivateKey
		change func(map[string]any)
		want   string
	}{
		"key of the issuer": {signing, func(map[string]any) {}, "signature"},
		"expired":           {key, func(c map[string]any) { c["iat"], c["exp"] = n.get().Unix()-7200, n.get().Unix()-3600 }, "expired"},
		"no exp":            {key, func(c map[string]any) { delete(c, "exp") }, "expired"},
		"no iat":            {key, func(c map[string]any) { delete(c, "iat") }, "more than an hour"},
		"future":            {key, func(c map[string]any) { c["iat"], c["exp"] = n.get().Unix()+3600, n.get().Unix()+7200 }, "future"},
		"too long":          {key, func(c map[string]any) { c["exp"] = n.get().Unix() + 3601 }, "more than an hour"},
		"audience":          {key, func(c map[string]any) { c["aud"] = "https://oauth2.googleapis.com/token" }, "aud"},
		"issuer":            {key, func(c map[string]any) { c["iss"] = "login" }, "iss"},
		"claims":            {key, func(c map[string]any) { c["iss"] = 7 }, "claims"},
	} {
		code, answer := try(c.key, c.change)
		description, _ := answer["error_description"].(string)
		if code != http.StatusBadRequest || answer["error"] != "invalid_grant" || !strings.Contains(description, c.want) {
			t.Errorf("%s: %d %v", name, code, answer)
		}
	}
	for _, compact := range []string{"", "a.b", "a.b.c", "..", "e30.e30.e30", strings.Repeat("a", 1000)} {
		if code, answer := exchange(t, h, url.Values{"grant_type": {grantType}, "assertion": {compact}}); code != http.StatusBadRequest {
			t.Errorf("%q: %d %v", compact, code, answer)
		}
	}
	if code, answer := exchange(t, h, url.Values{"grant_type": {"refresh_token"}}); code != http.StatusBadRequest || answer["error"] != "unsupported_grant_type" {
		t.Errorf("%d %v", code, answer)
	}
	if code, answer := exchange(t, h, url.Values{"assertion": {strings.Repeat("a", maxRequest)}}); code != http.StatusBadRequest || answer["error"] != "invalid_request" {
		t.Errorf("%d %v", code, answer)
	}
}

func TestAlgorithmNoneIsRefused(t *testing.T) {
	i, _, _ := newIssuer(t)
	private, _, err := i.keys.account.get()
	if err != nil {
		t.Fatal(err)
	}
	none := base64url().EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64url().EncodeToString([]byte(`{}`)) + "."
	if err := verify(none, func(string) (*rsa.PublicKey, error) { return &private.PublicKey, nil }, &assertion{}); err == nil || !strings.Contains(err.Error(), "RS256") {
		t.Errorf("%v", err)
	}
}

func FuzzAssertion(f *testing.F) {
	i, err := New(Config{URL: "http://127.0.0.1:8085", Project: "shop", Location: "us-central1"})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(i.Close)
	private, _, err := i.keys.account.get()
	if err != nil {
		f.Fatal(err)
	}
	good, err := sign(private, "k", map[string]any{"iss": account, "aud": i.TokenURL(), "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix()})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{good, "", "..", "a.b.c", good + "A", good[:len(good)-1], "null.null.", "bnVsbA.bnVsbA.bnVsbA"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, compact string) {
		if _, err := i.checkAssertion(compact, ""); err == nil && compact != good {
			t.Errorf("accepted %q", compact)
		}
	})
}
