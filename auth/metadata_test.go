package auth_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"waybill.dev/auth"
)

// onMetadataServer is a minter of what the metadata server has.
func (s *issuer) onMetadataServer(t *testing.T) *auth.Minter {
	clean(t)
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(s.URL, "http://"))
	return s.minter(t, func(c *auth.MinterConfig) { c.CredentialsJSON = nil })
}

func TestMintWithMetadataServer(t *testing.T) {
	s := newIssuer(t)
	m := s.onMetadataServer(t)
	if got := audienceOf(t, mint(t, m, audience)); got != audience {
		t.Error(got)
	}
	if n := s.asked.Load(); n != 1 {
		t.Errorf("asked %d times, want 1", n)
	}
}

func TestMetadataServerAnswers(t *testing.T) {
	status := func(code int) func(*issuer, http.ResponseWriter) {
		return func(_ *issuer, w http.ResponseWriter) { w.WriteHeader(code); _, _ = io.WriteString(w, "SECRET") }
	}
	body := func(text string) func(*issuer, http.ResponseWriter) {
		return func(_ *issuer, w http.ResponseWriter) { _, _ = io.WriteString(w, text) }
	}
	for name, c := range map[string]struct {
		answer func(*issuer, http.ResponseWriter)
		reason error
		says   string
		asked  int64
	}{
		"404":   {status(http.StatusNotFound), auth.ErrMintRefused, "attach a service account", 1},
		"403":   {status(http.StatusForbidden), auth.ErrMintRefused, "check the service account", 1},
		"429":   {status(http.StatusTooManyRequests), auth.ErrMintUnavailable, "answered 429: try again", 6}, // metadata's own repeats
		"HTML":  {body("<html>SECRET"), auth.ErrMintedToken, "", 1},
		"empty": {body(""), auth.ErrMintUnavailable, "holds no token", 1},
		"another audience": {
			func(s *issuer, w http.ResponseWriter) { _, _ = io.WriteString(w, s.tokens("https://other.example")) },
			auth.ErrMintedToken, "it is for \"https://other.example\"", 1,
		},
		"expired": {
			func(_ *issuer, w http.ResponseWriter) {
				_, _ = io.WriteString(w, key1().token(object{"aud": audience}))
			}, // by the test's clock, hours ahead
			auth.ErrMintedToken, "set the clock", 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newIssuer(t)
			m := s.onMetadataServer(t)
			s.trouble(func(w http.ResponseWriter) bool { c.answer(s, w); return true })
			_, err := m.Token(t.Context(), audience)
			wantMintError(t, err, c.reason, c.says)
			if strings.Contains(err.Error(), "SECRET") {
				t.Errorf("the error quotes the answer: %v", err)
			}
			if n := s.asked.Load(); n != c.asked {
				t.Errorf("asked %d times, want %d", n, c.asked)
			}
		})
	}
}

// TestSlowMetadataServer: one request, however many wait for it, and whoever cannot wait need not.
func TestSlowMetadataServer(t *testing.T) {
	s := newIssuer(t)
	m := s.onMetadataServer(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	s.trouble(func(http.ResponseWriter) bool { close(arrived); <-release; return false })

	ctx, cancel := context.WithCancel(t.Context())
	impatient := make(chan error)
	go func() { _, err := m.Token(ctx, audience); impatient <- err }()
	<-arrived
	cancel()
	wantMintError(t, <-impatient, auth.ErrMintUnavailable, "context ended")

	tokens := make(chan string, 1000)
	for range cap(tokens) {
		go func() {
			token, err := m.Token(t.Context(), audience)
			if err != nil {
				t.Error(err)
			}
			tokens <- token
		}()
	}
	close(release)
	first := <-tokens
	for range cap(tokens) - 1 {
		if token := <-tokens; token != first {
			t.Fatal("another token")
		}
	}
	if n := s.asked.Load(); n != 1 {
		t.Errorf("asked %d times, want 1", n)
	}
}
