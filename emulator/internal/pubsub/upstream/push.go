package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"waybill.dev/emulator/internal/pubsub/endpoint"
)

// maxPushBytes is more than the largest message has in base64.
const maxPushBytes = 16 << 20

// ServeHTTP sends what the upstream pushes on to the user's endpoint, signed, and answers with the
// receiver's status: 204 if it acknowledged, 502 if there was none.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "pushes are posted", http.StatusMethodNotAllowed)
		return
	}
	ep := p.endpoints.get(r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])
	if ep == nil {
		http.Error(w, "no subscription of this run pushes here: set its push configuration again", http.StatusNotFound)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPushBytes))
	if err != nil {
		http.Error(w, "the body could not be read", http.StatusBadRequest)
		return
	}
	err = ep.Post(r.Context(), passedOn(r.Header), body)
	if refusal, ok := errors.AsType[*endpoint.Refusal](err); ok && refusal.Status >= 200 {
		w.WriteHeader(refusal.Status)
		return
	}
	switch {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.Is(err, context.Canceled): // the upstream has given up
	default:
		w.WriteHeader(http.StatusBadGateway)
	}
}

// passedOn is the header without what belongs to the upstream's connection to us.
func passedOn(h http.Header) http.Header {
	out := h.Clone()
	for _, key := range []string{"Connection", "Content-Length", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings"} {
		out.Del(key)
	}
	return out
}

var _ http.Handler = (*Proxy)(nil)
