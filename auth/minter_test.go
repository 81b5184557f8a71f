package auth_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waybill.dev/auth"
)

var accountKey = sync.OnceValue(func() string {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
})

// issuer is a token endpoint and a metadata server over a socket. It counts the tokens that it is asked for.
type issuer struct {
	*httptest.Server
	clock  clock
	asked  atomic.Int64
	sent   atomic.Int64                                          // what left its minters
	tokens func(audience string) string                          // what it mints; default: good tokens
	answer atomic.Pointer[func(http.ResponseWriter) (done bool)] // trouble, before it mints
}

func newIssuer(t *testing.T) *issuer {
	s := startIssuer()
	t.Cleanup(s.Close)
	return s
}

func startIssuer() *issuer {
	s := &issuer{}
	s.clock.advance(10 * time.Hour) // so that a test may set the clock back without minting what is expired by the wall clock
	s.tokens = func(audience string) string {
		now := s.clock.Now().Unix()
		return key1().token(object{"aud": audience, "iat": now, "exp": now + 3600, "n": s.asked.Load()})
	}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	return s
}

// RoundTrip counts a request before anything can cut it short.
func (s *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	s.sent.Add(1)
	return s.Client().Transport.RoundTrip(r)
}

func (s *issuer) trouble(f func(http.ResponseWriter) bool) { s.answer.Store(&f) }

func (s *issuer) serve(w http.ResponseWriter, r *http.Request) {
	const metadata = "/computeMetadata/v1/"
	identity := r.URL.Path == metadata+"instance/service-accounts/default/identity"
	if strings.HasPrefix(r.URL.Path, metadata) && !identity {
		_, _ = io.WriteString(w, "shop") // the project
		return
	}
	s.asked.Add(1)
	if f := s.answer.Load(); f != nil && (*f)(w) {
		return
	}
	if identity {
		if r.Header.Get("Metadata-Flavor") != "Google" || r.URL.Query().Get("format") != "full" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, s.tokens(r.URL.Query().Get("audience")))
		return
	}
	// RFC 7523: the assertion names the audience that the ID token is to have.
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(r.FormValue("assertion"), ".")[1])
	var assertion struct {
		Target string `json:"target_audience"`
	}
	if err != nil || json.Unmarshal(payload, &assertion) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, marshal(object{"id_token": s.tokens(assertion.Target)}))
}

func (s *issuer) keyFile() []byte {
	return []byte(marshal(object{
		"type": "service_account", "project_id": "shop", "private_key_id": "k", "private_key": accountKey(),
		"client_email": login, "client_id": "1001", "token_uri": s.URL + "/token",
	}))
}

