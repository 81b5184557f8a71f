package auth_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"waybill.dev/auth"
)

const accessToken = "ya29.ACCESS"

// cloud plays the services that stand between credentials and an ID token: the token endpoint of OAuth 2.0, the
// Security Token Service, where a subject token comes from, and the IAM Credentials API.
type cloud struct {
	*issuer
	refuse   atomic.Int64 // the status that generateIdToken answers, if it is not 0
	location string       // of a redirect that it answers with
	body     map[string]any
	path     string
	quota    string
	steps    []string
}

func newCloud(t *testing.T) *cloud {
	c := &cloud{issuer: startIssuer()}
	c.Close()
	mux := http.NewServeMux()
	access := func(w http.ResponseWriter, step string) {
		c.steps = append(c.steps, step)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, marshal(object{"access_token": accessToken, "token_type": "Bearer", "expires_in": 3600, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}))
	}
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.FormValue("refresh_token") == "REFRESH":
			access(w, "refresh")
		case strings.Count(r.FormValue("assertion"), ".") == 2:
			access(w, "assertion")
		default:
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error":"invalid_grant","error_description":"expired","x":"SECRET"}`)
		}
	})
	mux.HandleFunc("POST /sts", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("subject_token") != "SUBJECT" || r.FormValue("audience") != "//iam.googleapis.com/projects/1/pool" {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"error":"SECRET"}`)
			return
		}
		access(w, "sts")
	})
	mux.HandleFunc("GET /subject", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "SUBJECT") })
	mux.HandleFunc("GET /computeMetadata/v1/instance/service-accounts/default/token", func(w http.ResponseWriter, _ *http.Request) { access(w, "metadata") })
	mux.HandleFunc("POST /v1/projects/-/serviceAccounts/{method}", func(w http.ResponseWriter, r *http.Request) {
		c.path, c.quota, c.body = r.URL.Path, r.Header.Get("X-Goog-User-Project"), nil
		_ = json.NewDecoder(r.Body).Decode(&c.body)
		status := int(c.refuse.Load())
		switch {
		case r.Header.Get("Authorization") != "Bearer "+accessToken:
			w.WriteHeader(http.StatusUnauthorized)
		case c.location != "":
			http.Redirect(w, r, c.location, http.StatusTemporaryRedirect)
		case status != 0:
			w.WriteHeader(status)
			_, _ = io.WriteString(w, `{"error":{"message":"SECRET"}}`)
		default:
			c.asked.Add(1)
			to, _ := c.body["audience"].(string)
			_, _ = io.WriteString(w, marshal(object{"token": c.tokens(to)}))
		}
	})
	c.Server = httptest.NewServer(mux)
	t.Cleanup(c.Close)
	return c
}

func (c *cloud) user() object {
	return object{"type": "authorized_user", "client_id": "c", "client_secret": "SECRET", "refresh_token": "REFRESH", "token_uri": c.URL + "/token"}
}

func (c *cloud) federated() object {
	return object{
		"type": "external_account", "audience": "//iam.googleapis.com/projects/1/pool", "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
		"token_url": c.URL + "/sts", "credential_source": object{"url": c.URL + "/subject"},
	}
}

// with adds to a credentials document.
func with(document object, name string, value any) object {
	document[name] = value
	return document
}

const impersonateLogin = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/" + login + ":generateAccessToken"

func TestImpersonation(t *testing.T) {
	clean(t)
	for name, c := range map[string]struct {
		credentials func(c *cloud) object
		account     string // MinterConfig.Impersonate
		steps       []string
		delegates   any
		quota       string
	}{
		"a developer's login": {func(c *cloud) object { return with(c.user(), "quota_project_id", "shop-quota") }, login, []string{"refresh"}, nil, "shop-quota"},
		"a developer's login that gcloud set up to impersonate": {func(c *cloud) object {
			return object{"type": "impersonated_service_account", "service_account_impersonation_url": impersonateLogin, "source_credentials": c.user()}
		}, "", []string{"refresh"}, nil, ""},
		"delegates": {func(c *cloud) object {
			return object{
				"type": "impersonated_service_account", "service_account_impersonation_url": impersonateLogin, "source_credentials": c.user(),
				"delegates": []string{"projects/-/serviceAccounts/" + search},
			}
		}, "", []string{"refresh"}, []any{"projects/-/serviceAccounts/" + search}, ""},
		"another account's key": {func(c *cloud) object {
			var key object
			_ = json.Unmarshal(c.keyFile(), &key)
			return with(key, "client_email", search)
		}, login, []string{"assertion"}, nil, ""},
		"workload identity federation": {func(c *cloud) object {
			return with(c.federated(), "service_account_impersonation_url", impersonateLogin)
		}, "", []string{"sts"}, nil, ""},
		"workload identity federation and an account": {func(c *cloud) object { return c.federated() }, login, []string{"sts"}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cl := newCloud(t)
			m := cl.minter(t, func(mc *auth.MinterConfig) {
				mc.CredentialsJSON = []byte(marshal(c.credentials(cl)))
				mc.Impersonate, mc.IAMEndpoint = c.account, cl.URL
			})
			if got := audienceOf(t, mint(t, m, audience)); got != audience {
				t.Errorf("audience %q", got)
			}
			mint(t, m, audience)
			want := object{"audience": audience, "includeEmail": true}
			if c.delegates != nil {
				want["delegates"] = c.delegates
			}
			if d := cmp.Diff(want, cl.body); d != "" {
				t.Errorf("asked for (-want +got):\n%s", d)
			}
			if d := cmp.Diff(c.steps, cl.steps); d != "" {
				t.Errorf("steps (-want +got):\n%s", d)
			}
			if cl.path != "/v1/projects/-/serviceAccounts/"+login+":generateIdToken" || cl.quota != c.quota || cl.asked.Load() != 1 {
				t.Errorf("asked %s %d times, with the quota of %q", cl.path, cl.asked.Load(), cl.quota)
			}
		})
	}
	t.Run("the account's own key", func(t *testing.T) { // then there is nobody to impersonate
		s := newIssuer(t)
		m := s.minter(t, func(mc *auth.MinterConfig) { mc.Impersonate, mc.IAMEndpoint = login, "http://127.0.0.1:1" })
		mint(t, m, audience)
	})
	t.Run("the account that the file impersonates", func(t *testing.T) {
		cl := newCloud(t)
		m := cl.minter(t, func(mc *auth.MinterConfig) {
			mc.CredentialsJSON = []byte(marshal(object{"type": "impersonated_service_account", "service_account_impersonation_url": impersonateLogin, "source_credentials": cl.user()}))
			mc.Impersonate, mc.IAMEndpoint = login, cl.URL
		})
		mint(t, m, audience)
		if d := cmp.Diff([]string{"refresh"}, cl.steps); d != "" {
			t.Error(d)
		}
	})
	t.Run("the metadata server's account", func(t *testing.T) {
		cl := newCloud(t)
		t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(cl.URL, "http://"))
		m := cl.minter(t, func(mc *auth.MinterConfig) {
			mc.CredentialsJSON, mc.Impersonate, mc.IAMEndpoint = nil, login, cl.URL
		})
		mint(t, m, audience)
		if d := cmp.Diff([]string{"metadata"}, cl.steps); d != "" {
			t.Error(d)
		}
	})
	t.Run("the login that gcloud keeps", func(t *testing.T) {
		cl := newCloud(t)
		dir := filepath.Join(os.Getenv("HOME"), ".config", "gcloud")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "application_default_credentials.json"), []byte(marshal(cl.user())), 0o600); err != nil {
			t.Fatal(err)
		}
		m := cl.minter(t, func(mc *auth.MinterConfig) { mc.CredentialsJSON, mc.Impersonate, mc.IAMEndpoint = nil, login, cl.URL })
		mint(t, m, audience)
	})
}

func TestImpersonationRefused(t *testing.T) {
	for name, c := range map[string]struct {
		credentials func(c *cloud) object
		status      int64
		reason      error
		says        string
	}{
		"not allowed, a developer": {(*cloud).user, 403, auth.ErrMintRefused, "your own login may not impersonate " + login + ". Grant it, and wait for some minutes: " +
			"gcloud iam service-accounts add-iam-policy-binding " + login + " --member=user:YOUR_EMAIL --role=roles/iam.serviceAccountTokenCreator"},
		"not allowed, federated":     {(*cloud).federated, 403, auth.ErrMintRefused, "--role=roles/iam.workloadIdentityUser"},
		"the API is off":             {(*cloud).user, 403, auth.ErrMintRefused, "gcloud services enable iamcredentials.googleapis.com --project=shop"},
		"no such account":            {(*cloud).user, 404, auth.ErrMintRefused, "there is no service account"},
		"too many":                   {(*cloud).user, 429, auth.ErrMintUnavailable, "try again"},
		"down":                       {(*cloud).user, 503, auth.ErrMintUnavailable, "try again"},
		"the login has expired":      {func(c *cloud) object { return with(c.user(), "refresh_token", "OLD") }, 0, auth.ErrMintRefused, "log in again with gcloud auth application-default login"},
		"the pool does not admit it": {func(c *cloud) object { return with(c.federated(), "audience", "//other") }, 0, auth.ErrMintRefused, "provider"},
		"no subject token": {func(c *cloud) object {
			return with(c.federated(), "credential_source", object{"file": "/does/not/exist"})
		}, 0, auth.ErrMintUnavailable, "/does/not/exist"},
		"incomplete": {func(c *cloud) object { return with(c.federated(), "subject_token_type", "") }, 0, auth.ErrCredentials, "Subject token type"},
	} {
		t.Run(name, func(t *testing.T) {
			cl := newCloud(t)
			cl.refuse.Store(c.status)
			m := cl.minter(t, func(mc *auth.MinterConfig) {
				mc.CredentialsJSON = []byte(marshal(c.credentials(cl)))
				mc.Impersonate, mc.IAMEndpoint = login, cl.URL
			})
			_, err := m.Token(t.Context(), audience)
			wantMintError(t, err, c.reason, c.says)
			if strings.Contains(err.Error(), "SECRET") {
				t.Errorf("the error quotes an answer: %v", err)
			}
		})
	}
}

// TestImpersonationFollowsNoRedirect: the access token of a developer opens everything that the developer may do.
func TestImpersonationFollowsNoRedirect(t *testing.T) {
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s got %s with %q", r.Host, r.URL, r.Header.Get("Authorization"))
	}))
	defer thief.Close()
	cl := newCloud(t)
	cl.location = thief.URL + "/v1/x"
	m := cl.minter(t, func(mc *auth.MinterConfig) {
		mc.CredentialsJSON, mc.Impersonate, mc.IAMEndpoint = []byte(marshal(cl.user())), login, cl.URL
	})
	_, err := m.Token(t.Context(), audience)
	wantMintError(t, err, auth.ErrMintRefused, "307")
}

func TestImpersonationConfig(t *testing.T) {
	user := func() object { return (&cloud{issuer: &issuer{Server: &httptest.Server{}}}).user() }
	federated := func() object { return (&cloud{issuer: &issuer{Server: &httptest.Server{}}}).federated() }
	impersonated := func(url string, source any) object {
		return object{"type": "impersonated_service_account", "service_account_impersonation_url": url, "source_credentials": source}
	}
	for name, c := range map[string]struct {
		config auth.MinterConfig
		says   string // empty: fine
	}{
		"an IAM member":              {auth.MinterConfig{Impersonate: "serviceAccount:" + login}, "Impersonate"},
		"no email":                   {auth.MinterConfig{Impersonate: "login"}, "Impersonate"},
		"plain http":                 {auth.MinterConfig{IAMEndpoint: "http://iam.example"}, "IAMEndpoint"},
		"a path":                     {auth.MinterConfig{IAMEndpoint: "https://iam.example/v1"}, "has a path"},
		"a slash":                    {auth.MinterConfig{IAMEndpoint: "https://iam.example/"}, ""},
		"loopback":                   {auth.MinterConfig{IAMEndpoint: "http://127.0.0.1:8085"}, ""},
		"a login without an account": {auth.MinterConfig{CredentialsJSON: []byte(marshal(user()))}, "MinterConfig.Impersonate"},
		"a login and an account":     {auth.MinterConfig{CredentialsJSON: []byte(marshal(user())), Impersonate: login}, ""},
		"federation without account": {auth.MinterConfig{CredentialsJSON: []byte(marshal(federated()))}, "service_account_impersonation_url"},
		"another URL":                {auth.MinterConfig{CredentialsJSON: []byte(marshal(impersonated("https://x.example/", user())))}, "names no account"},
		"no source":                  {auth.MinterConfig{CredentialsJSON: []byte(marshal(impersonated(impersonateLogin, nil)))}, "source_credentials"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := auth.NewMinter(c.config)
			if (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "SECRET")) {
				t.Errorf("error %v, want ... %q", err, c.says)
			}
		})
	}
}

// TestTokenForIAP: what stands behind Identity-Aware Proxy is reached with a token whose audience is IAP's client ID.
// https://cloud.google.com/iap/docs/authentication-howto
func TestTokenForIAP(t *testing.T) {
	const clientID = "1234-abc.apps.googleusercontent.com"
	cl := newCloud(t)
	m := cl.minter(t, func(mc *auth.MinterConfig) {
		mc.CredentialsJSON, mc.Impersonate, mc.IAMEndpoint = []byte(marshal(cl.user())), login, cl.URL
	})
	if got := audienceOf(t, mint(t, m, clientID)); got != clientID {
		t.Errorf("impersonating: %q", got)
	}
	s := newIssuer(t)
	if got := audienceOf(t, mint(t, s.minter(t, nil), clientID)); got != clientID {
		t.Errorf("with a key: %q", got)
	}
}
