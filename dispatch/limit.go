package dispatch

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
)

// HandleOption is an option of [Handle] and [Answer]: [Concurrency], [Middleware].
type HandleOption interface{ applyHandle(*handleOptions) }

type handleOptions struct {
	limited     bool
	concurrency int
	middleware  []Middleware
}

// Concurrency bounds how many runs of one handler this process has at once. What comes beyond is answered 429 with
// Retry-After, before its body is read, and comes again: a task slows its whole queue, a subscription backs off, a caller's
// Request repeats it. Each such answer counts as an attempt. Default: no bound but the platform's.
//
// It protects what the handler uses, such as a small database. To send less in the first place, lower the queue's rate
// or the service's instances.
type Concurrency int

func (o Concurrency) applyHandle(h *handleOptions) { h.limited, h.concurrency = true, int(o) }

// handleOptions are a handler's options, after those of all handlers.
func (d *Dispatcher) handleOptions(options []HandleOption) (*handleOptions, error) {
	o := &handleOptions{middleware: slices.Clone(d.middleware)}
	for _, option := range options {
		option.applyHandle(o)
	}
	if o.limited && o.concurrency < 1 {
		return nil, fmt.Errorf("Concurrency(%d) never lets the handler run; give 1 or more, or leave it out", o.concurrency)
	}
	if slices.ContainsFunc(o.middleware, func(m Middleware) bool { return m == nil }) {
		return nil, errors.New("a Middleware is nil; leave it out")
	}
	return o, nil
}

// slots are what the runs of a limited handler share, by whatever name of the route their messages come; nil without a limit.
func (o *handleOptions) slots() chan struct{} {
	if !o.limited {
		return nil
	}
	return make(chan struct{}, o.concurrency)
}

// limiter lets as many requests through at once as it has slots. It stands before verification, which is quick and comes
// before the body, so that strangers hold no slot for long.
type limiter struct {
	slots chan struct{}
	next  http.Handler
	log   *slog.Logger
}

func (l *limiter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
		l.next.ServeHTTP(w, r)
	default:
		l.log.WarnContext(r.Context(), "request refused: the handler's concurrency is used up", slog.Int("concurrency", cap(l.slots)))
		refuseForNow(w, http.StatusTooManyRequests, "this instance runs as many of these as it may; try again")
	}
}
