package auth_test

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"waybill.dev/auth"
)

const header1 = `{"alg":"RS256","typ":"JWT","kid":"key-1"}`

// withoutSignature is a token as Cloud Run hands it on.
func withoutSignature(token string) string {
	return token[:strings.LastIndexByte(token, '.')] + ".SIGNATURE_REMOVED_BY_GOOGLE"
}

func unsigned(header string, signature []byte) string {
	return b64([]byte(header)) + "." + b64([]byte(claims(nil))) + "." + b64(signature)
}

func hs256(t *testing.T) string {
	der, err := x509.MarshalPKIXPublicKey(&key1().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	content := b64([]byte(`{"alg":"HS256","typ":"JWT","kid":"key-1"}`)) + "." + b64([]byte(claims(nil)))
	mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	mac.Write([]byte(content))
	return content + "." + b64(mac.Sum(nil))
}

// swapSignature gives the content of one token the signature of another.
func swapSignature(content, signature string) string {
	return content[:strings.LastIndexByte(content, '.')] + signature[strings.LastIndexByte(signature, '.'):]
}

func flipLastBit(token string) string {
	// The last character of a 256 byte signature in base64url carries four bits; a change of the two others is not canonical.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	i := strings.IndexByte(alphabet, token[len(token)-1])
	return token[:len(token)-1] + string(alphabet[i^1])
}

// refusal is a bad input, and what is answered to it.
type refusal struct {
	name   string
	token  string
	status int
	reason error
	says   string // part of the answer
}

// refusals are all bad inputs, for the keys of refusalKeys.
func refusals(t *testing.T) []refusal {
	key := key1()
	good := key.token(nil)
	parts := strings.Split(good, ".")
	now := time.Now().Unix()
	// The same content under other names than parse knows would be seen differently by a reader that ignores case.
	payload := func(s string) string { return key.sign(header1, s) }
	withMember := func(member string) string { return payload("{" + member + "," + claims(nil)[1:]) }

	return []refusal{
		{"alg none", unsigned(`{"alg":"none","typ":"JWT","kid":"key-1"}`, nil), 401, auth.ErrAlgorithm, `"none"`},
		{"alg None with a signature", unsigned(`{"alg":"None","kid":"key-1"}`, []byte("x")), 401, auth.ErrAlgorithm, ""},
		{"alg missing", key.sign(`{"typ":"JWT","kid":"key-1"}`, claims(nil)), 401, auth.ErrAlgorithm, ""},
		{"alg a number", key.sign(`{"alg":256,"kid":"key-1"}`, claims(nil)), 401, auth.ErrMalformed, "alg"},
		{"alg in lower case", key.sign(`{"alg":"rs256","kid":"key-1"}`, claims(nil)), 401, auth.ErrAlgorithm, ""},
		{"HS256 with the public key", hs256(t), 401, auth.ErrAlgorithm, "RS256"},
		{"RS512", key.sign(`{"alg":"RS512","kid":"key-1"}`, claims(nil)), 401, auth.ErrAlgorithm, ""},
		{"PS256", key.sign(`{"alg":"PS256","kid":"key-1"}`, claims(nil)), 401, auth.ErrAlgorithm, ""},
		{"ES256 with a short signature", unsigned(`{"alg":"ES256","kid":"key-1"}`, []byte("short")), 401, auth.ErrAlgorithm, ""},
		{"ES256 with an RSA kid", iapKey().sign(`{"alg":"ES256","typ":"JWT","kid":"key-1"}`, claims(nil)), 401, auth.ErrAlgorithm, ""},
		{"ES256 with an EC kid", iapKey().sign(`{"alg":"ES256","typ":"JWT","kid":"ec-key"}`, claims(nil)), 401, auth.ErrAlgorithm, ""},
		{"RS256 with an EC kid", key.sign(`{"alg":"RS256","kid":"ec-key"}`, claims(nil)), 401, auth.ErrUnknownKey, "ec-key"},
		{"a second alg in other case", key.sign(`{"alg":"RS256","ALG":"ES256","kid":"key-1"}`, claims(nil)), 401, auth.ErrMalformed, "more than once"},
		{"kid with a Kelvin sign", key.sign(`{"alg":"RS256","kid":"key-1","`+"\u212a"+`id":"other"}`, claims(nil)), 401, auth.ErrMalformed, ""},
		{"alg in the wrong case only", key.sign(`{"Alg":"RS256","kid":"key-1"}`, claims(nil)), 401, auth.ErrMalformed, "case"},
		{"alg escaped", key.sign(`{"\u0061lg":"RS256","kid":"key-1"}`, claims(nil)), 401, auth.ErrMalformed, "escape"},
		{"kid missing", key.sign(`{"alg":"RS256","typ":"JWT"}`, claims(nil)), 401, auth.ErrMalformed, "kid"},
		{"kid empty", key.sign(`{"alg":"RS256","kid":""}`, claims(nil)), 401, auth.ErrMalformed, "kid"},
		{"kid unknown", key2().token(nil), 401, auth.ErrUnknownKey, "key-2"},
		{"kid of a weak key", weak().token(nil), 401, auth.ErrUnknownKey, "weak"},
		{"kid of a key for encryption", key2().sign(`{"alg":"RS256","kid":"enc"}`, claims(nil)), 401, auth.ErrUnknownKey, ""},
		{"kid of two keys", key2().sign(`{"alg":"RS256","kid":"twice"}`, claims(nil)), 401, auth.ErrUnknownKey, ""},
		{"crit", key.sign(`{"alg":"RS256","kid":"key-1","crit":["exp"]}`, claims(nil)), 401, auth.ErrMalformed, "crit"},
		{"crit empty", key.sign(`{"alg":"RS256","kid":"key-1","crit":[]}`, claims(nil)), 401, auth.ErrMalformed, "crit"},
		{"typ of an access token", key.sign(`{"alg":"RS256","kid":"key-1","typ":"at+jwt"}`, claims(nil)), 401, auth.ErrMalformed, "at+jwt"},
		{"header null", key.sign(`null`, claims(nil)), 401, auth.ErrMalformed, "header"},
		{"header a list", key.sign(`[]`, claims(nil)), 401, auth.ErrMalformed, "header"},
		{"header empty", "." + parts[1] + "." + parts[2], 401, auth.ErrMalformed, "header"},
		{"header with duplicate keys", key.sign(`{"alg":"RS256","alg":"RS256","kid":"key-1"}`, claims(nil)), 401, auth.ErrMalformed, "more than once"},
		{"header with trailing data", key.sign(header1+`{}`, claims(nil)), 401, auth.ErrMalformed, "header"},
		{"payload null", payload(`null`), 401, auth.ErrMalformed, "payload"},
		{"payload a string", payload(`"x"`), 401, auth.ErrMalformed, "payload"},
		{"payload empty", parts[0] + ".." + parts[2], 401, auth.ErrMalformed, "payload"},
		{"payload not JSON", payload(`{"iss":`), 401, auth.ErrMalformed, "payload"},
		{"payload not UTF-8", payload("{\"x\":\"\xff\"}"), 401, auth.ErrMalformed, "UTF-8"},
		{"payload with duplicate keys", withMember(`"aud":"https://other.example"`), 401, auth.ErrMalformed, "more than once"},
		{"payload with a duplicate in other case", withMember(`"EMAIL":"` + search + `"`), 401, auth.ErrMalformed, "EMAIL"},
		{"payload with 70 members", payload("{" + manyMembers(70) + claims(nil)[1:]), 401, auth.ErrMalformed, "members"},
		{"2 segments", parts[0] + "." + parts[1], 401, auth.ErrMalformed, "2 parts"},
		{"1 segment", "abc", 401, auth.ErrMalformed, "1 parts"},
		{"4 segments", good + ".x", 401, auth.ErrMalformed, "4 parts"},
		{"5 segments", good + ".x.y", 401, auth.ErrMalformed, "5 parts"},
		{"padded base64", good + "==", 401, auth.ErrMalformed, "base64url"},
		{"non-canonical base64", flipLastBit(good), 401, auth.ErrMalformed, "base64url"},
		{"standard base64", parts[0] + "." + parts[1] + "." + strings.Repeat("+/", 171), 401, auth.ErrMalformed, "base64url"},
		{"broken base64", parts[0] + ".*." + parts[2], 401, auth.ErrMalformed, "base64url"},
		{"header in padded base64", base64.URLEncoding.EncodeToString([]byte(header1)) + "." + parts[1] + "." + parts[2], 401, auth.ErrMalformed, "base64url"},
		{"no signature", parts[0] + "." + parts[1] + ".", 401, auth.ErrMalformed, "signature"},
		{"payload tampered", swapSignature(key.token(object{"email": search}), good), 401, auth.ErrSignature, "forged"},
		{"signature tampered", parts[0] + "." + parts[1] + "." + b64(make([]byte, 256)), 401, auth.ErrSignature, ""},
		{"signature short", parts[0] + "." + parts[1] + "." + b64([]byte("short")), 401, auth.ErrSignature, ""},
		{"signed by another key under a known kid", key2().sign(header1, claims(nil)), 401, auth.ErrSignature, ""},
		{"signature removed", withoutSignature(good), 401, auth.ErrSignatureRemoved, "PlatformAsserts"},
		{"issuer wrong", key.token(object{"iss": "https://evil.example"}), 401, auth.ErrIssuer, "https://evil.example"},
		{"issuer with a slash", key.token(object{"iss": "https://accounts.google.com/"}), 401, auth.ErrIssuer, ""},
		{"issuer missing", key.token(object{"iss": nil}), 401, auth.ErrIssuer, ""},
		{"issuer a list", key.token(object{"iss": []string{"https://accounts.google.com"}}), 401, auth.ErrIssuer, "a list"},
		{"issuer in plain http", key.token(object{"iss": "http://accounts.google.com"}), 401, auth.ErrIssuer, ""},
		{"audience wrong", key.token(object{"aud": "https://search.example"}), 401, auth.ErrAudience, `it is for "https://search.example"; this service expects "https://mailer.example"`},
		{"audience a list", key.token(object{"aud": []string{audience}}), 401, auth.ErrAudience, "a list"},
		{"audience with a trailing slash", key.token(object{"aud": audience + "/"}), 401, auth.ErrAudience, "trailing slash"},
		{"audience missing", key.token(object{"aud": nil}), 401, auth.ErrAudience, ""},
		{"audience empty", key.token(object{"aud": ""}), 401, auth.ErrAudience, ""},
		{"audience in upper case", key.token(object{"aud": strings.ToUpper(audience)}), 401, auth.ErrAudience, ""},
		{"exp past", key.token(object{"iat": now - 7200, "exp": now - 3600}), 401, auth.ErrExpired, " ago: send a fresh one"},
		{"exp just past", key.token(object{"iat": now - 3600, "exp": now - 1}), 401, auth.ErrExpired, ""},
		{"exp missing", key.token(object{"exp": nil}), 401, auth.ErrMalformed, "exp"},
		{"exp a string", key.token(object{"exp": fmt.Sprint(now + 60)}), 401, auth.ErrMalformed, "exp"},
		{"exp a float", key.token(object{"exp": float64(now) + 60.5}), 401, auth.ErrMalformed, "exp"},
		{"exp with an exponent", payload(strings.Replace(claims(object{"exp": 1}), `"exp":1`, `"exp":9e9`, 1)), 401, auth.ErrMalformed, "exp"},
		{"exp negative", key.token(object{"exp": -1}), 401, auth.ErrMalformed, "exp"},
		{"exp beyond 64 bits", payload(strings.Replace(claims(object{"exp": 1}), `"exp":1`, `"exp":99999999999999999999`, 1)), 401, auth.ErrMalformed, "exp"},
		{"exp null", payload(strings.Replace(claims(object{"exp": 1}), `"exp":1`, `"exp":null`, 1)), 401, auth.ErrMalformed, "null"},
		{"iat missing", key.token(object{"iat": nil}), 401, auth.ErrMalformed, "iat"},
		{"iat ahead", key.token(object{"iat": now + 600}), 401, auth.ErrNotYetValid, "iat"},
		{"nbf ahead", key.token(object{"nbf": now + 600}), 401, auth.ErrNotYetValid, "nbf"},
		{"lifetime over an hour", key.token(object{"iat": now, "exp": now + 3601}), 401, auth.ErrLifetime, "1h0m1s"},
		{"lifetime of ten years", key.token(object{"exp": now + 10*365*86400}), 401, auth.ErrLifetime, ""},
		{"sub missing", key.token(object{"sub": nil}), 401, auth.ErrMalformed, "sub"},
		{"no email", key.token(object{"email": nil, "email_verified": nil}), 401, auth.ErrEmail, "--include-email"},
		{"email a list", key.token(object{"email": []string{login}}), 401, auth.ErrEmail, "a list"},
		{"email_verified false", key.token(object{"email_verified": false}), 401, auth.ErrEmail, "email_verified"},
		{"email_verified missing", key.token(object{"email_verified": nil}), 401, auth.ErrEmail, "email_verified"},
		{"email_verified a string", key.token(object{"email_verified": "true"}), 401, auth.ErrEmail, "a string"},
		{"caller not declared", key.token(object{"email": search}), 403, auth.ErrCaller, search},
		{"caller in upper case", key.token(object{"email": strings.ToUpper(login)}), 403, auth.ErrCaller, ""},
		{"caller with a suffix", key.token(object{"email": login + ".evil.example"}), 403, auth.ErrCaller, ""},
		{"an access token", "ya29." + strings.Repeat("a", 100), 401, auth.ErrMalformed, "access token"},
		{"above 8 KiB", key.token(object{"pad": strings.Repeat("x", 8<<10)}), 401, auth.ErrMalformed, "the limit is 8192"},
		{"two tokens with a comma", good + "," + good, 401, auth.ErrMalformed, "comma"},
		{"two tokens with a space", good + " " + good, 401, auth.ErrMalformed, ""},
		{"no token after Bearer", "", 401, auth.ErrNoToken, ""},
	}
}

// refusalKeys are a good key, and those that must not be used.
func refusalKeys() []object {
	ec := iapKey().jwk(object{"kid": "ec-key"}) // good, and for something else
	twice := key2().jwk(object{"kid": "twice"})
	return []object{key1().jwk(nil), ec, weak().jwk(nil), key2().jwk(object{"kid": "enc", "use": "enc"}), twice, twice}
}

// TestRefusals sends every bad input through the middleware of a real server and checks what the caller is answered,
// what the log says, and that the handler was never reached.
func TestRefusals(t *testing.T) {
	cases := refusals(t)
	if len(cases) < 60 {
		t.Errorf("%d cases, want at least 60", len(cases))
	}
	good := key1().token(nil)
	w := newWorld(t, nil)
	w.jwks.serve(refusalKeys()...)
	server := serve(t, w)
	if res, body := server.get(t, good); res.StatusCode != http.StatusOK || body != login {
		t.Fatalf("the good token: %s %q", res.Status, body)
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			before := len(w.log.String())
			res, body := server.get(t, c.token)
			if res.StatusCode != c.status || !strings.HasPrefix(body, c.reason.Error()) || !strings.Contains(body, c.says) {
				t.Errorf("answered %d %q\nwant %d %q ... %q", res.StatusCode, body, c.status, c.reason, c.says)
			}
			if got := res.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer") || strings.Count(got, `"`)%2 != 0 {
				t.Errorf("WWW-Authenticate: %q", got)
			}
			logged := w.log.String()[before:]
			if !strings.Contains(logged, strings.TrimPrefix(c.reason.Error(), "auth: ")) {
				t.Errorf("the log does not say why: %s", logged)
			}
			if s := c.token; len(s) > 50 && (strings.Contains(logged, s[len(s)-40:]) || strings.Contains(body, s[len(s)-40:])) {
				t.Errorf("the token is in the log or the answer:\n%s%s", logged, body)
			}
		})
	}
	if n := w.jwks.fetches.Load(); n != 1 {
		t.Errorf("%d key fetches, want 1", n)
	}
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"m%d":0,`, i)
	}
	return b.String()
}

