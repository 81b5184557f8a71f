package outbox

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"waybill.dev/auth"
	"waybill.dev/internal/httpserve"
)

// flushTime is how long one request may flush: a little less than the minute after which Cloud Scheduler makes the next.
const flushTime = 50 * time.Second

// Handler returns an endpoint that flushes, for a Cloud Scheduler job that calls it each minute. v decides who may: let it name the job's
// service account alone, see [dispatch.Dispatcher.Verifier].
//
// It takes a POST, with any body, and answers 204 when nothing is due any more, and 503 with Retry-After when something is left after 50 s or could
// not be sent; the log says why. Others are answered 405, 401 or 403.
func (b *Outbox) Handler(v *auth.Verifier) http.Handler {
	return httpserve.Guard(v, b.log, http.HandlerFunc(b.serveFlush), slog.String("endpoint", "outbox"))
}

func (b *Outbox) serveFlush(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), flushTime)
	defer cancel()
	err := b.sweep(ctx)
	if err == nil {
		err = b.Flush(ctx)
	}
	if err != nil {
		b.log.WarnContext(ctx, "outbox not flushed", slog.Any("error", err))
		httpserve.SetRetryAfter(w.Header(), time.Second)
		http.Error(w, "some messages are left: the service's log says why", http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
