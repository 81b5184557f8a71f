package httpserve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"waybill.dev/internal/outcome"
)

// deadLetterTimeout bounds the hand-over to the dead letters, which must work
// though the handler has used up its deadline: the platform waits at least
// five seconds longer than the handler's.
const deadLetterTimeout = 5 * time.Second

// Receiver runs deliveries of type D (*tasks.Delivery, *pubsub.Delivery) and
// answers by their outcome.
type Receiver[D any] struct {
	MaxAttempts int
	Deadline    time.Duration
	Run         func(ctx context.Context, d D) error
	DeadLetter  func(ctx context.Context, d D, cause error) error // nil: what would go there is logged and given up
	Attrs       func(d D) []slog.Attr                             // what identifies d in a log
	Logger      *slog.Logger
}

// Deliver runs d's handler, unless its attempt is far beyond MaxAttempts, and
// answers: 204 when d is done or with the dead letters, 500 when it failed, 503
// with Retry-After when the handler asked for a pause, 503 when the dead
// letters could not take it.
func (rc *Receiver[D]) Deliver(ctx context.Context, w http.ResponseWriter, d D, attempt int) {
	if !outcome.Before(attempt, rc.MaxAttempts) {
		rc.bury(ctx, w, d, attempt, fmt.Errorf("not run: attempt %d is far beyond the %d that are allowed; its earlier attempts ended without an answer, as when the process crashes or cannot be reached", attempt, rc.MaxAttempts))
		return
	}
	err := rc.run(ctx, d)
	verdict, delay := outcome.After(attempt, rc.MaxAttempts, err)
	switch verdict {
	case outcome.Done:
		w.WriteHeader(http.StatusNoContent)
	case outcome.DeadLetter:
		rc.bury(ctx, w, d, attempt, err)
	case outcome.Retry:
		rc.refuse(ctx, w, d, attempt, err, delay)
	}
}

func (rc *Receiver[D]) run(ctx context.Context, d D) (err error) {
	ctx, cancel := WithDeadline(ctx, rc.Deadline)
	defer cancel()
	defer Recover(&err)
	return rc.Run(ctx, d)
}

func (rc *Receiver[D]) refuse(ctx context.Context, w http.ResponseWriter, d D, attempt int, err error, delay time.Duration) {
	status, level := http.StatusInternalServerError, slog.LevelWarn
	if _, ok := outcome.RetryAfterOf(err); ok {
		status = http.StatusServiceUnavailable
		SetRetryAfter(w.Header(), delay)
	}
	if _, ok := errors.AsType[*outcome.Panic](err); ok {
		level = slog.LevelError
	}
	rc.log(ctx, level, "delivery failed, to be repeated", d, attempt, err)
	http.Error(w, "the handler failed: the receiver's log says why", status)
}

func (rc *Receiver[D]) bury(ctx context.Context, w http.ResponseWriter, d D, attempt int, cause error) {
	if rc.DeadLetter == nil {
		rc.log(ctx, slog.LevelError, "delivery failed for good, given up without a dead letter", d, attempt, cause)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if err := rc.deadLetter(ctx, d, cause); err != nil {
		rc.log(ctx, slog.LevelError, "dead letter failed, to be repeated", d, attempt, errors.Join(err, cause))
		http.Error(w, "the dead letters could not take it: the receiver's log says why", http.StatusServiceUnavailable)
		return
	}
	rc.log(ctx, slog.LevelError, "delivery failed for good, dead-lettered", d, attempt, cause)
	w.WriteHeader(http.StatusNoContent)
}

func (rc *Receiver[D]) deadLetter(ctx context.Context, d D, cause error) (err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deadLetterTimeout)
	defer cancel()
	defer Recover(&err)
	return rc.DeadLetter(ctx, d, cause)
}

func (rc *Receiver[D]) log(ctx context.Context, level slog.Level, message string, d D, attempt int, err error) {
	if !rc.Logger.Enabled(ctx, level) {
		return
	}
	attrs := append(rc.Attrs(d), slog.Int("attempt", attempt))
	rc.Logger.LogAttrs(ctx, level, message, ErrorAttrs(attrs, err)...) //nolint:sloglint // its callers pass constants
}
