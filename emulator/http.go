package emulator

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"waybill.dev/emulator/internal/gate"
)

// handler serves everything that speaks HTTP/1 on the one port. The services' REST methods are in overHTTP.
func (e *Emulator) handler(c Config, overHTTP http.Handler) http.Handler {
	mux := http.NewServeMux()
	e.issuer.Register(mux)
	mux.Handle("/v1/", overHTTP)
	mux.Handle("/v2/", overHTTP)
	mux.Handle(gate.Pattern, &e.services)
	if proxy, ok := e.topics.(googles); ok {
		mux.Handle("POST "+upstreamPath, proxy)
	}
	control := e.control()
	for _, c := range control {
		mux.HandleFunc(c.pattern, c.serve)
	}
	index := indexOf(control)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Metadata-Flavor", "Google") // by which some clients recognise a metadata server
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, index) // the client has gone: nobody is left to tell
	})
	// A web page may not make the developer's browser post here either.
	return guardHost(c, http.NewCrossOriginProtection().Handler(mux))
}

// indexOf is the page that lists what there is.
func indexOf(control []endpoint) string {
	var page strings.Builder
	page.WriteString("Waybill emulator: Cloud Tasks, Pub/Sub and a token issuer.\n\n")
	line := func(method, path, does string) { fmt.Fprintf(&page, "%-6s %-44s %s\n", method, path, does) }
	for _, c := range control {
		method, path, _ := strings.Cut(c.pattern, " ")
		line(method, path+c.parameters, c.does)
	}
	line("GET", "/_emulator/keys/ACCOUNT", "a service-account key file")
	line("GET", "/.well-known/openid-configuration", "discovery document")
	line("GET", "/oauth2/v3/certs", "public keys of the ID tokens")
	line("POST", "/token", "ID tokens for service-account assertions")
	line("GET", "/computeMetadata/v1/", "metadata server")
	line("", "/v1/ and /v2/", "Pub/Sub and Cloud Tasks over REST; over gRPC on this port too")
	return page.String()
}
