package auth_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"waybill.dev/auth"
)

const (
	backend = "/projects/123456/global/backendServices/789"
	person  = "ada@shop.example"
)

// curveKey is an EC key with its ID, as IAP signs with.
type curveKey struct {
	id string
	*ecdsa.PrivateKey
}

func generateCurve(id string, curve elliptic.Curve) func() curveKey {
	return sync.OnceValue(func() curveKey {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			panic(err)
		}
		return curveKey{id, k}
	})
}

var (
	iapKey   = generateCurve("iap-1", elliptic.P256())
	otherIAP = generateCurve("iap-2", elliptic.P256())
	p384     = generateCurve("p-384", elliptic.P384())
)

func (k curveKey) jwk(more object) object {
	point, err := k.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	half := (len(point) - 1) / 2
	m := object{
		"kty": "EC", "use": "sig", "alg": "ES256", "crv": k.Curve.Params().Name, "kid": k.id,
		"x": b64(point[1 : 1+half]), "y": b64(point[1+half:]),
	}
	maps.Copy(m, more)
	return m
}

func (k curveKey) sign(header, payload string) string {
	content := b64([]byte(header)) + "." + b64([]byte(payload))
	digest := sha256.Sum256([]byte(content))
	r, s, err := ecdsa.Sign(rand.Reader, k.PrivateKey, digest[:])
	if err != nil {
		panic(err)
	}
	size := (k.Curve.Params().BitSize + 7) / 8
	return content + "." + b64(append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...))
}

const iapHeader = `{"alg":"ES256","typ":"JWT","kid":"iap-1"}`

// assertion makes a good assertion of IAP's for person, with some claims changed; nil removes one.
// https://cloud.google.com/iap/docs/signed-headers-howto
func (k curveKey) assertion(changes object) string {
	now := time.Now().Unix()
	c := object{
		"iss": "https://cloud.google.com/iap", "aud": backend, "sub": "accounts.google.com:1001", "email": person, "hd": "shop.example",
		"google": object{"access_levels": []string{"x"}}, "iat": now, "exp": now + 600, "email_verified": nil,
	}
	maps.Copy(c, changes)
	return k.sign(marshal(object{"alg": "ES256", "typ": "JWT", "kid": k.id}), claims(with(c, "azp", nil)))
}

// newIAP is a verifier of assertions for person, with its keys.
func newIAP(t *testing.T, change func(*auth.IAPConfig)) (*auth.Verifier, *keyServer) {
	t.Helper()
	jwks := newKeyServer(t, iapKey().jwk(nil), p384().jwk(object{"alg": nil}), otherIAP().jwk(object{"kid": "off-curve", "y": b64(make([]byte, 32))}), key1().jwk(nil))
	c := auth.IAPConfig{Audiences: []string{backend}, Callers: []string{person}, Keys: keysOf(t, jwks), Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&c)
	}
	v, err := auth.NewIAPVerifier(c)
	if err != nil {
		t.Fatal(err)
	}
	return v, jwks
}