// protected is a server whose handler answers with the caller's email.
type protected struct{ *httptest.Server }

func serve(t *testing.T, w *world) protected {
	s := httptest.NewServer(w.Middleware(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		id, ok := auth.IdentityFrom(r.Context())
		if !ok {
			t.Error("no identity in the context")
		}
		_, _ = io.WriteString(rw, id.Email)
	})))
	t.Cleanup(s.Close)
	return protected{s}
}

func (s protected) get(t *testing.T, token string) (*http.Response, string) {
	t.Helper()
	return s.do(t, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) })
}

func (s protected) do(t *testing.T, change func(*http.Request)) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/_waybill/tasks/x", strings.NewReader(`{"access_token":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	change(r)
	res, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func TestHeaders(t *testing.T) {
	good := key1().token(nil)
	foreign := key1().token(object{"email": search})
	set := func(pairs ...string) func(*http.Request) {
		return func(r *http.Request) {
			for i := 0; i < len(pairs); i += 2 {
				r.Header.Add(pairs[i], pairs[i+1])
			}
		}
	}
	for _, c := range []struct {
		name   string
		change func(*http.Request)
		status int
		reason error
	}{
		{"no header", set(), 401, auth.ErrNoToken},
		{"empty header", set("Authorization", ""), 401, auth.ErrNoToken},
		{"Bearer alone", set("Authorization", "Bearer"), 401, auth.ErrNoToken},
		{"Basic", set("Authorization", "Basic "+good), 401, auth.ErrNoToken},
		{"token without a scheme", set("Authorization", good), 401, auth.ErrNoToken},
		{"two headers", set("Authorization", "Bearer "+good, "Authorization", "Bearer "+good), 400, auth.ErrAmbiguousHeader},
		{"two headers, one empty", set("Authorization", "Bearer "+good, "Authorization", ""), 400, auth.ErrAmbiguousHeader},
		{"bearer in lower case", set("Authorization", "bearer "+good), 200, nil},
		{"BEARER and two spaces", set("Authorization", "BEARER  "+good), 200, nil},
		{"token in the query", func(r *http.Request) { r.URL.RawQuery = "access_token=" + good }, 401, auth.ErrNoToken},
		{"token in a cookie", set("Cookie", "token="+good), 401, auth.ErrNoToken},
		{"token in X-Serverless-Authorization", set("X-Serverless-Authorization", "Bearer "+good), 401, auth.ErrNoToken},
		{"token for IAP", set("X-Goog-Iap-Jwt-Assertion", good), 401, auth.ErrNoToken},
		{"Cloud Tasks headers without a token", set("X-CloudTasks-QueueName", "q", "X-CloudTasks-TaskName", "t"), 401, auth.ErrNoToken},
		{"Cloud Tasks headers with a foreign token", set("X-CloudTasks-QueueName", "q", "Authorization", "Bearer "+foreign), 403, auth.ErrCaller},
		{"X-Goog headers without a token", set("X-Goog-Authenticated-User-Email", "accounts.google.com:"+login), 401, auth.ErrNoToken},
		{"X-Goog headers with a foreign token", set("X-Goog-Authenticated-User-Email", login, "Authorization", "Bearer "+foreign), 403, auth.ErrCaller},
		{"key URLs in the header", set("Authorization", "Bearer "+key1().sign(
			`{"alg":"RS256","kid":"key-1","jku":"https://evil.example/keys","x5u":"https://evil.example/cert","jwk":{"kty":"RSA"}}`, claims(nil))), 200, nil},
		{"key URLs and an unknown kid", set("Authorization", "Bearer "+key2().sign(
			`{"alg":"RS256","kid":"key-2","jku":"https://evil.example/keys","jwk":`+marshal(key2().jwk(nil))+`}`, claims(nil))), 401, auth.ErrUnknownKey},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := serve(t, newWorld(t, nil))
			res, body := server.do(t, c.change)
			want := login
			if c.reason != nil {
				want = c.reason.Error()
			}
			if res.StatusCode != c.status || !strings.HasPrefix(body, want) {
				t.Errorf("answered %d %q, want %d %q", res.StatusCode, body, c.status, want)
			}
		})
	}
}

