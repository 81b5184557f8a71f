// Package authtest is an issuer of ID tokens for tests: a real key, served as a
// JWKS document on a real socket, and tokens signed with it, which a real
// auth.Verifier accepts.
package authtest

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"waybill.dev/auth"
)

const keyID = "authtest-1"

// Issuer signs ID tokens and serves the key that verifies them.
type Issuer struct {
	key      *rsa.PrivateKey
	document []byte
	server   *httptest.Server // nil: nobody serves the document
}

// New starts an issuer that ends with the test.
func New(t testing.TB) *Issuer {
	t.Helper()
	i := Start()
	t.Cleanup(i.Close)
	return i
}

// Start starts an issuer for an example, which has no testing.TB. Close ends it.
func Start() *Issuer {
	i := Offline()
	i.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "public, max-age=3600")
		_, _ = w.Write(i.document)
	}))
	return i
}

// Offline returns an issuer without a socket, for a test that stops the clock: whoever uses it serves the Document.
func Offline() *Issuer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	document, err := json.Marshal(map[string]any{"keys": []map[string]string{{
		"kty": "RSA", "alg": "RS256", "use": "sig", "kid": keyID,
		"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()),
		"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
	}}})
	if err != nil {
		panic(err)
	}
	return &Issuer{key: key, document: document}
}

// Document is the JWKS document with the key.
func (i *Issuer) Document() []byte { return i.document }

// Close ends the issuer; tokens that were verified before stay so.
func (i *Issuer) Close() { i.server.Close() }

// KeysURL is where the JWKS document is served.
func (i *Issuer) KeysURL() string { return i.server.URL }

// Verifier returns a verifier of this issuer's tokens.
func (i *Issuer) Verifier(t testing.TB, audience string, callers ...string) *auth.Verifier {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	keys, err := auth.NewKeySet(auth.KeySetConfig{URL: i.KeysURL(), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = keys.Close() })
	v, err := auth.NewVerifier(auth.VerifierConfig{Audiences: []string{audience}, Callers: callers, Keys: keys, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Token returns a token of account for audience, valid for an hour from now.
func (i *Issuer) Token(account, audience string) string {
	now := time.Now()
	return i.Sign(map[string]any{
		"iss": "https://accounts.google.com", "aud": audience, "azp": "100000000000000000001", "sub": "100000000000000000001",
		"email": account, "email_verified": true, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	})
}

// Sign returns a token with these claims.
func (i *Issuer) Sign(claims map[string]any) string {
	head, _ := json.Marshal(map[string]string{"alg": "RS256", "kid": keyID, "typ": "JWT"})
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	signed := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(payload)
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, i.key, crypto.SHA256, sum[:])
	if err != nil {
		panic(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// Source is an auth.TokenSource of one account.
func (i *Issuer) Source(account string) auth.TokenSource { return source{i, account} }

type source struct {
	issuer  *Issuer
	account string
}

func (s source) Token(ctx context.Context, audience string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	return s.issuer.Token(s.account, audience), nil
}
