package tasks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"waybill.dev/auth"
	"waybill.dev/internal/httpserve"
)

// HandlerFunc handles one delivery. Its error is the outcome: nil, [Permanent],
// [RetryAfter] or any other failure.
type HandlerFunc func(ctx context.Context, d *Delivery) error

// HandlerConfig configures [NewHandler].
type HandlerConfig struct {
	// Verifier checks who calls, before the body is read. Required.
	Verifier *auth.Verifier
	// MaxAttempts is the attempt whose failure is the last: the task then goes
	// to the dead letter. 0 means that the queue's own limit alone counts, and
	// Cloud Tasks deletes what reaches it.
	MaxAttempts int
	// Deadline bounds each run of the handler, through its context; 0 means no
	// bound but the caller's. Declare the task's dispatch deadline 5 s longer.
	Deadline time.Duration
	// MaxBody is the largest body that is read, in bytes. Default 1 MiB, which no task exceeds.
	MaxBody int64
	// DeadLetter keeps a task that failed for good, within 5 s; cause is why.
	// The task is acknowledged only once it returned nil. Without it such a task
	// is logged at error level and acknowledged: it is lost.
	DeadLetter func(ctx context.Context, d *Delivery, cause error) error
	// Logger gets the failures and the refusals. Default slog.Default().
	Logger *slog.Logger
}

func (c HandlerConfig) withDefaults() HandlerConfig {
	if c.MaxBody == 0 {
		c.MaxBody = 1 << 20
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func (c HandlerConfig) validate(h HandlerFunc) error {
	problems := httpserve.ConfigProblems(c.Verifier, h != nil, c.Deadline, c.MaxBody)
	if c.MaxAttempts < 0 {
		problems = append(problems, fmt.Errorf("MaxAttempts is %d: use 1 or more, or 0 for no limit here", c.MaxAttempts))
	}
	return errors.Join(problems...)
}

// NewHandler returns the http.Handler of a task's endpoint. The package's
// documentation lists what it answers.
func NewHandler(cfg HandlerConfig, h HandlerFunc) (http.Handler, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(h); err != nil {
		return nil, fmt.Errorf("tasks: the handler's configuration is wrong: %w", err)
	}
	return httpserve.Guard(cfg.Verifier, cfg.Logger, &handler{
		maxBody: cfg.MaxBody,
		logger:  cfg.Logger,
		receiver: httpserve.Receiver[*Delivery]{
			MaxAttempts: cfg.MaxAttempts,
			Deadline:    cfg.Deadline,
			Run:         h,
			DeadLetter:  cfg.DeadLetter,
			Attrs:       logAttrs,
			Logger:      cfg.Logger,
		},
	}), nil
}

type handler struct {
	maxBody  int64
	logger   *slog.Logger
	receiver httpserve.Receiver[*Delivery]
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d := newDelivery(r)
	body, refusal := httpserve.ReadBody(w, r, h.maxBody)
	if refusal != nil {
		httpserve.Refuse(w, r, h.logger, refusal, logAttrs(d)...)
		return
	}
	d.Body = body
	h.receiver.Deliver(r.Context(), w, d, d.Attempt)
}