func TestIAP(t *testing.T) {
	v, jwks := newIAP(t, nil)
	assertion := iapKey().assertion(nil)
	for range 2 { // the second time from memory
		got, err := v.Verify(t.Context(), assertion)
		if err != nil {
			t.Fatal(err)
		}
		want := auth.Identity{
			Email: person, Subject: "accounts.google.com:1001", Issuer: "https://cloud.google.com/iap", Audience: backend,
			IssuedAt: got.IssuedAt, ExpiresAt: got.IssuedAt.Add(10 * time.Minute), Assurance: auth.Verified,
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}
	if n := jwks.fetches.Load(); n != 1 || auth.CachedTokens(v) != 1 {
		t.Errorf("%d fetches, %d remembered", n, auth.CachedTokens(v))
	}
	anyone, _ := newIAP(t, func(c *auth.IAPConfig) { c.Callers, c.AnyCaller = nil, true })
	stranger := iapKey().assertion(object{"email": "bob@elsewhere.example"})
	_, err := anyone.Verify(t.Context(), stranger)
	wantError(t, err, nil)
	_, err = v.Verify(t.Context(), stranger)
	wantError(t, err, auth.ErrCaller)
	narrow, err := anyone.ForCallers(person)
	if err != nil {
		t.Fatal(err)
	}
	_, err = narrow.Verify(t.Context(), stranger)
	wantError(t, err, auth.ErrCaller)
}

func TestIAPRefusals(t *testing.T) {
	key := iapKey()
	good := key.assertion(nil)
	parts := strings.Split(good, ".")
	now := time.Now().Unix()
	payload := claims(object{"iss": "https://cloud.google.com/iap", "aud": backend, "email": person, "exp": now + 600})
	log := &logBuffer{}
	v, _ := newIAP(t, func(c *auth.IAPConfig) { c.Logger = log.logger() })
	server := httptest.NewServer(v.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := auth.IdentityFrom(r.Context())
		_, _ = io.WriteString(w, id.Email)
	})))
	t.Cleanup(server.Close)
	header := func(values ...string) http.Header { return http.Header{"X-Goog-Iap-Jwt-Assertion": values} }
	for _, c := range []struct {
		name   string
		header http.Header
		status int
		reason error
		says   string
	}{
		{"good", header(good), 200, nil, person},
		{"none", nil, 401, auth.ErrNoToken, "did not come through Identity-Aware Proxy"},
		{"empty", header(""), 401, auth.ErrNoToken, ""},
		{"two", header(good, good), 400, auth.ErrAmbiguousHeader, "X-Goog-Iap-Jwt-Assertion"},
		{"two in one", header(good + ", " + good), 401, auth.ErrMalformed, "comma"},
		{"after Bearer", header("Bearer " + good), 401, auth.ErrMalformed, ""},
		{"in Authorization", http.Header{"Authorization": {"Bearer " + good}}, 401, auth.ErrNoToken, ""},
		{"the unsigned headers", http.Header{"X-Goog-Authenticated-User-Email": {"accounts.google.com:" + person}, "X-Goog-Authenticated-User-Id": {"1001"}}, 401, auth.ErrNoToken, ""},
		{"a service's ID token", header(key1().token(object{"aud": backend})), 401, auth.ErrAlgorithm, "IAP signs its assertions with ES256"},
		{"RS256 with IAP's kid", header(key1().sign(`{"alg":"RS256","kid":"iap-1"}`, payload)), 401, auth.ErrAlgorithm, ""},
		{"ES256 with an RSA kid", header(key.sign(`{"alg":"ES256","kid":"key-1"}`, payload)), 401, auth.ErrUnknownKey, "key-1"},
		{"alg none", header(b64([]byte(`{"alg":"none","kid":"iap-1"}`)) + "." + parts[1] + "."), 401, auth.ErrAlgorithm, "none"},
		{"short signature", header(parts[0] + "." + parts[1] + "." + b64([]byte("short"))), 401, auth.ErrSignature, "64 bytes"},
		{"signature of 31 bytes", header(parts[0] + "." + parts[1] + "." + b64(make([]byte, 31))), 401, auth.ErrSignature, "64 bytes"},
		{"signature of 65 bytes", header(parts[0] + "." + parts[1] + "." + b64(make([]byte, 65))), 401, auth.ErrSignature, "64 bytes"},
		{"signature of zeros", header(parts[0] + "." + parts[1] + "." + b64(make([]byte, 64))), 401, auth.ErrSignature, "forged"},
		{"no signature", header(parts[0] + "." + parts[1] + "."), 401, auth.ErrMalformed, "signature"},
		{"signature removed", header(withoutSignature(good)), 401, auth.ErrSignature, "forged"},
		{"another's signature", header(swapSignature(key.assertion(object{"email": "eve@x.example"}), good)), 401, auth.ErrSignature, ""},
		{"another key under the kid", header(otherIAP().sign(iapHeader, payload)), 401, auth.ErrSignature, ""},
		{"unknown kid", header(otherIAP().assertion(nil)), 401, auth.ErrUnknownKey, "iap-2"},
		{"a key on another curve", header(p384().sign(`{"alg":"ES256","kid":"p-384"}`, payload)), 401, auth.ErrUnknownKey, "p-384"},
		{"a key off the curve", header(otherIAP().sign(`{"alg":"ES256","kid":"off-curve"}`, payload)), 401, auth.ErrUnknownKey, ""},
		{"header null", header(b64([]byte("null")) + "." + parts[1] + "." + parts[2]), 401, auth.ErrMalformed, "header"},
		{"payload null", header(parts[0] + "." + b64([]byte("null")) + "." + parts[2]), 401, auth.ErrMalformed, "payload"},
		{"issuer of ID tokens", header(key.assertion(object{"iss": "https://accounts.google.com"})), 401, auth.ErrIssuer, "https://cloud.google.com/iap"},
		{"another service", header(key.assertion(object{"aud": backend + "0"})), 401, auth.ErrAudience, "IAPConfig.Audiences"},
		{"audience a list", header(key.assertion(object{"aud": []string{backend}})), 401, auth.ErrAudience, ""},
		{"expired", header(key.assertion(object{"iat": now - 700, "exp": now - 100})), 401, auth.ErrExpired, ""},
		{"iat ahead", header(key.assertion(object{"iat": now + 40, "exp": now + 640})), 401, auth.ErrNotYetValid, "30s"},
		{"lives longer", header(key.assertion(object{"iat": now, "exp": now + 661})), 401, auth.ErrLifetime, "11m0s"},
		{"no email", header(key.assertion(object{"email": nil})), 401, auth.ErrEmail, ""},
		{"no sub", header(key.assertion(object{"sub": nil})), 401, auth.ErrMalformed, "sub"},
		{"another person", header(key.assertion(object{"email": "eve@x.example"})), 403, auth.ErrCaller, "IAPConfig.Callers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			r.Header = c.header.Clone()
			res, err := server.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			b, _ := io.ReadAll(res.Body)
			body := string(b)
			if res.StatusCode != c.status || !strings.Contains(body, c.says) || c.reason != nil && !strings.HasPrefix(body, c.reason.Error()) {
				t.Errorf("answered %d %q\nwant %d %v ... %q", res.StatusCode, body, c.status, c.reason, c.says)
			}
		})
	}
	if strings.Contains(log.String(), parts[2]) {
		t.Error("the log holds a signature")
	}
}

