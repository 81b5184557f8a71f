package tasks

import (
	"errors"
	"time"

	"waybill.dev/internal/outcome"
)

var (
	// ErrAmbiguous is wrapped by an error of [Client.Enqueue] that leaves open
	// whether the task was accepted. Repeating a task that has a key is safe.
	ErrAmbiguous = outcome.ErrAmbiguous
	// ErrTooLarge is wrapped by the error for a task above Cloud Tasks' limits. Nothing was sent.
	ErrTooLarge = errors.New("the task is too large for Cloud Tasks")
	// ErrSchedule is wrapped by the error for a task due more than 30 days from now. Nothing was sent.
	ErrSchedule = errors.New("the task is due too late for Cloud Tasks")
	// ErrClosed is wrapped by the error of a client used after [Client.Close].
	ErrClosed = errors.New("the client is closed")
)

// Permanent marks a handler's error as one that no repetition can mend: the
// task goes to the dead letter at once and is acknowledged. Permanent(nil) is nil.
func Permanent(err error) error { return outcome.Permanent(err) }

// RetryAfter marks a handler's error as one that should not be repeated before
// delay has passed. It is a hint: Cloud Tasks slows the whole queue for it, and
// the queue's own backoff still applies. It counts as a failed attempt.
// RetryAfter(delay, nil) is nil.
func RetryAfter(delay time.Duration, err error) error { return outcome.RetryAfter(delay, err) }