// TestRawRequests sends what an honest client's library would not.
func TestRawRequests(t *testing.T) {
	good := key1().token(nil)
	server := serve(t, newWorld(t, nil))
	for _, c := range []struct{ name, lines, status string }{
		{"line break in the token", "Authorization: Bearer " + good[:40] + "\r\n " + good[40:], "401"},
		{"bare line feed in the token", "Authorization: Bearer " + good[:40] + "\n" + good[40:], "400"},
		{"header in two cases", "Authorization: Bearer " + good + "\r\nauthorization: Bearer " + good, "400"},
		{"space before the colon", "Authorization : Bearer " + good, "400"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n\r\n", c.lines)
			line, err := bufio.NewReader(conn).ReadString('\n')
			if err != nil || !strings.HasPrefix(line, "HTTP/1.1 "+c.status) {
				t.Errorf("answered %q (%v), want %s", line, err, c.status)
			}
		})
	}
}

// TestBodyUnread proves that a refused request's body is not waited for.
func TestBodyUnread(t *testing.T) {
	server := serve(t, newWorld(t, nil))
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n") // and nothing of it
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 401") {
		t.Errorf("answered %q (%v), want 401", line, err)
	}
}

func TestPlatformAsserts(t *testing.T) {
	key := key1()
	w := newWorld(t, func(_ *auth.KeySetConfig, c *auth.VerifierConfig) { c.PlatformAsserts = true })
	now := time.Now().Unix()
	for _, c := range []struct {
		name, token string
		assurance   auth.Assurance
		reason      error
	}{
		{"removed", withoutSignature(key.token(nil)), auth.PlatformAsserted, nil},
		{"removed, of a key that nobody knows", withoutSignature(key2().token(nil)), auth.PlatformAsserted, nil},
		{"intact", key.token(nil), auth.Verified, nil},
		{"intact but wrong", swapSignature(key.token(object{"email": search}), key.token(nil)), 0, auth.ErrSignature},
		{"removed, another audience", withoutSignature(key.token(object{"aud": "https://other.example"})), 0, auth.ErrAudience},
		{"removed, another issuer", withoutSignature(key.token(object{"iss": "https://other.example"})), 0, auth.ErrIssuer},
		{"removed, expired", withoutSignature(key.token(object{"iat": now - 7200, "exp": now - 3600})), 0, auth.ErrExpired},
		{"removed, unverified email", withoutSignature(key.token(object{"email_verified": false})), 0, auth.ErrEmail},
		{"removed, another caller", withoutSignature(key.token(object{"email": search})), 0, auth.ErrCaller},
		{"removed, other algorithm", withoutSignature(key.sign(`{"alg":"none","kid":"key-1"}`, claims(nil))), 0, auth.ErrAlgorithm},
		{"almost the marker", withoutSignature(key.token(nil)) + "X", 0, auth.ErrSignature},
		{"the marker in lower case", strings.ToLower(withoutSignature(key.token(nil))), 0, auth.ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 2 { // the second time from the cache, if it is there
				id, err := w.Verify(t.Context(), c.token)
				wantError(t, err, c.reason)
				if id.Assurance != c.assurance {
					t.Errorf("assurance %v, want %v", id.Assurance, c.assurance)
				}
			}
		})
	}
}

func TestWeakKeysAlone(t *testing.T) {
	w := newWorld(t, nil)
	even := key1().jwk(object{"e": b64(big.NewInt(65536).Bytes())})
	one := key1().jwk(object{"e": b64([]byte{1})})
	for _, k := range []object{
		weak().jwk(nil), even, one, key1().jwk(object{"use": "enc"}), key1().jwk(object{"alg": "RS512"}), key1().jwk(object{"key_ops": []string{"encrypt"}}),
		key1().jwk(object{"kid": ""}), key1().jwk(object{"n": "*"}), key1().jwk(object{"n": b64(make([]byte, 5000))}), key1().jwk(object{"kid": 7}),
	} {
		w.jwks.serve(k)
		w.clock.advance(time.Minute)
		if _, err := w.Verify(t.Context(), key1().token(object{"iat": w.clock.Now().Unix(), "exp": w.clock.Now().Unix() + 60})); !errors.Is(err, auth.ErrKeysUnavailable) {
			t.Errorf("with only the key %v: %v, want %v", k, err, auth.ErrKeysUnavailable)
		}
	}
}
