package emulator

import (
	"fmt"
	"io"
	"net/http"

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
	mux.HandleFunc("GET /{$}", serveIndex)
	mux.HandleFunc("GET /_emulator/ready", func(w http.ResponseWriter, _ *http.Request) { writeLine(w, "ready") })
	mux.HandleFunc("POST /_emulator/advance", e.serveAdvance)
	mux.HandleFunc("POST /_emulator/rotate-keys", e.serveRotateKeys)
	mux.HandleFunc("POST /_emulator/metadata", e.serveMetadata)
	mux.HandleFunc("POST /_emulator/gates", e.serveGates)
	mux.HandleFunc("POST /_emulator/reset", func(w http.ResponseWriter, _ *http.Request) {
		e.Reset()
		writeLine(w, "reset")
	})
	// A web page may not make the developer's browser post here either.
	return guardHost(c, http.NewCrossOriginProtection().Handler(mux))
}

func serveIndex(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Metadata-Flavor", "Google") // by which some clients recognise a metadata server
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, `Waybill emulator: Cloud Tasks, Pub/Sub and a token issuer.

GET  /_emulator/ready                      200 once it accepts
GET  /_emulator/keys/ACCOUNT               a service-account key file
POST /_emulator/advance?by=10m             moves the emulator's clock
POST /_emulator/reset                      forgets every queue, task, topic and subscription
POST /_emulator/rotate-keys                a new signing key; old=withdraw takes the old one away at once
POST /_emulator/metadata?account=EMAIL     address of a metadata server of that account alone
POST /_emulator/gates?service=S&target=URL Cloud Run's check in front of a container; prints the service's URL
GET  /.well-known/openid-configuration     discovery document
GET  /oauth2/v3/certs                      public keys of the ID tokens
POST /token                                ID tokens for service-account assertions
GET  /computeMetadata/v1/                  metadata server
     /v1/ and /v2/                         Pub/Sub and Cloud Tasks over REST; over gRPC on this port too
`) // the client has gone: nobody is left to tell
}

func writeLine(w http.ResponseWriter, line string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintln(w, line) // the client has gone: nobody is left to tell
}
