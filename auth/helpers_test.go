package auth_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"waybill.dev/auth"
)

// TestMain lets nothing of this machine decide whether there is a metadata server: that is asked once per process.
func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Exit(m.Run()) // looking for a metadata server leaves goroutines behind that are not ours
	}
	_ = os.Setenv("GCE_METADATA_HOST", "127.0.0.1:1")
	goleak.VerifyTestMain(m)
}

const (
	audience = "https://mailer.example"
	login    = "login@shop.iam.gserviceaccount.com"
	search   = "search@shop.iam.gserviceaccount.com"
)

// signingKey is a private key with its ID. Keys are generated once per process.
type signingKey struct {
	id string
	*rsa.PrivateKey
}

func generate(id string, bits int) func() signingKey {
	return sync.OnceValue(func() signingKey {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			panic(err)
		}
		return signingKey{id, k}
	})
}

var (
	key1 = generate("key-1", 2048)
	key2 = generate("key-2", 2048)
	weak = generate("weak", 1024)
)

type object = map[string]any

func (k signingKey) jwk(more object) object {
	m := object{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": k.id,
		"n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes()),
	}
	maps.Copy(m, more)
	return m
}

// sign makes a token of a header and a payload, whatever they hold.
func (k signingKey) sign(header, payload string) string {
	content := b64([]byte(header)) + "." + b64([]byte(payload))
	digest := sha256.Sum256([]byte(content))
	signature, err := rsa.SignPKCS1v15(nil, k.PrivateKey, crypto.SHA256, digest[:])
	if err != nil {
		panic(err)
	}
	return content + "." + b64(signature)
}

// token makes a good token of login's, with some claims changed; nil removes one.
func (k signingKey) token(changes object) string {
	return k.sign(marshal(object{"alg": "RS256", "typ": "JWT", "kid": k.id}), claims(changes))
}

func claims(changes object) string {
	now := time.Now().Unix()
	c := object{
		"iss": "https://accounts.google.com", "aud": audience, "sub": "1001", "azp": "1001",
		"email": login, "email_verified": true, "iat": now, "exp": now + 3600,
	}
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return marshal(c)
}

func marshal(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// keyServer serves a JWKS document over a socket and counts.
type keyServer struct {
	*httptest.Server
	fetches atomic.Int64
	answer  atomic.Pointer[http.HandlerFunc]
}

func newKeyServer(t *testing.T, keys ...object) *keyServer {
	s := startKeyServer(keys...)
	t.Cleanup(s.Close)
	return s
}

func startKeyServer(keys ...object) *keyServer {
	s := &keyServer{}
	s.serve(keys...)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fetches.Add(1)
		(*s.answer.Load())(w, r)
	}))
	return s
}

func (s *keyServer) serve(keys ...object) {
	document := marshal(object{"keys": keys})
	s.handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=3600")
		_, _ = w.Write([]byte(document))
	})
}

func (s *keyServer) handle(h http.HandlerFunc) { s.answer.Store(&h) }

// clock is a time that the test moves.
type clock struct{ offset atomic.Int64 }

func (c *clock) Now() time.Time          { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *clock) advance(d time.Duration) { c.offset.Add(int64(d)) }

// logBuffer collects what is logged.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// world is a verifier of login's calls, its key server and its clock.
type world struct {
	*auth.Verifier
	keys  *auth.KeySet
	jwks  *keyServer
	clock *clock
	log   *logBuffer
}

func newWorld(t *testing.T, change func(*auth.KeySetConfig, *auth.VerifierConfig)) *world {
	t.Helper()
	w := &world{jwks: newKeyServer(t, key1().jwk(nil)), clock: &clock{}, log: &logBuffer{}}
	kc := auth.KeySetConfig{URL: w.jwks.URL, Now: w.clock.Now, Logger: w.log.logger()}
	vc := auth.VerifierConfig{Audiences: []string{audience}, Callers: []string{login}, Now: w.clock.Now, Logger: w.log.logger()}
	if change != nil {
		change(&kc, &vc)
	}
	var err error
	if w.keys, err = auth.NewKeySet(kc); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.keys.Close() })
	vc.Keys = w.keys
	if w.Verifier, err = auth.NewVerifier(vc); err != nil {
		t.Fatal(err)
	}
	return w
}

// keysOf are the keys that jwks serves.
func keysOf(t testing.TB, jwks *keyServer) *auth.KeySet {
	t.Helper()
	keys, err := auth.NewKeySet(auth.KeySetConfig{URL: jwks.URL, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = keys.Close() })
	return keys
}
