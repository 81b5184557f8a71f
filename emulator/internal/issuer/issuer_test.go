package issuer

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
	"unsafe"

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
	var claims map[string]any
	if err := verify(compact, i.keys.find, &claims); err != nil {
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
		i.token(tokenKey{account, fmt.Sprint(k), withEmail}, n.get())
	}
	if len(i.tokens) != maxTokens {
		t.Errorf("%d tokens are kept", len(i.tokens))
	}
}

func TestATokenThatManyNeedIsSignedOnce(t *testing.T) {
	i, _, _ := newIssuer(t)
	var (
		all    sync.WaitGroup
		mu     sync.Mutex
		copies = make(map[*byte]int)
	)
	for range 50 {
		all.Go(func() {
			idToken, err := i.IDToken(account, "a")
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			copies[unsafe.StringData(idToken)]++ // two signatures would be two strings, though equal ones
		})
	}
	all.Wait()
	if len(copies) != 1 {
		t.Errorf("50 callers got %d tokens", len(copies))
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
