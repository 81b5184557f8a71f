// Package retry is the schedule of one operation's repetitions: exponential
// backoff with jitter, bounded by a number of attempts and by the context's
// deadline, stretched by what the server asked for.
package retry

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Limits bounds a [Schedule].
type Limits struct {
	MaxAttempts            int           // all attempts, the first included
	MinBackoff, MaxBackoff time.Duration // the first wait, and the longest; each varies by half
	Budget                 *Budget       // shared with other operations on the same target; nil: no bound
}

// Schedule implements backoff.BackOffContext for one operation. It costs
// nothing but itself until the first failure.
type Schedule struct {
	ctx    context.Context //nolint:containedctx // backoff.BackOffContext asks for it
	limits Limits
	made   int
	hint   time.Duration
	broke  bool // the budget denied a repetition
	exp    *backoff.ExponentialBackOff
}

// New returns the schedule of an operation that runs under ctx.
func New(ctx context.Context, limits Limits) *Schedule {
	if limits.Budget != nil {
		limits.Budget.Request()
	}
	return &Schedule{ctx: ctx, limits: limits}
}

// Context implements backoff.BackOffContext.
func (s *Schedule) Context() context.Context { return s.ctx }

// Reset implements backoff.BackOff.
func (s *Schedule) Reset() { s.made, s.hint, s.exp = 0, 0, nil }

// AtLeast makes the next wait at least d long: what a Retry-After asks for.
func (s *Schedule) AtLeast(d time.Duration) { s.hint = d }

// NextBackOff implements backoff.BackOff. It stops rather than begin a wait
// that the context's deadline would cut off: the last failure tells more than
// a context that ended while nothing was happening.
func (s *Schedule) NextBackOff() time.Duration {
	s.made++
	if s.made >= s.limits.MaxAttempts || s.ctx.Err() != nil {
		return backoff.Stop
	}
	if s.exp == nil {
		s.exp = backoff.NewExponentialBackOff(
			backoff.WithInitialInterval(s.limits.MinBackoff),
			backoff.WithMaxInterval(s.limits.MaxBackoff),
			backoff.WithMultiplier(2),
			backoff.WithMaxElapsedTime(0))
	}
	wait := max(s.exp.NextBackOff(), s.hint)
	s.hint = 0
	if deadline, ok := s.ctx.Deadline(); ok && wait >= time.Until(deadline) {
		return backoff.Stop
	}
	if s.limits.Budget != nil && !s.limits.Budget.Retry() {
		s.broke = true
		return backoff.Stop
	}
	return wait
}

// OverBudget reports whether the operation ended because the budget allowed no repetition.
func (s *Schedule) OverBudget() bool { return s.broke }
