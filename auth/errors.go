package auth

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// reason is a sentinel together with what it means over HTTP.
type reason struct {
	text      string
	status    int
	challenge string // the error code of RFC 6750, section 3.1; empty: a bare challenge
}

func (r *reason) Error() string { return "auth: " + r.text }

// The reasons why a request is refused, for errors.Is. The error itself is always an [*Error].
var (
	ErrNoToken          error = &reason{"no ID token came with the request", http.StatusUnauthorized, ""}
	ErrAmbiguousHeader  error = &reason{"more than one header with an ID token", http.StatusBadRequest, "invalid_request"}
	ErrMalformed        error = &reason{"not a well-formed ID token", http.StatusUnauthorized, "invalid_token"}
	ErrAlgorithm        error = &reason{"the token's algorithm is not accepted", http.StatusUnauthorized, "invalid_token"}
	ErrUnknownKey       error = &reason{"the token's key is not among the issuer's keys", http.StatusUnauthorized, "invalid_token"}
	ErrSignature        error = &reason{"the token's signature is wrong", http.StatusUnauthorized, "invalid_token"}
	ErrSignatureRemoved error = &reason{"the token's signature was removed", http.StatusUnauthorized, "invalid_token"}
	ErrIssuer           error = &reason{"the token's issuer is not accepted", http.StatusUnauthorized, "invalid_token"}
	ErrAudience         error = &reason{"the token is for another audience", http.StatusUnauthorized, "invalid_token"}
	ErrExpired          error = &reason{"the token has expired", http.StatusUnauthorized, "invalid_token"}
	ErrNotYetValid      error = &reason{"the token is not valid yet", http.StatusUnauthorized, "invalid_token"}
	ErrLifetime         error = &reason{"the token's lifetime is too long", http.StatusUnauthorized, "invalid_token"}
	ErrEmail            error = &reason{"the token names no verified account", http.StatusUnauthorized, "invalid_token"}
	ErrCaller           error = &reason{"the caller is not declared", http.StatusForbidden, "insufficient_scope"}
	ErrKeysUnavailable  error = &reason{"the issuer's keys are not available", http.StatusServiceUnavailable, ""}
)

// Error is why a token was refused. It wraps its Reason and its Cause, so that errors.Is finds both.
type Error struct {
	// Reason is one of this package's sentinels.
	Reason error

	// Detail says in a sentence or two what came, what was expected and what to do. It may be shown
	// to the caller: it holds no token, no key and no list of who else may call.
	Detail string

	// Email is the account that called. It is set only with ErrCaller, when the token was good.
	Email string

	// RetryAfter is when to ask again. It is set only with ErrKeysUnavailable.
	RetryAfter time.Duration

	// Cause is what failed underneath, for the log of this service only. It may be nil.
	Cause error
}

// Error returns the reason, the detail and the cause.
func (e *Error) Error() string {
	s := e.public()
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap returns the reason and, if there is one, the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Reason}
	}
	return []error{e.Reason, e.Cause}
}

func (e *Error) public() string {
	s := e.Reason.Error()
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Status is the HTTP status that answers err: 400 (ErrAmbiguousHeader), 401, 403 (ErrCaller) or
// 503 (ErrKeysUnavailable). It is 200 for nil and 500 for an error that this package did not make.
func Status(err error) int {
	if err == nil {
		return http.StatusOK
	}
	r, ok := errors.AsType[*reason](err)
	if !ok {
		return http.StatusInternalServerError
	}
	return r.status
}

// WriteError answers a request that was refused with err: the status of [Status], WWW-Authenticate
// (RFC 6750) on 400, 401 and 403, Retry-After on 503, and the reason and its detail as plain text.
// The cause, and the text of an error that this package did not make, stay out of the answer.
func WriteError(w http.ResponseWriter, err error) {
	h := w.Header()
	text := "internal error"
	if r, ok := errors.AsType[*reason](err); ok {
		text = r.Error()
		if r.status != http.StatusServiceUnavailable {
			h.Set("WWW-Authenticate", r.authenticate())
		}
	}
	if e, ok := errors.AsType[*Error](err); ok {
		text = e.public()
		if e.RetryAfter > 0 {
			h.Set("Retry-After", strconv.FormatInt(int64((e.RetryAfter+time.Second-1)/time.Second), 10))
		}
	}
	h.Set("Cache-Control", "no-store")
	http.Error(w, text, Status(err))
}

func (r *reason) authenticate() string {
	if r.challenge == "" {
		return "Bearer"
	}
	return `Bearer error="` + r.challenge + `", error_description="` + r.text + `"`
}

func refuse(reason error, detail string) *Error {
	return &Error{Reason: reason, Detail: detail}
}

// quote makes text that came from outside safe and short enough for a sentence.
func quote(s string) string {
	const limit = 200
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "..."
	}
	return strconv.Quote(s)
}
