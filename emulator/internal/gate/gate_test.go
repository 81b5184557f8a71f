package gate

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// behind opens a public gate in front of a container. Tests of decisions are elsewhere.
func behind(t *testing.T, container http.HandlerFunc, change func(*Config)) (*Gate, *http.Client) {
	t.Helper()
	server := httptest.NewServer(container)
	t.Cleanup(server.Close)
	target, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := Config{
		Name:     "projects/shop/locations/us-central1/services/search",
		Listen:   "127.0.0.1:0",
		Target:   target,
		Invokers: []string{allUsers},
		Timeout:  time.Minute,
		Verifier: names{},
		Logger:   slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&c)
	}
	var services Services
	g, err := services.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		_ = services.Shutdown(cancelled())
	})
	return g, client
}

func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func do(t *testing.T, client *http.Client, method, url string, body io.Reader, header http.Header) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header = header
	if host := header.Get("Host"); host != "" {
		request.Host = host
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

func TestTheContainerSeesTheRequestAsItWas(t *testing.T) {
	seen := make(chan *http.Request, 1)
	g, client := behind(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Clone(context.WithoutCancel(r.Context()))
		w.Header().Set("X-Answer", "yes")
		w.WriteHeader(http.StatusTeapot)
	}, nil)
	response := do(t, client, http.MethodPut, g.URL()+"/a%2Fb//c?x=1;y=%zz&z", strings.NewReader("body"), http.Header{
		"Host": {"search.example.com"}, "X-Forwarded-For": {"10.0.0.1"}, "X-Forwarded-Host": {"shop.example.com"}, authorization: {"Basic x"}, "Accept-Encoding": {"br"},
	})
	if response.StatusCode != http.StatusTeapot || response.Header.Get("X-Answer") != "yes" {
		t.Errorf("answer: %d %v", response.StatusCode, response.Header)
	}
	r := <-seen
	if r.Method != http.MethodPut || r.RequestURI != "/a%2Fb//c?x=1;y=%zz&z" || r.Host != "search.example.com" || r.ContentLength != 4 {
		t.Errorf("%s %s of %s, %d bytes", r.Method, r.RequestURI, r.Host, r.ContentLength)
	}
	for name, want := range map[string]string{
		"X-Forwarded-For": "10.0.0.1, 127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "shop.example.com",
		authorization: "Basic x", "Accept-Encoding": "br",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestSignatures(t *testing.T) {
	const removed = "Bearer url.login@shop-test." + removedSignature
	for name, c := range map[string]struct {
		signature                         Signature
		invokers                          []string
		authorization, serverless         string
		wantAuthorization, wantServerless string
	}{
		"removed from Authorization":           {Removed, nil, "Bearer " + login, "", removed, ""},
		"removed from serverless":              {Removed, nil, "", "Bearer " + login, "", removed},
		"removed from the checked one only":    {Removed, nil, "Bearer " + mailer, "Bearer " + login, "Bearer " + mailer, removed},
		"removed, public":                      {Removed, []string{allUsers}, "Bearer " + login, "Bearer " + login, "Bearer " + login, "Bearer " + login},
		"serverless only: Authorization stays": {RemovedFromServerless, nil, "Bearer " + login, "", "Bearer " + login, ""},
		"serverless only: serverless":          {RemovedFromServerless, nil, "", "Bearer " + login, "", removed},
		"serverless only: both":                {RemovedFromServerless, nil, "Bearer " + login, "Bearer " + login, "Bearer " + login, removed},
		"kept: Authorization":                  {Kept, nil, "Bearer " + login, "", "Bearer " + login, ""},
		"kept: both":                           {Kept, nil, "Bearer " + login, "Bearer " + login, "Bearer " + login, "Bearer " + login},
	} {
		t.Run(name, func(t *testing.T) {
			seen := make(chan http.Header, 1)
			g, client := behind(t, func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header.Clone() }, func(config *Config) {
				config.Signature, config.Audiences = c.signature, []string{"url"}
				if config.Invokers = c.invokers; c.invokers == nil {
					config.Invokers = []string{"serviceAccount:login@shop.test"}
				}
			})
			header := http.Header{}
			for name, value := range map[string]string{authorization: c.authorization, serverlessAuthorization: c.serverless} {
				if value != "" {
					header.Set(name, value)
				}
			}
			if response := do(t, client, http.MethodGet, g.URL(), nil, header); response.StatusCode != http.StatusOK {
				t.Fatalf("status %d", response.StatusCode)
			}
			got := <-seen
			if got.Get(authorization) != c.wantAuthorization || got.Get(serverlessAuthorization) != c.wantServerless {
				t.Errorf("Authorization %q, want %q; X-Serverless-Authorization %q, want %q",
					got.Get(authorization), c.wantAuthorization, got.Get(serverlessAuthorization), c.wantServerless)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	g, client := behind(t, func(http.ResponseWriter, *http.Request) { t.Error("the container was reached") }, func(c *Config) {
		c.Audiences, c.Invokers = []string{"url"}, nil
	})
	for _, c := range []struct {
		token, page, challenge string
		status                 int
	}{
		{"", "\n<html><head>\n<meta http-equiv=\"content-type\" content=\"text/html;charset=utf-8\">\n<title>403 Forbidden</title>\n</head>\n" +
			"<body text=#000000 bgcolor=#ffffff>\n<h1>Error: Forbidden</h1>\n" +
			"<h2>Your client does not have permission to get URL <code>/&lt;b&gt;</code> from this server.</h2>\n<h2></h2>\n</body></html>\n", "", 403},
		{login, "", "", 403},
		{
			"x", "\n<html><head>\n<meta http-equiv=\"content-type\" content=\"text/html;charset=utf-8\">\n<title>401 Unauthorized</title>\n</head>\n" +
				"<body text=#000000 bgcolor=#ffffff>\n<h1>Error: Unauthorized</h1>\n" +
				"<h2>Your client does not have permission to the requested URL <code>/&lt;b&gt;</code>.</h2>\n<h2></h2>\n</body></html>\n",
			`Bearer error="invalid_token" error_description="The access token could not be verified"`, 401,
		},
	} {
		header := http.Header{}
		if c.token != "" {
			header.Set(authorization, "Bearer "+c.token)
		}
		// The body is far more than anybody reads of a refused request.
		response := do(t, client, http.MethodPost, g.URL()+"/<b>", strings.NewReader(strings.Repeat("a", 1<<20)), header)
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != c.status || c.page != "" && string(body) != c.page || response.Header.Get("WWW-Authenticate") != c.challenge {
			t.Errorf("%q: %d %q, %q", c.token, response.StatusCode, response.Header.Get("WWW-Authenticate"), body)
		}
		if got := response.Header.Get("Content-Type"); got != "text/html; charset=UTF-8" {
			t.Errorf("Content-Type %q", got)
		}
	}
}
