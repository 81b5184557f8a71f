package auth_test

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"google.golang.org/api/idtoken"
	"google.golang.org/api/option"

	"waybill.dev/auth"
)

// BenchmarkVerify is one verification of a token that is not remembered, with keys that are, beside what others do
// for the same tokens: idtoken checks the signature and the audience, go-oidc also the issuer and the times, and rsa is
// the signature alone, with a key that is ready. Waybill's cache is there, as in production: two tokens in turn are
// never in a cache of one.
func BenchmarkVerify(b *testing.B) {
	tokens := [2]string{key1().token(nil), key1().token(object{"n": 1})}
	jwks := startKeyServer(key1().jwk(nil))
	b.Cleanup(jwks.Close)
	b.Run("impl=waybill", func(b *testing.B) { benchVerify(b, newWaybillVerify(b, jwks, 1), tokens) })
	b.Run("impl=idtoken", func(b *testing.B) { benchVerify(b, newIDTokenVerify(b, jwks), tokens) })
	b.Run("impl=go-oidc", func(b *testing.B) {
		v := newOIDCVerifier(jwks)
		benchVerify(b, func(ctx context.Context, token string) error { _, err := v.Verify(ctx, token); return err }, tokens)
	})
	b.Run("impl=rsa", func(b *testing.B) {
		public := &key1().PublicKey
		benchVerify(b, func(_ context.Context, token string) error {
			dot := strings.LastIndexByte(token, '.')
			signature, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
			if err != nil {
				return err
			}
			digest := sha256.Sum256([]byte(token[:dot]))
			return rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature)
		}, tokens)
	})
}

// BenchmarkVerifyCached is one verification of a token that Waybill has seen before. idtoken remembers none.
func BenchmarkVerifyCached(b *testing.B) {
	token := key1().token(nil)
	jwks := startKeyServer(key1().jwk(nil))
	b.Cleanup(jwks.Close)
	b.Run("impl=waybill", func(b *testing.B) { benchVerify(b, newWaybillVerify(b, jwks, 0), [2]string{token, token}) })
	b.Run("impl=idtoken", func(b *testing.B) { benchVerify(b, newIDTokenVerify(b, jwks), [2]string{token, token}) })
}

// BenchmarkMintWarm is a token from memory, beside the least that it could cost: reading a pointer and the clock.
func BenchmarkMintWarm(b *testing.B) {
	b.Run("impl=waybill", func(b *testing.B) {
		s := startIssuer()
		b.Cleanup(s.Close)
		s.clock.offset.Store(0)
		m, err := auth.NewMinter(auth.MinterConfig{CredentialsJSON: s.keyFile()})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = m.Close() })
		bench(b, func(ctx context.Context) error { _, err := m.Token(ctx, audience); return err })
	})
	b.Run("impl=atomic", func(b *testing.B) {
		type minted struct {
			token   string
			expires time.Time
		}
		var current atomic.Pointer[minted]
		current.Store(&minted{key1().token(nil), time.Now().Add(time.Hour)})
		bench(b, func(context.Context) error {
			if !time.Now().Before(current.Load().expires) {
				return context.DeadlineExceeded
			}
			return nil
		})
	})
}

// bench repeats f, which must succeed. The first call, which may fetch keys or mint, does not count.
func bench(b *testing.B, f func(context.Context) error) {
	b.Helper()
	ctx := b.Context()
	if err := f(ctx); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := f(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

func benchVerify(b *testing.B, verify func(context.Context, string) error, tokens [2]string) {
	b.Helper()
	n := 0
	bench(b, func(ctx context.Context) error { n++; return verify(ctx, tokens[n%2]) })
}

func newWaybillVerify(b *testing.B, jwks *keyServer, cacheSize int) func(context.Context, string) error {
	v, err := auth.NewVerifier(auth.VerifierConfig{Audiences: []string{audience}, Callers: []string{login}, Keys: keysOf(b, jwks), CacheSize: cacheSize})
	if err != nil {
		b.Fatal(err)
	}
	return func(ctx context.Context, token string) error { _, err := v.Verify(ctx, token); return err }
}

func newIDTokenVerify(b *testing.B, jwks *keyServer) func(context.Context, string) error {
	v, err := idtoken.NewValidator(b.Context(), option.WithHTTPClient(&http.Client{Transport: &elsewhere{to: jwks.URL, base: jwks.Client().Transport}}))
	if err != nil {
		b.Fatal(err)
	}
	return func(ctx context.Context, token string) error { _, err := v.Validate(ctx, token, audience); return err }
}

// newOIDCVerifier is go-oidc's verifier as its documentation sets it up, for the keys of a test.
func newOIDCVerifier(jwks *keyServer) *oidc.IDTokenVerifier {
	ctx := oidc.ClientContext(context.Background(), jwks.Client())
	return oidc.NewVerifier("https://accounts.google.com", oidc.NewRemoteKeySet(ctx, jwks.URL), &oidc.Config{ClientID: audience})
}

// elsewhere sends every request to one address, whatever address it was for.
type elsewhere struct {
	to   string
	base http.RoundTripper
}

func (t *elsewhere) RoundTrip(r *http.Request) (*http.Response, error) {
	to, err := url.Parse(t.to)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Host, r.URL.Scheme, r.URL.Host = "", to.Scheme, to.Host
	return t.base.RoundTrip(r)
}
