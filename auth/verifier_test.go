package auth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"waybill.dev/auth"
)

func wantError(t *testing.T, err, reason error) {
	t.Helper()
	if !errors.Is(err, reason) {
		t.Errorf("error %v, want %v", err, reason)
	}
	if _, ok := errors.AsType[*auth.Error](err); reason != nil && !ok {
		t.Errorf("%T is not an *auth.Error", err)
	}
}

func TestVerify(t *testing.T) {
	w := newWorld(t, nil)
	now := time.Now().Unix()
	token := key1().token(object{"google": object{"compute_engine": object{"zone": "z", "a": []any{1, "}", `"`}}}, "iss": "accounts.google.com", "nbf": now - 5})
	for i := range 2 {
		got, err := w.Verify(t.Context(), token)
		if err != nil {
			t.Fatal(err)
		}
		want := auth.Identity{
			Email: login, Subject: "1001", Issuer: "accounts.google.com", Audience: audience,
			IssuedAt: got.IssuedAt, ExpiresAt: got.IssuedAt.Add(time.Hour), Assurance: auth.Verified,
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("verification %d (-want +got):\n%s", i+1, d)
		}
		if d := time.Since(got.IssuedAt); d < 0 || d > time.Minute {
			t.Errorf("issued %v ago", d)
		}
	}
}

func TestSkew(t *testing.T) {
	w := newWorld(t, func(_ *auth.KeySetConfig, c *auth.VerifierConfig) { c.Skew = 10 * time.Second })
	now := time.Now().Unix()
	_, err := w.Verify(t.Context(), key1().token(object{"iat": now + 5, "nbf": now + 5, "exp": now + 60}))
	wantError(t, err, nil)
	_, err = w.Verify(t.Context(), key1().token(object{"iat": now + 20, "exp": now + 60}))
	wantError(t, err, auth.ErrNotYetValid)
}

func TestForCallers(t *testing.T) {
	w := newWorld(t, nil)
	other, err := w.ForCallers(search)
	if err != nil {
		t.Fatal(err)
	}
	fromLogin, fromSearch := key1().token(nil), key1().token(object{"email": search})
	for range 2 { // the second time from the cache, which both share
		_, err = w.Verify(t.Context(), fromLogin)
		wantError(t, err, nil)
		_, err = other.Verify(t.Context(), fromLogin)
		wantError(t, err, auth.ErrCaller)
		_, err = other.Verify(t.Context(), fromSearch)
		wantError(t, err, nil)
		_, err = w.Verify(t.Context(), fromSearch)
		wantError(t, err, auth.ErrCaller)
	}
	var e *auth.Error
	if errors.As(err, &e); e.Email != search {
		t.Errorf("the error names %q", e.Email)
	}
	if n := w.jwks.fetches.Load(); n != 1 {
		t.Errorf("%d key fetches, want 1: the keys are not shared", n)
	}
	for _, bad := range [][]string{nil, {""}, {"login"}, {"serviceAccount:" + login}, {"*@shop.iam.gserviceaccount.com"}, {"a@b@c"}} {
		if _, err := w.ForCallers(bad...); err == nil {
			t.Errorf("ForCallers(%q) succeeded", bad)
		}
	}
}

func TestVerifierConfig(t *testing.T) {
	_, err := auth.NewVerifier(auth.VerifierConfig{Audiences: []string{" "}, Callers: []string{"allUsers", "user:x@y"}, Skew: -1, MaxLifetime: -1, Issuers: []string{""}})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"Audiences", "allUsers", "user:x@y", "Skew", "MaxLifetime", "Issuers"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not report %s:\n%v", want, err)
		}
	}
	_, err = auth.NewVerifier(auth.VerifierConfig{})
	if err == nil || !strings.Contains(err.Error(), "Audiences") || !strings.Contains(err.Error(), "callers") {
		t.Errorf("the zero configuration: %v", err)
	}
	if _, err := auth.NewVerifier(auth.VerifierConfig{Audiences: []string{audience}, Callers: []string{login}}); err != nil {
		t.Errorf("the least configuration: %v", err)
	}
}

func TestExpiryOfCachedToken(t *testing.T) {
	w := newWorld(t, nil)
	token := key1().token(nil)
	_, err := w.Verify(t.Context(), token)
	wantError(t, err, nil)
	w.clock.advance(59 * time.Minute)
	_, err = w.Verify(t.Context(), token)
	wantError(t, err, nil)
	w.clock.advance(time.Minute + time.Second)
	_, err = w.Verify(t.Context(), token)
	wantError(t, err, auth.ErrExpired)
}

// TestExpiryByWallClock: idtoken looks at exp by the clock of the machine, whatever Now says.
func TestExpiryByWallClock(t *testing.T) {
	w := newWorld(t, nil)
	w.clock.advance(-2 * time.Hour)
	now := time.Now().Unix()
	_, err := w.Verify(t.Context(), key1().token(object{"iat": now - 7200, "exp": now - 3600}))
	wantError(t, err, auth.ErrExpired)
}