func (s *issuer) minter(t *testing.T, change func(*auth.MinterConfig)) *auth.Minter {
	t.Helper()
	c := auth.MinterConfig{CredentialsJSON: s.keyFile(), Now: s.clock.Now, HTTPClient: &http.Client{Transport: s}}
	if change != nil {
		change(&c)
	}
	m, err := auth.NewMinter(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func mint(t *testing.T, m *auth.Minter, audience string) string {
	t.Helper()
	token, err := m.Token(t.Context(), audience)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// audienceOf reads a token's aud.
func audienceOf(t *testing.T, token string) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	var c struct{ Aud string }
	if err != nil || json.Unmarshal(b, &c) != nil {
		t.Fatalf("not a token: %s", b)
	}
	return c.Aud
}

// clean removes what the machine's own environment has to say about credentials.
func clean(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	t.Setenv("HOME", t.TempDir())
	t.Setenv("APPDATA", t.TempDir())
}

func TestMintWithKeyFile(t *testing.T) {
	s := newIssuer(t)
	file := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(file, s.keyFile(), 0o600); err != nil {
		t.Fatal(err)
	}
	clean(t)
	for name, change := range map[string]func(*auth.MinterConfig){
		"JSON":                           nil,
		"file":                           func(c *auth.MinterConfig) { c.CredentialsJSON, c.CredentialsFile = nil, file },
		"GOOGLE_APPLICATION_CREDENTIALS": func(c *auth.MinterConfig) { c.CredentialsJSON = nil; t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file) },
	} {
		t.Run(name, func(t *testing.T) {
			before := s.asked.Load()
			m := s.minter(t, change)
			first := mint(t, m, "https://a.example")
			if again := mint(t, m, "https://a.example"); again != first {
				t.Error("a second token while the first is fresh")
			}
			second := mint(t, m, "https://b.example")
			if a, b := audienceOf(t, first), audienceOf(t, second); a != "https://a.example" || b != "https://b.example" {
				t.Errorf("audiences %s, %s", a, b)
			}
			if n := s.asked.Load() - before; n != 2 {
				t.Errorf("asked %d times, want 2", n)
			}
		})
	}
}

func wantMintError(t *testing.T, err, reason error, says string) {
	t.Helper()
	if _, ok := errors.AsType[*auth.MintError](err); !ok || !errors.Is(err, reason) || !strings.Contains(err.Error(), says) {
		t.Errorf("error %v, want %v ... %s", err, reason, says)
	}
}

// TestEarlyRefresh walks through the life of a token, and of the next.
func TestEarlyRefresh(t *testing.T) {
	s := newIssuer(t)
	m := s.minter(t, nil)
	first := mint(t, m, audience)
	s.clock.advance(55*time.Minute - 2*time.Second)
	if mint(t, m, audience) != first || s.asked.Load() != 1 {
		t.Error("refreshed before the last five minutes")
	}
	arrived, release := make(chan struct{}), make(chan struct{})
	s.trouble(func(http.ResponseWriter) bool { close(arrived); <-release; return false })
	s.clock.advance(3 * time.Second)
	for range 10 {
		if mint(t, m, audience) != first {
			t.Error("waited for the refresh, or got another token")
		}
	}
	<-arrived
	s.clock.advance(6 * time.Minute) // now the first has expired and the refresh must be waited for
	got := make(chan string)
	go func() { token, _ := m.Token(t.Context(), audience); got <- token }()
	close(release)
	if second := <-got; second == first || second == "" {
		t.Errorf("got %q after the refresh", second)
	}
	if n := s.asked.Load(); n != 2 {
		t.Errorf("asked %d times, want 2", n)
	}
}

func TestFailedRefreshKeepsToken(t *testing.T) {
	s := newIssuer(t)
	log := &logBuffer{}
	m := s.minter(t, func(c *auth.MinterConfig) { c.Logger = log.logger() })
	first := mint(t, m, audience)
	s.trouble(func(w http.ResponseWriter) bool { w.WriteHeader(http.StatusInternalServerError); return true })
	s.clock.advance(55*time.Minute + time.Second)
	for range 29 {
		if mint(t, m, audience) != first {
			t.Fatal("another token")
		}
		s.clock.advance(10 * time.Second)
	}
	s.clock.advance(10 * time.Second)
	_, err := m.Token(t.Context(), audience)
	wantMintError(t, err, auth.ErrMintUnavailable, "500")
	if n := s.asked.Load(); n < 2 || n > 32 {
		t.Errorf("asked %d times, want at most once in 10 s", n)
	}
	if !strings.Contains(log.String(), "the old one serves on") {
		t.Errorf("the log does not tell: %s", log)
	}
	s.trouble(func(http.ResponseWriter) bool { return false })
	s.clock.advance(2 * time.Second)
	if mint(t, m, audience) == first {
		t.Error("the expired token")
	}
}

func TestFailuresPause(t *testing.T) {
	s := newIssuer(t)
	s.trouble(func(w http.ResponseWriter) bool { w.WriteHeader(http.StatusServiceUnavailable); return true })
	// A clock that stands still: the second and later callers get the first one's failure.
	frozen := s.clock.Now()
	m := s.minter(t, func(c *auth.MinterConfig) { c.Now = func() time.Time { return frozen } })
	for range 100 {
		_, err := m.Token(t.Context(), audience)
		wantMintError(t, err, auth.ErrMintUnavailable, "503")
	}
	if n := s.asked.Load(); n != 1 {
		t.Errorf("asked %d times within one second, want 1", n)
	}
}

func TestConcurrentCallersMintOnce(t *testing.T) {
	s := newIssuer(t)
	m := s.minter(t, nil)
	var wait sync.WaitGroup
	for range 1000 {
		wait.Go(func() {
			if _, err := m.Token(t.Context(), audience); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if n := s.asked.Load(); n != 1 {
		t.Errorf("asked %d times, want 1", n)
	}
}

func TestImpatientCaller(t *testing.T) {
	s := newIssuer(t)
	m := s.minter(t, nil)
	arrived, release := make(chan struct{}), make(chan struct{})
	s.trouble(func(http.ResponseWriter) bool { close(arrived); <-release; return false })
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() { _, err := m.Token(ctx, audience); failed <- err }()
	<-arrived
	cancel()
	err := <-failed
	wantMintError(t, err, auth.ErrMintUnavailable, "context")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v does not wrap the context's error", err)
	}
	close(release)
	mint(t, m, audience)
	if n := s.asked.Load(); n != 1 {
		t.Errorf("asked %d times, want 1: the flight ended with the caller", n)
	}
}

func TestClockJumps(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			s := newIssuer(t)
			m := s.minter(t, nil)
			first := mint(t, m, audience)
			s.clock.advance(jump)
			for mint(t, m, audience) == first { // after a jump back it serves on while another is on its way
				runtime.Gosched()
			}
			if n := s.asked.Load(); n != 2 {
				t.Errorf("asked %d times, want 2", n)
			}
		})
	}
}

