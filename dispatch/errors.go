package dispatch

import (
	"errors"
	"time"

	"waybill.dev/internal/outcome"
)

// Errors that [Send] and [Request] return, for errors.Is. Each comes wrapped in a sentence that says what to do.
var (
	// ErrNotDeclared: the contracts do not let this service send on this route. Nothing has left.
	ErrNotDeclared = errors.New("not declared")
	// ErrOption: the route cannot honour an option. Nothing has left.
	ErrOption = errors.New("an option that this route cannot honour")
	// ErrTooLarge: the message exceeds what its transport takes. Nothing has left.
	ErrTooLarge = errors.New("too large")
	// ErrEnvelope: an [Envelope] is incomplete, or newer than this build. Nothing has left.
	ErrEnvelope = errors.New("an envelope that this build cannot send")
	// ErrClosed: the Dispatcher is shut down. Nothing has left.
	ErrClosed = errors.New("the dispatcher is closed")
	// ErrAmbiguous: the connection broke after the message had left, so it may or may not have been accepted.
	// Send again with the same [Key]: a task is then accepted once. Without a key a second copy is another message.
	ErrAmbiguous = outcome.ErrAmbiguous
)

// Permanent says that trying again cannot help. A task or an event goes to the route's dead letters and is then
// acknowledged; the caller of a call gets 422. Permanent(nil) is nil.
func Permanent(err error) error { return outcome.Permanent(err) }

// RetryAfter says that trying again helps, but not before d has passed. It is a hint: a task slows its whole queue
// for that time, a subscription follows its own retry policy, a call answers 503 with Retry-After. RetryAfter(d, nil) is nil.
func RetryAfter(d time.Duration, err error) error { return outcome.RetryAfter(d, err) }