func TestIAPConfig(t *testing.T) {
	_, err := auth.NewIAPVerifier(auth.IAPConfig{})
	for _, want := range []string{"Audiences", "AnyCaller"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not report %s", err, want)
		}
	}
	_, err = auth.NewIAPVerifier(auth.IAPConfig{Audiences: []string{"https://mailer.example", "/projects/shop/apps/shop"}, Callers: []string{person}, AnyCaller: true, Skew: -1})
	for _, want := range []string{"https://mailer.example", "/projects/shop/apps/shop", "both", "Skew"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not report %s", err, want)
		}
	}
	for _, good := range []string{backend, "/projects/1/apps/shop", "/projects/1/locations/europe-west1/services/mailer"} {
		for _, caller := range []string{person, "securetoken.google.com/shop/tenant:" + person} {
			if _, err := auth.NewIAPVerifier(auth.IAPConfig{Audiences: []string{good}, Callers: []string{caller}}); err != nil {
				t.Errorf("%s, %s: %v", good, caller, err)
			}
		}
	}
	if _, err := auth.NewIAPVerifier(auth.IAPConfig{Audiences: []string{backend}, Callers: []string{"user:" + person}}); err == nil {
		t.Error("an IAM member was accepted")
	}
}

// FuzzIAP: whatever stands in the header, nothing panics, and only what IAP signed gets in.
func FuzzIAP(f *testing.F) {
	jwks := startKeyServer(iapKey().jwk(nil))
	f.Cleanup(jwks.Close)
	frozen := time.Now()
	keys, err := auth.NewKeySet(auth.KeySetConfig{URL: jwks.URL, Now: func() time.Time { return frozen }, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = keys.Close() })
	v, err := auth.NewIAPVerifier(auth.IAPConfig{Audiences: []string{backend}, AnyCaller: true, Keys: keys, Now: func() time.Time { return frozen }})
	if err != nil {
		f.Fatal(err)
	}
	good := iapKey().assertion(nil)
	content := good[:strings.LastIndexByte(good, '.')]
	for _, s := range []string{
		"", good, content, content + ".", content + "." + b64([]byte("short")), content + "." + b64(make([]byte, 64)), withoutSignature(good),
		key1().token(nil), b64([]byte(iapHeader)) + "." + b64([]byte("null")) + "." + b64(make([]byte, 64)), otherIAP().assertion(nil),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, assertion string) {
		_, err := v.Verify(t.Context(), assertion)
		// An ECDSA signature can be changed into one other that is as good: only the content is IAP's for certain.
		if err == nil && !strings.HasPrefix(assertion, content+".") {
			t.Fatalf("let in: %q", assertion)
		}
		if _, ok := errors.AsType[*auth.Error](err); err != nil && !ok {
			t.Fatalf("%T is not an *auth.Error", err)
		}
	})
}
