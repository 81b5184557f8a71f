// Package httpserve is what the receivers of tasks, pushes and calls share:
// POST only, identity before the body, a bounded body, a deadline, a panic that
// the process survives, and the answer that a handler's outcome asks for.
package httpserve

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"strconv"
	"time"

	"waybill.dev/auth"
	"waybill.dev/internal/outcome"
)

// Guard returns a handler that answers 405 to anything but POST, verifies the
// caller by v before the body is read, and passes on what is left, with the
// caller's identity in the request's context. What it refuses is logged, the
// method with attrs to logger, the caller by v.
func Guard(v *auth.Verifier, logger *slog.Logger, next http.Handler, attrs ...slog.Attr) http.Handler {
	return &guard{verified: v.Middleware(next), logger: logger, attrs: attrs}
}

type guard struct {
	verified http.Handler
	logger   *slog.Logger
	attrs    []slog.Attr
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		Refuse(w, r, g.logger, &Refusal{Status: http.StatusMethodNotAllowed, Answer: "use POST"}, g.attrs...)
		return
	}
	g.verified.ServeHTTP(w, r)
}

// Header returns r's header without the credentials, for a handler that may
// log or store what it is given. The values are shared with r.
func Header(r *http.Request) http.Header {
	h := maps.Clone(r.Header) // cheaper than filling a new map
	delete(h, "Authorization")
	delete(h, "X-Serverless-Authorization")
	delete(h, "Cookie")
	return h
}

// WithDeadline returns ctx bounded by d; 0 means no bound of its own.
func WithDeadline(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}

// Run runs a user's code under the deadline (0: no bound of its own) and makes an error of its panic.
func Run(ctx context.Context, deadline time.Duration, f func(context.Context) error) (err error) {
	ctx, cancel := WithDeadline(ctx, deadline)
	defer cancel()
	defer Recover(&err)
	return f(ctx)
}

// Recover turns a panic into an *outcome.Panic in *err. It is deferred around a
// user's code. http.ErrAbortHandler goes on, as net/http promises.
func Recover(err *error) {
	p := recover()
	switch {
	case p == nil:
		return
	case isAbort(p):
		panic(p)
	}
	*err = &outcome.Panic{Value: p, Stack: stack()}
}

func isAbort(p any) bool {
	err, ok := p.(error)
	return ok && errors.Is(err, http.ErrAbortHandler)
}

// SetRetryAfter sets the header in whole seconds, rounded up, at least 1.
func SetRetryAfter(h http.Header, d time.Duration) {
	seconds := max(1, int64(math.Ceil(d.Seconds())))
	h.Set("Retry-After", strconv.FormatInt(seconds, 10))
}

// ErrorAttrs are an error's attributes in a log: its text, and the stack if it is a panic's.
func ErrorAttrs(attrs []slog.Attr, err error) []slog.Attr {
	attrs = append(attrs, slog.String("error", err.Error()))
	if p, ok := errors.AsType[*outcome.Panic](err); ok {
		attrs = append(attrs, slog.String("stack", p.Stack))
	}
	return attrs
}
