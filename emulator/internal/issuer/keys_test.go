package issuer

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKeysAreThoseThatSign(t *testing.T) {
	i, _, h := newIssuer(t)
	r := get(t, h, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/oauth2/v3/certs", nil))
	if got := r.Header.Get("Cache-Control"); !strings.Contains(got, "max-age=60") {
		t.Errorf("Cache-Control %q", got)
	}
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal([]byte(body(t, r)), &set); err != nil || len(set.Keys) != 1 {
		t.Fatalf("%v, %v", set, err)
	}
	private, id, err := i.keys.newest().get()
	if err != nil {
		t.Fatal(err)
	}
	modulus, err := base64url().DecodeString(set.Keys[0]["n"])
	if err != nil || string(modulus) != string(private.N.Bytes()) || len(modulus) != 256 {
		t.Errorf("modulus of %d bytes, %v", len(modulus), err)
	}
	delete(set.Keys[0], "n")
	if diff := cmp.Diff(map[string]string{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": id, "e": "AQAB"}, set.Keys[0]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// published asks for the key ids as a receiver does.
func published(t *testing.T, h http.Handler) []string {
	t.Helper()
	var set struct{ Keys []struct{ Kid string } }
	r := get(t, h, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/oauth2/v3/certs", nil))
	if err := json.Unmarshal([]byte(body(t, r)), &set); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, k := range set.Keys {
		ids = append(ids, k.Kid)
	}
	return ids
}

func keyOf(t *testing.T, compact string) string {
	t.Helper()
	var h header
	first, _, _ := strings.Cut(compact, ".")
	if err := decodeSegment(first, &h); err != nil {
		t.Fatal(err)
	}
	return h.KeyID
}

func TestRotation(t *testing.T) {
	i, _, h := newIssuer(t)
	mint := func() string {
		t.Helper()
		idToken, err := i.IDToken(account, "a")
		if err != nil {
			t.Fatal(err)
		}
		return idToken
	}
	rotate := func(withdraw bool) string {
		t.Helper()
		id, err := i.RotateKeys(withdraw)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	valid := func(compact string) bool {
		_, err := i.VerifyIDToken(compact, "a")
		return err == nil
	}

	first := mint()
	file := keyFileOf(t, i)
	second := rotate(false)
	if diff := cmp.Diff([]string{second, keyOf(t, first)}, published(t, h)); diff != "" {
		t.Errorf("after a rotation (-want +got):\n%s", diff)
	}
	fresh := mint()
	if keyOf(t, fresh) != second || !valid(first) || !valid(fresh) {
		t.Errorf("a token by %s, of two valid ones: %v, %v", keyOf(t, fresh), valid(first), valid(fresh))
	}
	third := rotate(false)
	if diff := cmp.Diff([]string{third, second}, published(t, h)); diff != "" {
		t.Errorf("after a second rotation (-want +got):\n%s", diff)
	}
	if valid(first) || !valid(fresh) {
		t.Errorf("valid: a token of two rotations ago %v, of one %v", valid(first), valid(fresh))
	}
	fourth := rotate(true)
	if diff := cmp.Diff([]string{fourth}, published(t, h)); diff != "" {
		t.Errorf("after a withdrawal (-want +got):\n%s", diff)
	}
	if valid(fresh) || keyOf(t, mint()) != fourth {
		t.Error("a withdrawn key is still good, or still signs")
	}
	if keyFileOf(t, i) != file {
		t.Error("a key file has changed")
	}
}

// A token that was being signed while the keys changed is not handed out a second time.
func TestATokenOfAnOldKeyIsNotRemembered(t *testing.T) {
	i, n, _ := newIssuer(t)
	signing := i.token(tokenKey{account, "a", withEmail}, n.get())
	fresh, err := i.RotateKeys(false)
	if err != nil {
		t.Fatal(err)
	}
	signing.sign.Do(func() { signing.compact = "old" })
	if idToken, err := i.IDToken(account, "a"); err != nil || idToken == "old" || keyOf(t, idToken) != fresh {
		t.Errorf("%q, %v", idToken, err)
	}
}

func TestTokensDuringRotationsAreByAPublishedKey(t *testing.T) {
	i, _, _ := newIssuer(t)
	if _, err := i.IDToken(account, "a"); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var (
		minting sync.WaitGroup
		begun   atomic.Int64
	)
	for range 4 {
		minting.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				before := begun.Load()
				idToken, err := i.IDToken(account, "a")
				if err != nil {
					t.Error(err)
					return
				}
				// The key before stays for one rotation. If another has begun meanwhile, it may be gone.
				if _, err := i.VerifyIDToken(idToken, "a"); err != nil && begun.Load() == before {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 3 {
		begun.Add(1)
		if _, err := i.RotateKeys(false); err != nil {
			t.Error(err)
		}
	}
	close(done)
	minting.Wait()
}

func TestDiscovery(t *testing.T) {
	_, _, h := newIssuer(t)
	r := get(t, h, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost:8085/.well-known/openid-configuration", nil))
	var document map[string]any
	if err := json.Unmarshal([]byte(body(t, r)), &document); err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]any{
		"issuer":         "https://accounts.google.com",
		"jwks_uri":       "http://localhost:8085/oauth2/v3/certs",
		"token_endpoint": "http://localhost:8085/token",
	} {
		if document[field] != want {
			t.Errorf("%s: %v, want %v", field, document[field], want)
		}
	}
}
