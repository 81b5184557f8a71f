package upstream

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"waybill.dev/emulator/internal/faults"
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
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPushBytes))
	if err != nil {
		http.Error(w, "the body could not be read", http.StatusBadRequest)
		return
	}
	key := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	ep := p.endpoints.get(key)
	if ep == nil {
		if p.endpoints.orphaned(key) {
			p.logger.LogAttrs(r.Context(), slog.LevelError,
				"a subscription made through an earlier run of this emulator pushes here: delete it and create it again",
				slog.String("subscription", pusherOf(r.Header, body)), slog.String("push_key", key))
		}
		http.Error(w, "no subscription of this run pushes here: delete it and create it again", http.StatusNotFound)
		return
	}
	err = ep.Post(faults.WithSource(r.Context(), ep.Subscription), messageID(ep.Push, r.Header, body), passedOn(r.Header), body)
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

// envelope is what a wrapped push says of itself.
type envelope struct {
	Subscription string `json:"subscription"`
	Message      struct {
		ID string `json:"messageId"`
	} `json:"message"`
}

// messageID is for the log. An unwrapped push has it only if it carries metadata.
func messageID(push *pubsubpb.PushConfig, h http.Header, body []byte) string {
	if push.GetNoWrapper() != nil {
		return h.Get("X-Goog-Pubsub-Message-Id")
	}
	var e envelope
	_ = json.Unmarshal(body, &e) // without an ID, the log has none
	return e.Message.ID
}

// A body that is no envelope may have a field of that name all the same: only what looks like a subscription is shown.
var subscriptionName = regexp.MustCompile(`^projects/[a-z0-9.:-]{1,100}/subscriptions/[A-Za-z0-9._~+%-]{1,255}$`)

// pusherOf is the subscription that a push says it comes from, or "".
func pusherOf(h http.Header, body []byte) string {
	var e envelope
	_ = json.Unmarshal(body, &e) // without a name, the log has none
	if name := cmp.Or(h.Get("X-Goog-Pubsub-Subscription-Name"), e.Subscription); subscriptionName.MatchString(name) {
		return name
	}
	return ""
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
