package issuer

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const account = "login@shop.iam.gserviceaccount.com"

// now is a clock that a test moves.
type now struct {
	mu   sync.Mutex
	time time.Time
}

func (n *now) get() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.time
}

func (n *now) advance(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.time = n.time.Add(d)
}

func newIssuer(t *testing.T) (*Issuer, *now, http.Handler) {
	t.Helper()
	n := &now{time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	i, err := New(Config{URL: "http://127.0.0.1:8085", Project: "shop", Location: "us-central1", Now: n.get})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.Close)
	mux := http.NewServeMux()
	i.Register(mux)
	return i, n, mux
}

func (i *Issuer) claimsOf(t *testing.T, compact string) map[string]any {
	t.Helper()
	private, _, err := i.keys.signing.get()
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := verify(&private.PublicKey, compact, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

func TestClaims(t *testing.T) {
	i, n, _ := newIssuer(t)
	idToken, err := i.IDToken(account, "https://mailer.test")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"aud": "https://mailer.test", "azp": subject(account), "sub": subject(account),
		"email": account, "email_verified": true, "iss": "https://accounts.google.com",
		"iat": float64(n.get().Unix()), "exp": float64(n.get().Add(time.Hour).Unix()),
	}
	if diff := cmp.Diff(want, i.claimsOf(t, idToken)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if s := subject(account); len(s) != 21 || s != subject(account) || s == subject("x"+account) {
		t.Errorf("subject %q", s)
	}
}

func TestTokensAreReusedForFourMinutes(t *testing.T) {
	i, n, _ := newIssuer(t)
	mint := func(account, audience string) string {
		t.Helper()
		idToken, err := i.IDToken(account, audience)
		if err != nil {
			t.Fatal(err)
		}
		return idToken
	}
	first := mint(account, "a")
	n.advance(reuse - time.Second)
	if mint(account, "a") != first {
		t.Error("a fresh token was not reused")
	}
	if mint(account, "b") == first || mint("x"+account, "a") == first {
		t.Error("another's token was handed out")
	}
	n.advance(time.Second)
	if mint(account, "a") == first {
		t.Error("an old token was handed out")
	}
}

func TestTheCacheIsBounded(t *testing.T) {
	i, n, _ := newIssuer(t)
	for k := range maxTokens + 10 {
		i.remember(tokenKey{account, fmt.Sprint(k), withEmail}, token{fresh: n.get()})
	}
	if len(i.tokens) != maxTokens {
		t.Errorf("%d tokens are kept", len(i.tokens))
	}
}

func TestBadRequestsForTokens(t *testing.T) {
	i, _, _ := newIssuer(t)
	for _, bad := range []string{"", "me", "@", "a@", "@b", "a@b@c", "a b@c", "a@b/c", "a@b\n", "ä@b"} {
		if _, err := i.IDToken(bad, "a"); err == nil {
			t.Errorf("a token for %q", bad)
		}
		if _, err := i.KeyFile(bad); err == nil {
			t.Errorf("a key file for %q", bad)
		}
	}
	if _, err := i.IDToken(account, ""); err == nil {
		t.Error("a token without an audience")
	}
}

func get(t *testing.T, h http.Handler, request *http.Request) *http.Response {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestKeysAreThoseThatSign(t *testing.T) {
	i, _, h := newIssuer(t)
	r := get(t, h, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/oauth2/v3/certs", nil))
	if got := r.Header.Get("Cache-Control"); !strings.Contains(got, "max-age=60") {
		t.Errorf("Cache-Control %q", got)
	}
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal([]byte(body(t, r)), &set); err != nil || len(set.Keys) != 1 {
		t.Fatalf("%v, %v", set, err)
	}
	private, id, err := i.keys.signing.get()
	if err != nil {
		t.Fatal(err)
	}
	modulus, err := base64url().DecodeString(set.Keys[0]["n"])
	if err != nil || string(modulus) != string(private.N.Bytes()) || len(modulus) != 256 {
		t.Errorf("modulus of %d bytes, %v", len(modulus), err)
	}
	delete(set.Keys[0], "n")
	if diff := cmp.Diff(map[string]string{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": id, "e": "AQAB"}, set.Keys[0]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

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
	signing, _, err := i.keys.signing.get()
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
	if err := verify(&private.PublicKey, none, &assertion{}); err == nil || !strings.Contains(err.Error(), "RS256") {
		t.Errorf("%v", err)
	}
}

func TestGenerateIDToken(t *testing.T) {
	i, _, h := newIssuer(t)
	call := func(method, payload string) (int, map[string]any) {
		t.Helper()
		r := get(t, h, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/projects/-/serviceAccounts/"+method, strings.NewReader(payload)))
		var answer map[string]any
		if err := json.Unmarshal([]byte(body(t, r)), &answer); err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, answer
	}
	for payload, email := range map[string]any{
		`{"audience":"https://mailer.test","includeEmail":true,"delegates":[]}`: account,
		`{"audience":"https://mailer.test"}`:                                    nil,
	} {
		code, answer := call(account+":generateIdToken", payload)
		if code != http.StatusOK {
			t.Fatalf("%d %v", code, answer)
		}
		if claims := i.claimsOf(t, answer["token"].(string)); claims["email"] != email || claims["sub"] != subject(account) {
			t.Errorf("%s: claims %v", payload, claims)
		}
	}
	for _, c := range []struct {
		method, payload string
		code            int
	}{
		{account + ":generateIdToken", `{}`, 400},
		{account + ":generateIdToken", `{`, 400},
		{"login:generateIdToken", `{"audience":"a"}`, 400},
		{account + ":signBlob", `{}`, 404},
	} {
		if code, answer := call(c.method, c.payload); code != c.code {
			t.Errorf("%s %s: %d %v", c.method, c.payload, code, answer)
		}
	}
}

func TestMetadataServer(t *testing.T) {
	i, _, h := newIssuer(t)
	ask := func(path string, header http.Header) *http.Response {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, metadataPath+path, nil)
		request.Header = header
		return get(t, h, request)
	}
	flavor := http.Header{"Metadata-Flavor": {"Google"}}
	number := ProjectNumber("shop")
	accounts := "instance/service-accounts/"
	for path, want := range map[string]string{
		"project/project-id":                 "shop",
		"project/numeric-project-id":         number,
		"instance/region":                    "projects/" + number + "/regions/us-central1",
		"instance/zone":                      "projects/" + number + "/zones/us-central1-1",
		accounts:                             "default/\n" + number + "-compute@developer.gserviceaccount.com/\n",
		accounts + "default/email":           number + "-compute@developer.gserviceaccount.com",
		accounts + account + "/email":        account,
		accounts + "default/scopes":          "https://www.googleapis.com/auth/cloud-platform\n",
		"universe/universe-domain":           "googleapis.com",
		accounts + "default/":                "aliases\nemail\nidentity\nscopes\ntoken\n",
		accounts + account + "/?recursive=1": `{"aliases":["default"],"email":"` + account + `","scopes":["https://www.googleapis.com/auth/cloud-platform"]}` + "\n",
	} {
		r := ask(path, flavor)
		if got := body(t, r); r.StatusCode != http.StatusOK || got != want || r.Header.Get("Metadata-Flavor") != "Google" {
			t.Errorf("%s: %d %q, want %q", path, r.StatusCode, got, want)
		}
	}

	identity := accounts + account + "/identity?audience=https%3A%2F%2Fmailer.test"
	standard := i.claimsOf(t, body(t, ask(identity, flavor)))
	full := i.claimsOf(t, body(t, ask(identity+"&format=full", flavor)))
	if standard["email"] != account || standard["aud"] != "https://mailer.test" || standard["google"] != nil {
		t.Errorf("standard: %v", standard)
	}
	if instance, _ := full["google"].(map[string]any)["compute_engine"].(map[string]any); instance["project_number"] != number || full["email"] != account {
		t.Errorf("full: %v", full)
	}
	var access map[string]any
	if err := json.Unmarshal([]byte(body(t, ask(accounts+"default/token", flavor))), &access); err != nil || !strings.HasPrefix(fmt.Sprint(access["access_token"]), "ya29.") {
		t.Errorf("access token: %v, %v", access, err)
	}

	for _, c := range []struct {
		path   string
		header http.Header
		want   int
	}{
		{"project/project-id", nil, 403},
		{"project/project-id", http.Header{"Metadata-Flavor": {"Amazon"}}, 403},
		{"project/project-id", http.Header{"Metadata-Flavor": {"Google"}, "X-Forwarded-For": {"10.0.0.1"}}, 403},
		{"project/nothing", flavor, 404},
		{accounts + "default/identity", flavor, 400},
		{accounts + "nobody/identity?audience=a", flavor, 404},
		{accounts + "nobody/token", flavor, 404},
	} {
		if r := ask(c.path, c.header); r.StatusCode != c.want {
			t.Errorf("%s with %v: %d, want %d", c.path, c.header, r.StatusCode, c.want)
		}
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
