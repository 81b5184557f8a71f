package auth_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"waybill.dev/auth"
)

// FuzzMiddleware: whatever the Authorization header holds, only the one spelling of the one good token reaches the
// handler, every other is answered with a refusal that repeats nothing of it, and the keys are fetched once.
func FuzzMiddleware(f *testing.F) {
	jwks := startKeyServer(key1().jwk(nil))
	f.Cleanup(jwks.Close)
	quiet := slog.New(slog.DiscardHandler)
	frozen := time.Now()
	now := func() time.Time { return frozen } // so that no second fetch is due
	keys, err := auth.NewKeySet(auth.KeySetConfig{URL: jwks.URL, Now: now, Logger: quiet})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = keys.Close() })
	v, err := auth.NewVerifier(auth.VerifierConfig{Audiences: []string{audience}, Callers: []string{login}, Keys: keys, Now: now, Logger: quiet})
	if err != nil {
		f.Fatal(err)
	}
	good := key1().token(nil)
	parts := strings.Split(good, ".")
	for _, s := range []string{
		"", "Bearer", "Bearer ", "Bearer " + good, "bearer  " + good, "Basic " + good, "Bearer " + good + ",", "Bearer " + good + "\n", "Bearer " + withoutSignature(good),
		"Bearer " + parts[0] + "." + parts[1] + ".", "Bearer " + parts[0] + "." + parts[1] + "." + parts[2] + "=", "Bearer ya29.x", "Bearer " + key1().token(object{"email": search}),
		"Bearer " + key2().token(nil), "Bearer " + flipLastBit(good), "Bearer " + b64([]byte("null")) + "." + parts[1] + "." + parts[2], "Bearer " + strings.Repeat("a", 9<<10),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		reached := false
		handler := v.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			id, ok := auth.IdentityFrom(r.Context())
			reached = ok && id.Email == login && id.Assurance == auth.Verified
		}))
		r := httptest.NewRequest(http.MethodPost, "/", http.NoBody)
		r.Header["Authorization"] = []string{value}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)

		scheme, token, _ := strings.Cut(value, " ")
		isGood := strings.EqualFold(scheme, "Bearer") && strings.Trim(token, " ") == good
		if reached != isGood || reached != (w.Code == http.StatusOK) {
			t.Fatalf("reached %v, the good token %v, status %d", reached, isGood, w.Code)
		}
		body, _ := io.ReadAll(w.Result().Body)
		if w.Code != 200 && w.Code != 401 && w.Code != 403 {
			t.Fatalf("status %d %s", w.Code, body)
		}
		if i := strings.LastIndexByte(value, '.'); i >= 0 && len(value)-i > 40 && strings.Contains(string(body), value[i:]) {
			t.Fatalf("the answer repeats the signature: %s", body)
		}
		if n := jwks.fetches.Load(); n > 1 {
			t.Fatalf("%d fetches", n)
		}
	})
}
