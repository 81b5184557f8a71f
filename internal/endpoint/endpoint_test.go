package endpoint_test

import (
	"net/url"
	"strings"
	"testing"

	"waybill.dev/internal/endpoint"
)

func TestParse(t *testing.T) {
	for _, good := range []string{
		"https://mailer.example.com/welcome?x=1", "https://10.0.0.1:8443/", "http://localhost:8080/a", "http://api.localhost/a",
		"http://127.0.0.1:9/", "http://127.8.9.10/", "http://[::1]:80/", "http://[::ffff:127.0.0.1]/", "HTTPS://Example.com",
	} {
		if _, err := endpoint.Parse(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for bad, why := range map[string]string{
		"":                                  "absolute",
		"/welcome":                          "absolute",
		"//host/welcome":                    "absolute",
		"https://":                          "absolute",
		"https://:443/":                     "absolute",
		"http://mailer.example.com/":        "plain http",
		"http://10.0.0.1/":                  "plain http",
		"http://localhost.example.com/":     "plain http",
		"http://127.0.0.1.example.com/":     "plain http",
		"http://evillocalhost/":             "plain http",
		"ftp://host/":                       "scheme",
		"https://me:secret@host/":           "user information",
		"http://127.0.0.1@evil.example/":    "user information",
		"https://host/%zz?token=secret":     "cannot be parsed",
		"https://me:secret@host:port/\x7f/": "cannot be parsed",
	} {
		_, err := endpoint.Parse(bad)
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, want %q", bad, err, why)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error repeats a secret: %v", err)
		}
	}
}

func TestSameOrigin(t *testing.T) {
	for _, test := range []struct {
		a, b string
		same bool
	}{
		{"https://a.example/x", "https://a.example/y", true},
		{"https://a.example", "https://A.EXAMPLE:443", true},
		{"http://localhost", "http://localhost:80", true},
		{"http://[::1]", "http://[::1]:80", true},
		{"https://a.example", "http://a.example", false},
		{"https://a.example", "https://a.example:8443", false},
		{"https://a.example", "https://b.example", false},
		{"https://a.example:80", "http://a.example:80", false},
	} {
		a, b := mustParse(t, test.a), mustParse(t, test.b)
		if got := endpoint.SameOrigin(a, b); got != test.same {
			t.Errorf("SameOrigin(%s, %s) = %v", test.a, test.b, got)
		}
	}
}

func mustParse(t *testing.T, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"https://host/path", "http://localhost:1/", "http://[::1%25eth0]/", "https://u:p@h", "http://127.0.0.1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := endpoint.Parse(raw)
		if err != nil {
			return
		}
		if u.User != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !endpoint.Loopback(u.Hostname())) {
			t.Errorf("%q was let through as %v", raw, u)
		}
	})
}
