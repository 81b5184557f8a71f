// Package outcome is what a handler's error means, shared by every receiver.
//
// A handler says how its delivery ended by the error that it returns: nil is
// done, [Permanent] is never to be repeated, [RetryAfter] asks for a pause, and
// any other error is a failure that is repeated with backoff. The packages
// that users import have constructors of the same names.
//
// [Before] and [After] are the state machine of one delivery, apart from
// transport and time.
package outcome

import (
	"errors"
	"fmt"
	"time"
)

// ErrAmbiguous marks a failure that leaves open whether the request was
// accepted: the connection broke, or the context ended, after it was sent.
var ErrAmbiguous = errors.New("it may or may not have been accepted: repeat it with a key, so that a second copy is recognised")

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// Permanent marks err as a failure that no repetition can mend. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err: err}
}

// IsPermanent reports whether err, or an error that it wraps, was marked by [Permanent].
func IsPermanent(err error) bool {
	_, ok := errors.AsType[*permanentError](err)
	return ok
}

type retryAfterError struct {
	delay time.Duration
	err   error
}

func (e *retryAfterError) Error() string { return e.err.Error() }
func (e *retryAfterError) Unwrap() error { return e.err }

// RetryAfter marks err as a failure that should not be repeated before delay
// has passed. RetryAfter(delay, nil) is nil; a delay below zero counts as zero.
func RetryAfter(delay time.Duration, err error) error {
	if err == nil {
		return nil
	}
	return &retryAfterError{delay: max(delay, 0), err: err}
}

// RetryAfterOf returns the delay that err, or an error that it wraps, was given by [RetryAfter].
func RetryAfterOf(err error) (time.Duration, bool) {
	if e, ok := errors.AsType[*retryAfterError](err); ok {
		return e.delay, true
	}
	return 0, false
}

type undecodableError struct{ err error }

func (e *undecodableError) Error() string { return e.err.Error() }
func (e *undecodableError) Unwrap() error { return e.err }

// Undecodable marks err as that of a body which its handler could not be given:
// the request is refused rather than failed. Undecodable(nil) is nil.
func Undecodable(err error) error {
	if err == nil {
		return nil
	}
	return &undecodableError{err: err}
}

// IsUndecodable reports whether err, or an error that it wraps, was marked by [Undecodable].
func IsUndecodable(err error) bool {
	_, ok := errors.AsType[*undecodableError](err)
	return ok
}

// Panic is the error made from a handler's panic, so that a panic is counted,
// repeated and dead-lettered like any other failure.
type Panic struct {
	Value any    // what was passed to panic
	Stack string // where: a few frames in one line, the innermost first
}

func (p *Panic) Error() string { return fmt.Sprintf("the handler panicked: %v", p.Value) }

// Unwrap returns the panic's value if it is an error.
func (p *Panic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}
