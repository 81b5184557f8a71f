package sync

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"
	"waybill.dev/auth"
	"waybill.dev/internal/httpserve"
	"waybill.dev/internal/outcome"
)

// RetryHeader, with the value [RetrySafe] on a 503, is the receiver's word that
// it did not act on the request, which may so be repeated whatever it is.
const (
	RetryHeader = "Waybill-Retry"
	RetrySafe   = "safe"
)

// Request is a request whose caller has been verified.
type Request struct {
	// Header is the request's, without its credentials. It is shared with the request: do not change its values.
	Header http.Header
	// Body is the request's body, the handler's to keep.
	Body []byte
	// Caller is who calls.
	Caller auth.Identity
}

// Response is the answer to a [Request], sent with status 200. A nil Response is 204.
type Response struct {
	Header http.Header
	Body   []byte
}

// HandlerFunc answers one request. The package's documentation says what the
// caller gets for each kind of error.
type HandlerFunc func(ctx context.Context, r *Request) (*Response, error)

// HandlerConfig configures [NewHandler].
type HandlerConfig struct {
	// Verifier checks who calls, before the body is read. Required.
	Verifier *auth.Verifier
	// Deadline bounds each run of the handler, through its context; 0 means no
	// bound but the caller's. The caller's own, which comes in [TimeoutHeader],
	// ends the context earlier, never later.
	Deadline time.Duration
	// MaxBody is the largest body that is read, in bytes. Default 10 MiB.
	MaxBody int64
	// Logger gets the failures, those of the caller's own making at debug level, and the refusals. Default slog.Default().
	Logger *slog.Logger
}

func (c HandlerConfig) withDefaults() HandlerConfig {
	if c.MaxBody == 0 {
		c.MaxBody = 10 << 20
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func (c HandlerConfig) validate(h HandlerFunc) error {
	problems := httpserve.ConfigProblems(c.Verifier, h != nil, c.Deadline, c.MaxBody)
	return errors.Join(problems...)
}

// NewHandler returns the http.Handler of a call's endpoint.
func NewHandler(cfg HandlerConfig, h HandlerFunc) (http.Handler, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(h); err != nil {
		return nil, fmt.Errorf("sync: the handler's configuration is wrong: %w", err)
	}
	return &repeatable{httpserve.Guard(cfg.Verifier, cfg.Logger, &handler{cfg: cfg, run: h})}, nil
}

// repeatable says of every answer given before the handler runs (the keys could
// not be had, say) that the request was not acted on. The handler takes it back.
type repeatable struct{ guarded http.Handler }

func (s *repeatable) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(RetryHeader, RetrySafe)
	s.guarded.ServeHTTP(w, r)
}

type handler struct {
	cfg HandlerConfig
	run HandlerFunc
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	caller, _ := auth.IdentityFrom(ctx)
	body, refusal := httpserve.ReadBody(w, r, h.cfg.MaxBody)
	if refusal != nil {
		httpserve.Refuse(w, r, h.cfg.Logger, refusal, logAttrs(caller, requestID(r.Header))...)
		return
	}
	w.Header().Del(RetryHeader)
	resp, err := h.answer(ctx, &Request{Header: httpserve.Header(r), Body: body, Caller: caller})
	if err != nil {
		h.writeError(ctx, w, r, caller, err)
		return
	}
	writeResponse(w, resp)
}

func (h *handler) answer(ctx context.Context, r *Request) (resp *Response, err error) {
	err = httpserve.Run(ctx, timeout(h.cfg.Deadline, r.Header), func(ctx context.Context) (err error) {
		resp, err = h.run(ctx, r)
		return err
	})
	return resp, err
}

func writeResponse(w http.ResponseWriter, resp *Response) {
	if resp == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	header := w.Header()
	for name, values := range resp.Header {
		header[http.CanonicalHeaderKey(name)] = values
	}
	header["Content-Length"] = []string{strconv.Itoa(len(resp.Body))}
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(resp.Body) // a caller that has gone needs no answer
}

// outgoing is what the caller is told of err, and the status that says it.
func outgoing(err error) (e Error, status int) {
	if own, ok := errors.AsType[*Error](err); ok && !own.remote {
		e = Error{Code: own.Code, Message: own.Message, ID: own.ID}
	}
	switch {
	case outcome.IsPermanent(err):
		e.Permanent = true
		status = http.StatusUnprocessableEntity
		if e.Code == "" {
			e.Code = FailedPrecondition
		}
	case e.Code != "":
		status = e.Code.Status()
	case errors.Is(err, context.DeadlineExceeded):
		e.Code, status = DeadlineExceeded, http.StatusGatewayTimeout
	default:
		e.Code, status = Internal, http.StatusInternalServerError
	}
	if _, ok := outcome.RetryAfterOf(err); ok && !e.Permanent {
		status = http.StatusServiceUnavailable
		if e.Message == "" {
			e.Code = Unavailable
		}
	}
	return e, status
}

func (h *handler) writeError(ctx context.Context, w http.ResponseWriter, r *http.Request, caller auth.Identity, err error) {
	e, status := outgoing(err)
	if e.ID == "" {
		e.ID = requestID(r.Header)
	}
	h.log(ctx, r, caller, &e, status, err)
	header := w.Header()
	if delay, ok := outcome.RetryAfterOf(err); ok && status == http.StatusServiceUnavailable {
		httpserve.SetRetryAfter(header, delay)
		header.Set(RetryHeader, RetrySafe)
	}
	header.Set("Content-Type", errorContentType)
	header.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	body, _ := json.Marshal(wireError{Code: e.Code, Message: e.Message, ID: e.ID, Permanent: e.Permanent}) // strings and a bool
	_, _ = w.Write(body)
}

// requestID is the request's own id if it is fit for a log, else a new one.
func requestID(h http.Header) string {
	id := h.Get("Ce-Id")
	if id == "" || len(id) > 128 {
		return uuid.NewString()
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] >= 0x7f {
			return uuid.NewString()
		}
	}
	return id
}

func (h *handler) log(ctx context.Context, r *http.Request, caller auth.Identity, e *Error, status int, err error) {
	if outcome.IsUndecodable(err) {
		httpserve.LogRefusal(r, h.cfg.Logger, status, err, logAttrs(caller, e.ID)...)
		return
	}
	level := slog.LevelError
	if e.explains(status) {
		level = slog.LevelDebug // it may be no failure at all
	}
	if h.cfg.Logger.Enabled(ctx, level) {
		h.cfg.Logger.LogAttrs(ctx, level, "call failed", httpserve.ErrorAttrs(logAttrs(caller, e.ID), err)...)
	}
}

// explains reports whether e tells the caller all that there is to say, so that
// nobody need look into the receiver's log.
func (e *Error) explains(status int) bool {
	return status < http.StatusInternalServerError && (e.Message != "" || !e.Permanent)
}

func logAttrs(caller auth.Identity, id string) []slog.Attr {
	return append(make([]slog.Attr, 0, 4), slog.String("caller", caller.Email), slog.String("message_id", id))
}
