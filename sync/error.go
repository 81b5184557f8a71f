package sync

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"waybill.dev/internal/outcome"
)

// Code says what kind of failure an [Error] is. The set is gRPC's, the names and
// statuses are those of the Connect protocol.
type Code string

// The codes, and the HTTP status of each.
const (
	Canceled           Code = "canceled"            // 499
	Unknown            Code = "unknown"             // 500
	InvalidArgument    Code = "invalid_argument"    // 400
	DeadlineExceeded   Code = "deadline_exceeded"   // 504
	NotFound           Code = "not_found"           // 404
	AlreadyExists      Code = "already_exists"      // 409
	PermissionDenied   Code = "permission_denied"   // 403
	ResourceExhausted  Code = "resource_exhausted"  // 429, which callers repeat
	FailedPrecondition Code = "failed_precondition" // 400
	Aborted            Code = "aborted"             // 409
	OutOfRange         Code = "out_of_range"        // 400
	Unimplemented      Code = "unimplemented"       // 501
	Internal           Code = "internal"            // 500
	Unavailable        Code = "unavailable"         // 503, which callers repeat if the request is idempotent
	DataLoss           Code = "data_loss"           // 500
	Unauthenticated    Code = "unauthenticated"     // 401
)

const statusClientClosedRequest = 499

// Status returns the code's HTTP status; 500 for a code that is not of the set.
func (c Code) Status() int {
	switch c {
	case InvalidArgument, FailedPrecondition, OutOfRange:
		return http.StatusBadRequest
	case Unauthenticated:
		return http.StatusUnauthorized
	case PermissionDenied:
		return http.StatusForbidden
	case NotFound:
		return http.StatusNotFound
	case AlreadyExists, Aborted:
		return http.StatusConflict
	case ResourceExhausted:
		return http.StatusTooManyRequests
	case Canceled:
		return statusClientClosedRequest
	case Unimplemented:
		return http.StatusNotImplemented
	case Unavailable:
		return http.StatusServiceUnavailable
	case DeadlineExceeded:
		return http.StatusGatewayTimeout
	default:
		return http.StatusInternalServerError
	}
}

// codeOf is the code of an answer that carries none.
func codeOf(status int) Code {
	switch status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
		return InvalidArgument
	case http.StatusUnauthorized:
		return Unauthenticated
	case http.StatusForbidden:
		return PermissionDenied
	case http.StatusNotFound:
		return NotFound
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return Unimplemented
	case http.StatusConflict:
		return Aborted
	case http.StatusTooManyRequests:
		return ResourceExhausted
	case http.StatusUnprocessableEntity:
		return FailedPrecondition
	case statusClientClosedRequest:
		return Canceled
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return DeadlineExceeded
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		return Unavailable
	case http.StatusInternalServerError:
		return Internal
	default:
		return Unknown
	}
}

// Error is an error that crosses the wire with its code and its text. A handler
// returns one to tell its caller what happened; [ReadError] gives it to the caller.
type Error struct {
	Code    Code
	Message string
	// ID finds the failure in the receiver's log: the request's ce-id, or one of its own.
	ID string
	// Permanent: the receiver marked the failure with [Permanent]. It does not
	// make this error one: whether the caller's own work has failed for good is
	// the caller's to say.
	Permanent bool
	// RetryAfter is how long the receiver asks to be left alone; 0 if it does not say.
	RetryAfter time.Duration

	cause  error
	remote bool // read off the wire: not meant for the next caller
}

// Errorf returns an error that crosses the wire with its text. An error wrapped
// by %w stays with the receiver as a value, but its text is part of the message.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), cause: errors.Unwrap(err)}
}

func (e *Error) Error() string {
	if e.remote && e.cause != nil {
		return e.text() + " (" + e.cause.Error() + ")"
	}
	return e.text()
}

func (e *Error) text() string {
	text := "sync: " + string(e.Code)
	if e.Message == "" && e.ID != "" && !e.explains(e.Code.Status()) {
		return text + ": the receiver failed; its log says why under message_id " + e.ID
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	if e.ID != "" {
		text += " (id " + e.ID + ")"
	}
	return text
}

// Unwrap returns the error that [Errorf] wrapped; of an answer that was not
// repeated for want of a retry, [ErrRetryBudget].
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is an [*Error] of the same code and no other content.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && *t == Error{Code: e.Code}
}

// Permanent marks a handler's error as one that no repetition can mend: the
// caller gets 422. An [*Error] inside crosses with its code and text, any other
// only as an id. Permanent(nil) is nil.
func Permanent(err error) error { return outcome.Permanent(err) }

// RetryAfter marks a handler's error as "not now": the caller gets 503 with
// Retry-After and Waybill-Retry: safe, and repeats the request. It says that
// the handler did not act on it. RetryAfter(delay, nil) is nil.
func RetryAfter(delay time.Duration, err error) error { return outcome.RetryAfter(delay, err) }

// wireError is an error's JSON.
type wireError struct {
	Code      Code   `json:"code"`
	Message   string `json:"message,omitempty"`
	ID        string `json:"id,omitempty"`
	Permanent bool   `json:"permanent,omitempty"`
}

const (
	errorContentType = "application/json"
	maxErrorBody     = 64 << 10
	maxErrorText     = 512
)

// ReadError returns nil for an answer below 300, and otherwise an [*Error]: the
// receiver's own, or one made from the status and the text of an answer that
// carries none (a proxy's, say). It reads and closes the body of such an answer.
func ReadError(resp *http.Response) error {
	if resp.StatusCode < http.StatusMultipleChoices {
		return nil
	}
	defer resp.Body.Close()
	_, over := resp.Body.(*overBudget)
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)) // half an error is better than none
	e := parseError(resp, body)
	e.remote = true
	e.RetryAfter, _ = retryAfter(resp.Header, time.Now())
	if over {
		e.cause = ErrRetryBudget
	}
	return e
}

func parseError(resp *http.Response, body []byte) *Error {
	if mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); mediaType == errorContentType {
		var w wireError
		if err := json.Unmarshal(body, &w); err == nil && w.Code != "" {
			return &Error{Code: w.Code, Message: w.Message, ID: w.ID, Permanent: w.Permanent || resp.StatusCode == http.StatusUnprocessableEntity}
		}
	}
	return &Error{
		Code:      codeOf(resp.StatusCode),
		Message:   fmt.Sprintf("%d %s: %s", resp.StatusCode, http.StatusText(resp.StatusCode), excerpt(body)),
		Permanent: resp.StatusCode == http.StatusUnprocessableEntity,
	}
}

// excerpt makes a foreign answer fit for a log line.
func excerpt(body []byte) string {
	text := make([]rune, 0, min(len(body), maxErrorText))
	for _, r := range string(body) {
		if len(text) == maxErrorText {
			break
		}
		if r < ' ' || r == 0x7f {
			r = ' '
		}
		text = append(text, r)
	}
	return strings.TrimSpace(string(text))
}
