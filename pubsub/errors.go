package pubsub

import (
	"errors"
	"time"

	"waybill.dev/internal/outcome"
)

var (
	// ErrAmbiguous is wrapped by an error of [Client.Publish] that leaves open
	// whether the message was published.
	ErrAmbiguous = outcome.ErrAmbiguous
	// ErrTooLarge is wrapped by the error for a message above Pub/Sub's limits. Nothing was sent.
	ErrTooLarge = errors.New("the message is too large for Pub/Sub")
	// ErrOutstanding is wrapped by the error for a message for which no room
	// came free within its context: as many as [Config.MaxOutstandingMessages] or
	// [Config.MaxOutstandingBytes] allow had not been accepted yet. Nothing was sent.
	ErrOutstanding = errors.New("the most is outstanding")
	// ErrClosed is wrapped by the error of a client used after [Client.Shutdown] or [Client.Close].
	ErrClosed = errors.New("the client is shut down")
)

// Permanent marks a handler's error as one that no repetition can mend: the
// message goes to the dead letter at once and is acknowledged. Permanent(nil) is nil.
func Permanent(err error) error { return outcome.Permanent(err) }

// RetryAfter marks a handler's error as one that should not be repeated before
// delay has passed. On Pub/Sub it is a nack: when the message comes back is the
// subscription's retry policy's to say. It counts as a failed attempt.
// RetryAfter(delay, nil) is nil.
func RetryAfter(delay time.Duration, err error) error { return outcome.RetryAfter(delay, err) }
