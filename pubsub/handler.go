package pubsub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
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
	// Subscription is the full name of the endpoint's own subscription,
	// projects/P/subscriptions/S. A push that names another is refused (403). Required.
	Subscription string
	// Unwrapped: the subscription pushes the bare data. Without its metadata
	// neither the subscription's name nor the attempt can be known.
	Unwrapped bool
	// MaxAttempts is the attempt whose failure is the last: the message then
	// goes to the dead letter. 0 means that the subscription's policy alone
	// counts. Without a dead-letter policy every attempt counts as the first.
	MaxAttempts int
	// Deadline bounds each run of the handler, through its context; 0 means no
	// bound but the caller's. Set the subscription's ack deadline 5 s longer.
	Deadline time.Duration
	// MaxBody is the largest body that is read, in bytes. Default 16 MiB: the
	// largest message is 10 MB, and a third more in base64.
	MaxBody int64
	// DeadLetter keeps a message that failed for good, within 5 s; cause is
	// why. The message is acknowledged only once it returned nil. Without it such
	// a message is logged at error level and acknowledged: it is lost.
	DeadLetter func(ctx context.Context, d *Delivery, cause error) error
	// Logger gets the failures and the refusals. Default slog.Default().
	Logger *slog.Logger
}

func (c HandlerConfig) withDefaults() HandlerConfig {
	if c.MaxBody == 0 {
		c.MaxBody = 16 << 20
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func (c HandlerConfig) validate(h HandlerFunc) error {
	problems := httpserve.ConfigProblems(c.Verifier, h != nil, c.Deadline, c.MaxBody)
	if parts := strings.Split(c.Subscription, "/"); len(parts) != 4 || parts[0] != "projects" || parts[1] == "" || parts[2] != "subscriptions" || parts[3] == "" {
		problems = append(problems, fmt.Errorf("Subscription is %q: use the full name, projects/PROJECT/subscriptions/NAME", c.Subscription))
	}
	if c.MaxAttempts < 0 {
		problems = append(problems, fmt.Errorf("MaxAttempts is %d: use 1 or more, or 0 for no limit here", c.MaxAttempts))
	}
	return errors.Join(problems...)
}

// NewHandler returns the http.Handler of a push endpoint. The package's
// documentation lists what it answers.
func NewHandler(cfg HandlerConfig, h HandlerFunc) (http.Handler, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(h); err != nil {
		return nil, fmt.Errorf("pubsub: the handler's configuration is wrong: %w", err)
	}
	return httpserve.Guard(cfg.Verifier, cfg.Logger, &handler{
		subscription: cfg.Subscription,
		unwrapped:    cfg.Unwrapped,
		maxBody:      cfg.MaxBody,
		logger:       cfg.Logger,
		receiver: httpserve.Receiver[*Delivery]{
			MaxAttempts: cfg.MaxAttempts,
			Deadline:    cfg.Deadline,
			Run:         h,
			DeadLetter:  cfg.DeadLetter,
			Attrs:       logAttrs,
			Logger:      cfg.Logger,
		},
	}, slog.String("subscription", cfg.Subscription)), nil
}

type handler struct {
	subscription string
	unwrapped    bool
	maxBody      int64
	logger       *slog.Logger
	receiver     httpserve.Receiver[*Delivery]
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	received := time.Now()
	caller, _ := auth.IdentityFrom(r.Context())
	d, refusal := h.read(w, r)
	if refusal != nil {
		httpserve.Refuse(w, r, h.logger, refusal, slog.String("subscription", h.subscription), slog.String("caller", caller.Email))
		return
	}
	d.Caller, d.ReceivedAt = caller, received
	// A message is delivered at least for the first time, counted or not.
	h.receiver.Deliver(r.Context(), w, d, max(d.Attempt, 1))
}

func (h *handler) read(w http.ResponseWriter, r *http.Request) (*Delivery, *httpserve.Refusal) {
	body, refusal := httpserve.ReadBody(w, r, h.maxBody)
	if refusal != nil {
		return nil, refusal
	}
	d, err := h.parse(r.Header, body)
	switch {
	case err != nil:
		return nil, &httpserve.Refusal{Status: http.StatusBadRequest, Answer: err.Error()}
	case !h.owns(d):
		answer := fmt.Sprintf("the push is of %q, and this endpoint belongs to %q", d.Subscription, h.subscription)
		return nil, &httpserve.Refusal{Status: http.StatusForbidden, Answer: answer}
	}
	return d, nil
}

func (h *handler) parse(header http.Header, body []byte) (*Delivery, error) {
	if h.unwrapped {
		return parseUnwrapped(header, body), nil
	}
	return parseWrapped(body)
}

func (h *handler) owns(d *Delivery) bool {
	return d.Subscription == h.subscription || h.unwrapped && d.Subscription == ""
}