func TestRotationPurgesCache(t *testing.T) {
	w := newWorld(t, nil)
	old := key1().token(nil)
	_, err := w.Verify(t.Context(), old)
	wantError(t, err, nil)

	w.jwks.serve(key2().jwk(nil)) // key-1 is withdrawn, key-2 is new
	_, err = w.Verify(t.Context(), key2().token(nil))
	wantError(t, err, auth.ErrUnknownKey) // too early for another fetch
	w.clock.advance(31 * time.Second)
	_, err = w.Verify(t.Context(), key2().token(nil))
	wantError(t, err, nil)
	_, err = w.Verify(t.Context(), old)
	wantError(t, err, auth.ErrUnknownKey)
	if n := auth.CachedTokens(w.Verifier); n != 1 {
		t.Errorf("%d tokens cached, want that of key-2 alone", n)
	}
	if n := w.jwks.fetches.Load(); n != 2 {
		t.Errorf("%d key fetches, want 2", n)
	}

	// The same kid for another key: what was verified with the old one is worth nothing.
	current := key2().token(nil)
	_, err = w.Verify(t.Context(), current)
	wantError(t, err, nil)
	w.jwks.serve(key1().jwk(object{"kid": "key-2"}))
	w.clock.advance(31 * time.Second)
	_, _ = w.Verify(t.Context(), key1().token(nil)) // an unknown kid makes a fetch
	_, err = w.Verify(t.Context(), current)
	wantError(t, err, auth.ErrSignature)
}

// TestCacheHoldsOnlySuccess: what strangers send takes no room, and a token that the platform asserted is never
// taken for one whose signature was checked.
func TestCacheHoldsOnlySuccess(t *testing.T) {
	w := newWorld(t, func(_ *auth.KeySetConfig, c *auth.VerifierConfig) { c.PlatformAsserts = true; c.CacheSize = 3 })
	good := key1().token(nil)
	for _, token := range []string{
		"", "x", key1().token(object{"email": search}), key1().token(object{"aud": "https://other.example"}),
		key2().token(nil), withoutSignature(good), swapSignature(key1().token(object{"x": 1}), good),
	} {
		_, _ = w.Verify(t.Context(), token)
	}
	if n := auth.CachedTokens(w.Verifier); n != 0 {
		t.Errorf("%d tokens cached, want none", n)
	}
	for i := range 5 {
		for range 2 {
			_, err := w.Verify(t.Context(), key1().token(object{"n": i}))
			wantError(t, err, nil)
		}
	}
	if n := auth.CachedTokens(w.Verifier); n != 3 {
		t.Errorf("%d tokens cached, want 3", n)
	}
}

func TestWithoutCache(t *testing.T) {
	w := newWorld(t, func(_ *auth.KeySetConfig, c *auth.VerifierConfig) { c.CacheSize = -1 })
	for range 2 {
		_, err := w.Verify(t.Context(), key1().token(nil))
		wantError(t, err, nil)
	}
}

func TestStatusAndWriteError(t *testing.T) {
	secret := errors.New("dial tcp 10.0.0.7: refused")
	for _, c := range []struct {
		err        error
		status     int
		challenge  string
		retryAfter string
		body       string
	}{
		{&auth.Error{Reason: auth.ErrNoToken, Detail: "d"}, 401, "Bearer", "", "auth: no ID token came with the request: d\n"},
		{&auth.Error{Reason: auth.ErrAmbiguousHeader}, 400, `Bearer error="invalid_request", error_description="more than one header with an ID token"`, "", "auth: more than one header with an ID token\n"},
		{&auth.Error{Reason: auth.ErrCaller}, 403, `Bearer error="insufficient_scope", error_description="the caller is not declared"`, "", "auth: the caller is not declared\n"},
		{&auth.Error{Reason: auth.ErrKeysUnavailable, RetryAfter: 1500 * time.Millisecond, Cause: secret}, 503, "", "2", "auth: the issuer's keys are not available\n"},
		{fmt.Errorf("wrapped: %w", auth.ErrExpired), 401, `Bearer error="invalid_token", error_description="the token has expired"`, "", "auth: the token has expired\n"},
		{secret, 500, "", "", "internal error\n"},
	} {
		w := httptest.NewRecorder()
		auth.WriteError(w, c.err)
		got := []any{w.Code, auth.Status(c.err), w.Header().Get("WWW-Authenticate"), w.Header().Get("Retry-After"), w.Body.String()}
		if d := cmp.Diff([]any{c.status, c.status, c.challenge, c.retryAfter, c.body}, got); d != "" {
			t.Errorf("%v (-want +got):\n%s", c.err, d)
		}
	}
	if auth.Status(nil) != http.StatusOK {
		t.Error("Status(nil) is not 200")
	}
	if e := (&auth.Error{Reason: auth.ErrKeysUnavailable, Cause: secret}); !errors.Is(e, secret) || !strings.Contains(e.Error(), "10.0.0.7") {
		t.Errorf("the log would not see the cause: %v", e)
	}
}

func TestIdentityContext(t *testing.T) {
	if _, ok := auth.IdentityFrom(t.Context()); ok {
		t.Error("an identity from nowhere")
	}
	want := auth.Identity{Email: login, Assurance: auth.PlatformAsserted}
	got, ok := auth.IdentityFrom(auth.ContextWithIdentity(context.Background(), want))
	if !ok || got != want {
		t.Errorf("got %v, %v", got, ok)
	}
	if s := fmt.Sprint(auth.Assurance(0), auth.Verified, auth.PlatformAsserted); s != "none verified platform-asserted" {
		t.Error(s)
	}
}
