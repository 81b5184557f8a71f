package auth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"waybill.dev/auth"
)

func TestColdVerificationsFetchOnce(t *testing.T) {
	w := newWorld(t, nil)
	token := key1().token(nil)
	var wait sync.WaitGroup
	for range 1000 {
		wait.Go(func() {
			if _, err := w.Verify(t.Context(), token); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if n := w.jwks.fetches.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

func TestFloodOfUnknownKeys(t *testing.T) {
	w := newWorld(t, nil)
	_, err := w.Verify(t.Context(), key1().token(nil))
	wantError(t, err, nil)
	signature := key1().token(nil)
	for i := range 10_000 {
		w.clock.advance(3 * time.Millisecond) // 30 s in all
		token := swapSignature(unsigned(fmt.Sprintf(`{"alg":"RS256","kid":"unknown-%d"}`, i), nil), signature)
		if _, err := w.Verify(t.Context(), token); !errors.Is(err, auth.ErrUnknownKey) {
			t.Fatal(err)
		}
	}
	if n := w.jwks.fetches.Load(); n > 2 {
		t.Errorf("%d fetches in 30 s, want at most the first and one more", n)
	}
	for range 10 {
		w.clock.advance(30 * time.Second)
		for range 10 {
			_, err = w.Verify(t.Context(), key2().token(nil))
			wantError(t, err, auth.ErrUnknownKey)
		}
	}
	if n := w.jwks.fetches.Load(); n < 11 || n > 12 {
		t.Errorf("%d fetches after 5 more minutes, want one each 30 s", n)
	}
}

func TestFloodOfBadSignatures(t *testing.T) {
	w := newWorld(t, nil)
	_, err := w.Verify(t.Context(), key1().token(nil))
	wantError(t, err, nil)
	forged := swapSignature(unsigned(header1, nil), key1().token(object{"x": 1}))
	for range 1000 {
		w.clock.advance(time.Second)
		if _, err := w.Verify(t.Context(), forged); !errors.Is(err, auth.ErrSignature) {
			t.Fatal(err)
		}
	}
	if n := w.jwks.fetches.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

// TestEndpointTrouble breaks the key endpoint in every way: cold, that is 503; warm, nobody notices for hours.
func TestEndpointTrouble(t *testing.T) {
	elsewhere := newKeyServer(t, key1().jwk(nil))
	for name, trouble := range map[string]http.HandlerFunc{
		"500":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"404":     http.NotFound,
		"HTML":    func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>sign in</html>") },
		"no keys": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"keys":[]}`) },
		"null":    func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `null`) },
		"endless": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, endless{}) },
		"huge": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, marshal(object{"keys": []object{key1().jwk(nil)}})+strings.Repeat(" ", 1<<20))
		},
		"redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) },
		"cut short": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"keys":`)
		},
		"hangs up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"partial 206": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusPartialContent)
			_, _ = io.WriteString(w, marshal(object{"keys": []object{key1().jwk(nil)}}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			// An hour, so that it is the bound on the size that ends the endless answer.
			w := newWorld(t, func(k *auth.KeySetConfig, _ *auth.VerifierConfig) { k.FetchTimeout = time.Hour })
			good := w.jwks.answer.Load()
			w.jwks.handle(trouble)
			fresh := func() string {
				now := w.clock.Now().Unix()
				return key1().token(object{"iat": now, "exp": now + 3600})
			}
			res, body := serve(t, w).get(t, fresh())
			if strings.Contains(body, w.jwks.URL) || !strings.Contains(w.log.String(), w.jwks.URL) {
				t.Errorf("the cause belongs into the log and not into the answer:\n%s%s", body, w.log)
			}
			if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") != "1" || res.Header.Get("WWW-Authenticate") != "" {
				t.Errorf("cold: answered %v %v", res.Status, res.Header)
			}

			w.clock.advance(time.Second)
			w.jwks.answer.Store(good)
			_, err := w.Verify(t.Context(), fresh())
			wantError(t, err, nil)

			w.jwks.handle(trouble)
			for range 6 {
				w.clock.advance(time.Hour)
				_, err = w.Verify(t.Context(), fresh())
				wantError(t, err, nil)
			}
			w.clock.advance(2 * time.Hour) // an hour fresh and six stale are over
			_, err = w.Verify(t.Context(), fresh())
			wantError(t, err, auth.ErrKeysUnavailable)
		})
	}
	if n := elsewhere.fetches.Load(); n != 0 {
		t.Errorf("a redirect was followed %d times", n)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, strings.Repeat(" ", len(p))), nil }

func TestSlowEndpoint(t *testing.T) {
	w := newWorld(t, nil)
	_, err := w.Verify(t.Context(), key1().token(nil))
	wantError(t, err, nil)

	asked, release := make(chan struct{}), make(chan struct{})
	w.jwks.handle(func(rw http.ResponseWriter, _ *http.Request) {
		close(asked)
		<-release
		_, _ = io.WriteString(rw, marshal(object{"keys": []object{key1().jwk(nil), key2().jwk(nil)}}))
	})
	w.clock.advance(61 * time.Minute)
	now := w.clock.Now().Unix()
	times := object{"iat": now, "exp": now + 3600}
	for range 10 { // starts a refresh and does not wait for it
		_, err = w.Verify(t.Context(), key1().token(times))
		wantError(t, err, nil)
	}
	<-asked

	ctx, cancel := context.WithCancel(t.Context())
	impatient := make(chan error)
	go func() {
		_, err := w.Verify(ctx, key2().token(times))
		impatient <- err
	}()
	patient := make(chan error)
	go func() {
		_, err := w.Verify(t.Context(), key2().token(times))
		patient <- err
	}()
	cancel()
	err = <-impatient
	wantError(t, err, auth.ErrKeysUnavailable)
	wantError(t, err, context.Canceled)
	close(release)
	wantError(t, <-patient, nil) // the fetch outlived who gave up
	if n := w.jwks.fetches.Load(); n != 2 {
		t.Errorf("%d fetches, want 2", n)
	}
}

func TestFetchTimeout(t *testing.T) {
	w := newWorld(t, func(k *auth.KeySetConfig, _ *auth.VerifierConfig) { k.FetchTimeout = time.Millisecond })
	w.jwks.handle(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	_, err := w.Verify(t.Context(), key1().token(nil))
	wantError(t, err, auth.ErrKeysUnavailable)
	wantError(t, err, context.DeadlineExceeded)
}

func TestCacheControl(t *testing.T) {
	for _, c := range []struct {
		header http.Header
		fresh  time.Duration
	}{
		{http.Header{}, 5 * time.Minute},
		{http.Header{"Cache-Control": {"no-store"}}, 5 * time.Minute},
		{http.Header{"Cache-Control": {"max-age=0"}}, 5 * time.Minute},
		{http.Header{"Cache-Control": {"public, max-age=7200, must-revalidate"}}, 2 * time.Hour},
		{http.Header{"Cache-Control": {"max-age=7200"}, "Age": {"3600"}}, time.Hour},
		{http.Header{"Cache-Control": {"max-age=x"}}, 5 * time.Minute},
		{http.Header{"Cache-Control": {"max-age=99999999999999999"}}, 24 * time.Hour},
		{http.Header{"Cache-Control": {"max-age=31536000"}}, 24 * time.Hour},
	} {
		t.Run(fmt.Sprint(c.header), func(t *testing.T) {
			w := newWorld(t, nil)
			fetched := make(chan struct{}, 1)
			w.jwks.handle(func(rw http.ResponseWriter, _ *http.Request) {
				maps.Copy(rw.Header(), c.header)
				_, _ = io.WriteString(rw, marshal(object{"keys": []object{key1().jwk(nil)}}))
				fetched <- struct{}{}
			})
			verify := func() {
				now := w.clock.Now().Unix()
				_, err := w.Verify(t.Context(), key1().token(object{"iat": now, "exp": now + 3600}))
				wantError(t, err, nil)
			}
			verify()
			<-fetched
			w.clock.advance(c.fresh - 2*time.Second)
			verify()
			if n := w.jwks.fetches.Load(); n != 1 {
				t.Fatalf("fetched again before %v", c.fresh)
			}
			w.clock.advance(3 * time.Second)
			verify()
			<-fetched
		})
	}
}

func TestColdRetriesSlowDown(t *testing.T) {
	w := newWorld(t, nil)
	w.jwks.handle(http.NotFound)
	for range 300 {
		w.clock.advance(time.Second)
		now := w.clock.Now().Unix()
		_, err := w.Verify(t.Context(), key1().token(object{"iat": now, "exp": now + 3600}))
		wantError(t, err, auth.ErrKeysUnavailable)
	}
	if n := w.jwks.fetches.Load(); n < 10 || n > 16 { // after 1, 2, 4, 8, 16 and then each 30 s
		t.Errorf("%d fetches in 300 s", n)
	}
}

func TestClockSetBack(t *testing.T) {
	w := newWorld(t, nil)
	w.clock.advance(time.Hour)
	now := w.clock.Now().Unix()
	_, err := w.Verify(t.Context(), key1().token(object{"iat": now, "exp": now + 3600}))
	wantError(t, err, nil)
	w.jwks.serve(key2().jwk(nil))
	w.clock.advance(-time.Hour)
	_, err = w.Verify(t.Context(), key2().token(nil))
	wantError(t, err, nil)
}

func TestKeySetClose(t *testing.T) {
	w := newWorld(t, nil)
	asked := make(chan struct{})
	w.jwks.handle(func(_ http.ResponseWriter, r *http.Request) { close(asked); <-r.Context().Done() })
	failed := make(chan error)
	go func() {
		_, err := w.Verify(context.Background(), key1().token(nil))
		failed <- err
	}()
	<-asked
	for range 2 {
		if err := w.keys.Close(); err != nil {
			t.Error(err)
		}
	}
	wantError(t, <-failed, auth.ErrKeysUnavailable)
	w.clock.advance(time.Minute)
	_, err := w.Verify(t.Context(), key1().token(nil))
	wantError(t, err, auth.ErrKeysUnavailable)
	if n := w.jwks.fetches.Load(); n != 1 {
		t.Errorf("%d fetches, want none after Close", n)
	}
}

func TestKnownKeysServeAfterClose(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 2 {
		_, err := w.Verify(t.Context(), key1().token(object{"n": i}))
		wantError(t, err, nil)
		if err := w.keys.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestKeySetConfig(t *testing.T) {
	for _, good := range []string{"", "https://issuer.example/keys", "http://127.0.0.1:1/k", "http://localhost/k", "http://[::1]:9/k"} {
		if _, err := auth.NewKeySet(auth.KeySetConfig{URL: good}); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"http://issuer.example/keys", "http://10.0.0.1/", "ftp://x/", "/keys", "https://u:p@x/", "http://localhost.evil.example/", "http://127.0.0.1.evil.example/"} {
		if _, err := auth.NewKeySet(auth.KeySetConfig{URL: bad}); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	if _, err := auth.NewKeySet(auth.KeySetConfig{URL: "http://emulator:8085/keys", AllowHTTP: true}); err != nil {
		t.Error(err)
	}
	_, err := auth.NewKeySet(auth.KeySetConfig{URL: "ftp://x/", FetchTimeout: -1, MinInterval: -1, MaxStale: -1})
	for _, want := range []string{"URL", "FetchTimeout", "MinInterval", "MaxStale"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not report %s", err, want)
		}
	}
}
