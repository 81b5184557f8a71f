package outcome

import "time"

// farBeyond is how many times MaxAttempts a delivery's attempt must be before
// its handler is no longer run, and farBeyondAtLeast the least such attempt.
//
// Attempts are counted by the platform and include those that no handler saw
// (an outage, a refusal), so the limit must leave room for a long outage. What
// it stops is a message that kills its process each time: such a delivery never
// comes as far as being counted as failed here.
const (
	farBeyond        = 10
	farBeyondAtLeast = 100
)

// Before reports whether a delivery's handler should run. If it returns false,
// the delivery goes to the dead letters without running. The first attempt is
// 1; maxAttempts 0 means no limit.
func Before(attempt, maxAttempts int) (run bool) {
	if maxAttempts <= 0 || attempt <= farBeyondAtLeast {
		return true
	}
	return attempt/farBeyond <= maxAttempts
}

// Verdict is what becomes of a delivery after its handler ran.
type Verdict int

// The verdicts.
const (
	Done       Verdict = iota // acknowledge
	DeadLetter                // hand to the dead letters, then acknowledge
	Retry                     // refuse: the platform delivers again
)

// After decides what becomes of a delivery whose handler returned err. The
// delay is what the handler asked for by [RetryAfter], else 0.
func After(attempt, maxAttempts int, err error) (v Verdict, delay time.Duration) {
	switch {
	case err == nil:
		return Done, 0
	case IsPermanent(err), maxAttempts > 0 && attempt >= maxAttempts:
		return DeadLetter, 0
	}
	delay, _ = RetryAfterOf(err)
	return Retry, delay
}
