package issuer

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func callCredentials(t *testing.T, h http.Handler, method, payload string) (int, map[string]any) {
	t.Helper()
	r := get(t, h, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/projects/-/serviceAccounts/"+method, strings.NewReader(payload)))
	var answer map[string]any
	if err := json.Unmarshal([]byte(body(t, r)), &answer); err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, answer
}

func TestGenerateIDToken(t *testing.T) {
	i, _, h := newIssuer(t)
	for payload, email := range map[string]any{
		`{"audience":"https://mailer.test","includeEmail":true,"delegates":["projects/-/serviceAccounts/a@b.test"]}`: account,
		`{"audience":"https://mailer.test"}`: nil,
	} {
		code, answer := callCredentials(t, h, account+":generateIdToken", payload)
		if code != http.StatusOK {
			t.Fatalf("%d %v", code, answer)
		}
		if claims := i.claimsOf(t, answer["token"].(string)); claims["email"] != email || claims["sub"] != subject(account) {
			t.Errorf("%s: claims %v", payload, claims)
		}
	}
}

func TestGenerateAccessToken(t *testing.T) {
	_, n, h := newIssuer(t)
	for lifetime, want := range map[string]time.Duration{"": time.Hour, `,"lifetime":"300s"`: 5 * time.Minute, `,"lifetime":"3600s"`: time.Hour} {
		code, answer := callCredentials(t, h, account+":generateAccessToken", `{"scope":["https://www.googleapis.com/auth/cloud-platform"]`+lifetime+`}`)
		accessToken, _ := answer["accessToken"].(string)
		if code != http.StatusOK || !strings.HasPrefix(accessToken, "ya29.") || answer["expireTime"] != n.get().Add(want).Format(time.RFC3339) {
			t.Errorf("%s: %d %v", lifetime, code, answer)
		}
	}
}

func TestBadRequestsForCredentials(t *testing.T) {
	_, _, h := newIssuer(t)
	id, access := account+":generateIdToken", account+":generateAccessToken"
	for _, c := range []struct {
		method, payload, want string
		code                  int
	}{
		{id, `{}`, "audience", 400},
		{id, `{`, "must be JSON", 400},
		{id, `{"audience":"a","includeemail2":true}`, "unknown field", 400},
		{id, `{"audience":"a","delegates":["a@b.test"]}`, "delegate", 400},
		{id, `{"audience":"a","delegates":["projects/p/serviceAccounts/a@b.test"]}`, "delegate", 400},
		{id, `{"audience":"` + strings.Repeat("a", maxRequest) + `"}`, "must be JSON", 400},
		{"login:generateIdToken", `{"audience":"a"}`, "Invalid form of account ID login.", 400},
		{access, `{}`, "scope", 400},
		{access, `{"scope":["a"],"lifetime":"3601s"}`, "at most 3600s", 400},
		{access, `{"scope":["a"],"lifetime":"1h"}`, "in seconds", 400},
		{access, `{"scope":["a"],"lifetime":"-1s"}`, "lifetime", 400},
		{access, `{"scope":["a"],"delegates":[""]}`, "delegate", 400},
		{account + ":signBlob", `{}`, "nothing else", 404},
		{account, `{}`, "nothing else", 404},
	} {
		code, answer := callCredentials(t, h, c.method, c.payload)
		failure, _ := answer["error"].(map[string]any)
		message, _ := failure["message"].(string)
		if code != c.code || failure["code"] != float64(c.code) || failure["status"] == "" || !strings.Contains(message, c.want) {
			t.Errorf("%s %.60s: %d %v", c.method, c.payload, code, answer)
		}
	}
}
