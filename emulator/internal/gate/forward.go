package gate

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"time"
)

// Signature says what the container sees of the token that was checked.
type Signature int

// The readings of Google's documentation.
const (
	Removed               Signature = iota // replaced in whichever header was checked
	RemovedFromServerless                  // replaced in X-Serverless-Authorization; an Authorization stays as it was sent
	Kept                                   // both headers stay as they were sent
)

// removedSignature stands in place of the signature, as the token's third segment.
const removedSignature = "SIGNATURE_REMOVED_BY_GOOGLE"

// newPool makes the connections to the container: straight, and without a limit on how long it may take.
func newPool() *http.Transport {
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		MaxIdleConnsPerHost:   512,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true, // what the caller accepts is the caller's affair
	}
}

func (g *Gate) newProxy() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = g.config.Target.Scheme, g.config.Target.Host
			r.Out.URL.RawQuery = r.In.URL.RawQuery // also what Go cannot parse
			r.Out.Host = r.In.Host                 // the container sees the name that the caller used
			r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
			r.SetXForwarded()
			for _, name := range []string{"Forwarded", "X-Forwarded-Host"} { // a front end's before this one
				r.Out.Header[name] = r.In.Header[name]
			}
		},
		Transport:     g.pool,
		FlushInterval: -1, // each piece of an answer goes on as it comes
		ModifyResponse: func(*http.Response) error {
			g.refusals.succeeded(container)
			return nil
		},
		ErrorHandler: g.serveFailure,
		ErrorLog:     slog.NewLogLogger(g.config.Logger.Handler(), slog.LevelDebug), // aborted copies: the caller has left
	}
}

// forward hands an admitted request to the container.
func (g *Gate) forward(w http.ResponseWriter, r *http.Request, v verdict) {
	ctx, cancel := context.WithTimeout(r.Context(), g.config.Timeout)
	defer cancel()
	r = r.Clone(ctx)
	if g.config.Signature == Removed && v.header != "" || g.config.Signature == RemovedFromServerless && v.header == serverlessAuthorization {
		r.Header.Set(v.header, withoutSignature(r.Header, v.header))
	}
	g.proxy.ServeHTTP(w, r)
}

// withoutSignature is the header's one value with the marker in place of the token's last segment.
func withoutSignature(h http.Header, header string) string {
	_, values := credentials(http.Header{header: h.Values(header)})
	return values[0][:strings.LastIndexByte(values[0], '.')+1] + removedSignature
}

// serveFailure answers for a container that does not.
func (g *Gate) serveFailure(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(r.Context().Err(), context.DeadlineExceeded):
		writeText(w, http.StatusGatewayTimeout, "upstream request timeout")
	case r.Context().Err() != nil: // the caller has left
		writeText(w, http.StatusServiceUnavailable, "Service Unavailable")
	default:
		g.refusals.reportContainer(r.Context(), err)
		writeText(w, http.StatusServiceUnavailable, "Service Unavailable")
	}
}
