package gate

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"waybill.dev/emulator/internal/sideport"
)

// Verifier checks an ID token and returns the email of the account that it speaks for. The error is a clause that
// begins with "it" or "its".
type Verifier interface {
	VerifyIDToken(token string, audiences ...string) (email string, err error)
}

// Config says for which service a Gate stands. All fields are required but Audiences and Invokers.
type Config struct {
	Name      string // projects/P/locations/L/services/S
	Listen    string // host:port
	Target    *url.URL
	Audiences []string // beside the Gate's own URL
	Invokers  []string // members that hold roles/run.invoker
	Signature Signature
	Timeout   time.Duration // of a request, from its first byte to the last of its answer
	Verifier  Verifier
	Logger    *slog.Logger
}

// Gate is one service's. Use [Services.Open]. It is safe for concurrent use.
type Gate struct {
	config   Config
	url      string
	checker  checker
	proxy    *httputil.ReverseProxy
	pool     *http.Transport
	refusals *refusals
	server   *sideport.Server
}

func open(ctx context.Context, c Config) (*Gate, error) {
	policy, err := newPolicy(c.Invokers)
	if err != nil {
		return nil, err
	}
	listener, err := sideport.Listen(ctx, c.Listen)
	if err != nil {
		return nil, err
	}
	url := "http://" + sideport.Reachable(listener.Addr())
	g := &Gate{
		config:   c,
		url:      url,
		checker:  checker{policy: policy, verifier: c.Verifier, audiences: append([]string{url, url + "/"}, c.Audiences...)},
		pool:     newPool(),
		refusals: newRefusals(c.Logger, c.Name),
	}
	g.proxy = g.newProxy()
	g.server = sideport.Serve(ctx, listener, http.HandlerFunc(g.serve), c.Logger)
	return g, nil
}

// URL is the service's: where callers send requests, and their tokens' audience.
func (g *Gate) URL() string { return g.url }

// SetInvokers replaces the policy: these members hold roles/run.invoker, and nobody holds anything else. It fails when
// one of them is not in IAM's form.
func (g *Gate) SetInvokers(members []string) error { return g.checker.policy.setInvokers(members) }

// shutdown stops the Gate as [sideport.Server.Shutdown] does.
func (g *Gate) shutdown(ctx context.Context) error {
	err := g.server.Shutdown(ctx)
	g.pool.CloseIdleConnections()
	return err
}

func (g *Gate) serve(w http.ResponseWriter, r *http.Request) {
	v := g.checker.check(r.Header)
	if !v.admitted {
		g.refusals.report(r.Context(), v)
		writeRefusal(w, r, v.status)
		return
	}
	g.refusals.succeeded(v.caller, "") // who had no good token may have been the same
	g.forward(w, r, v)
}