func TestShortLivedTokens(t *testing.T) {
	s := newIssuer(t)
	s.tokens = func(audience string) string {
		now := s.clock.Now().Unix()
		return key1().token(object{"aud": audience, "iat": now, "exp": now + 120, "n": s.asked.Load()})
	}
	m := s.minter(t, nil)
	first := mint(t, m, audience)
	s.clock.advance(58 * time.Second)
	if mint(t, m, audience) != first {
		t.Error("another token in the first half of its life")
	}
	if _ = m.Close(); s.sent.Load() != 1 {
		t.Error("refreshed in the first half of its life")
	}
}

func TestUnusableTokens(t *testing.T) {
	for name, c := range map[string]struct {
		changes object
		says    string
	}{
		"another audience": {object{"aud": "https://other.example"}, "https://other.example"},
		"no email":         {object{"aud": audience, "email": nil}, "email"},
		"no exp":           {object{"aud": audience, "exp": nil}, "exp"},
		"expired":          {object{"aud": audience}, "set the clock"}, // by the test's clock, hours ahead
	} {
		t.Run(name, func(t *testing.T) {
			s := newIssuer(t)
			token := key1().token(c.changes)
			s.tokens = func(string) string { return token }
			_, err := s.minter(t, nil).Token(t.Context(), audience)
			wantMintError(t, err, auth.ErrMintedToken, c.says)
			if strings.Contains(fmt.Sprint(err), token[len(token)-40:]) {
				t.Error("the error holds the token")
			}
		})
	}
}

func TestTokenEndpointAnswers(t *testing.T) {
	for status, c := range map[int]struct {
		reason error
		says   string
	}{
		400: {auth.ErrMintRefused, "invalid_grant"},
		403: {auth.ErrMintRefused, "403"},
		404: {auth.ErrMintRefused, "404"},
		429: {auth.ErrMintUnavailable, "try again"},
		500: {auth.ErrMintUnavailable, "try again"},
		200: {auth.ErrMintUnavailable, "JWT"},
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			s := newIssuer(t)
			s.trouble(func(w http.ResponseWriter) bool {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(status)
				_, _ = io.WriteString(w, `{"error":"invalid_grant","error_description":"account not found","access_token":"SECRET"}`)
				return true
			})
			_, err := s.minter(t, nil).Token(t.Context(), audience)
			wantMintError(t, err, c.reason, c.says)
			if strings.Contains(err.Error(), "SECRET") {
				t.Errorf("the error quotes the answer: %v", err)
			}
		})
	}
	t.Run("down", func(t *testing.T) {
		s := newIssuer(t)
		m := s.minter(t, nil)
		s.Close()
		_, err := m.Token(t.Context(), audience)
		wantMintError(t, err, auth.ErrMintUnavailable, "refused")
	})
}

func TestAudienceLimit(t *testing.T) {
	s := newIssuer(t)
	m := s.minter(t, func(c *auth.MinterConfig) { c.MaxAudiences = 2 })
	mint(t, m, "https://a.example")
	mint(t, m, "https://b.example")
	_, err := m.Token(t.Context(), "https://c.example")
	wantMintError(t, err, auth.ErrNoAudience, "MaxAudiences")
	mint(t, m, "https://a.example")
	s.clock.advance(2 * time.Hour)
	mint(t, m, "https://c.example")
	_, err = m.Token(t.Context(), "")
	wantMintError(t, err, auth.ErrNoAudience, "")
}

func TestMinterClose(t *testing.T) {
	s := newIssuer(t)
	m := s.minter(t, nil)
	warm := mint(t, m, audience)
	arrived, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	s.trouble(func(http.ResponseWriter) bool { close(arrived); <-release; return true })
	failed := make(chan error)
	go func() { _, err := m.Token(context.Background(), "https://slow.example"); failed <- err }()
	<-arrived
	for range 2 {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	wantMintError(t, <-failed, auth.ErrMintUnavailable, "canceled")
	_, err := m.Token(t.Context(), "https://new.example")
	wantMintError(t, err, auth.ErrMintUnavailable, "closed")
	if mint(t, m, audience) != warm {
		t.Error("what is in memory is lost")
	}
}

func TestWarmMintAllocatesNothing(t *testing.T) {
	s := newIssuer(t)
	m := s.minter(t, func(c *auth.MinterConfig) { c.Now = nil })
	ctx := t.Context()
	mint(t, m, audience)
	if n := testing.AllocsPerRun(1000, func() { _, _ = m.Token(ctx, audience) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

const childVariable = "WAYBILL_AUTH_TEST_CHILD"
