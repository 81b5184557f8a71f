package dispatch

import (
	"fmt"
	"log/slog"
	"net/http"
)

// HandleOption is an option of [Handle] and [Answer]: [Concurrency].
type HandleOption interface{ applyHandle(*handleOptions) }

type handleOptions struct {
	limited     bool
	concurrency int
}

// Concurrency bounds how many runs of one handler this process has at once. What comes beyond is answered 429 with
// Retry-After, before its body is read, and comes again: a task slows its whole queue, a subscription backs off, a caller's
// Request repeats it. Each such answer counts as an attempt. Default: no bound but the platform's.
//
// It protects what the handler uses, such as a small database. To send less in the first place, lower the queue's rate
// or the service's instances.
type Concurrency int

func (o Concurrency) applyHandle(h *handleOptions) { h.limited, h.concurrency = true, int(o) }

// limited puts a handler's options around it.
func (d *Dispatcher) limited(r *route, h http.Handler, options []HandleOption) (http.Handler, error) {
	var o handleOptions
	for _, option := range options {
		option.applyHandle(&o)
	}
	if !o.limited {
		return h, nil
	}
	if o.concurrency < 1 {
		return nil, fmt.Errorf("Concurrency(%d) never lets the handler run; give 1 or more, or leave it out", o.concurrency)
	}
	return &limiter{slots: make(chan struct{}, o.concurrency), next: h, log: d.log.With(slog.String("route", r.name))}, nil
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
