package httpserve

import (
	"errors"
	"log/slog"
	"net/http"
	"slices"
)

// Refusal is why a request is answered without its handler.
type Refusal struct {
	Status int
	Answer string // what the caller is told
	Cause  error  // what the log says; nil: the answer
}

// Refuse answers a request with rf and leaves a line in the log.
func Refuse(w http.ResponseWriter, r *http.Request, logger *slog.Logger, rf *Refusal, attrs ...slog.Attr) {
	http.Error(w, rf.Answer, rf.Status)
	cause := rf.Cause
	if cause == nil {
		cause = errors.New(rf.Answer)
	}
	LogRefusal(r, logger, rf.Status, cause, attrs...)
}

// LogRefusal logs a request that was refused, in the form of auth's middleware
// with what is known of the request beyond it.
func LogRefusal(r *http.Request, logger *slog.Logger, status int, cause error, attrs ...slog.Attr) {
	line := append(make([]slog.Attr, 0, len(attrs)+4),
		slog.Int("status", status), slog.String("method", r.Method), slog.String("path", r.URL.Path))
	logger.LogAttrs(r.Context(), slog.LevelWarn, "request refused", ErrorAttrs(slices.Concat(line, attrs), cause)...)
}
