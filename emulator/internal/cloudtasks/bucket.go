package cloudtasks

import (
	"math"
	"math/bits"
	"time"
)

// bucket is a token bucket. It keeps the time at which it will be full instead of a number of tokens
// (the generic cell rate algorithm), which makes fractional rates exact and needs no refilling.
type bucket struct {
	interval time.Duration // between two tokens
	burst    int           // tokens when full
	full     time.Time
}

// maxInterval keeps rates close to zero within what a Duration can hold: one token in 36 years.
const maxInterval = math.MaxInt64 / 8

// setRate changes the rate and keeps the tokens that are missing, as far as the new burst goes. It counts in whole
// nanoseconds, rounded up, so that setting the same rate again changes nothing.
func (b *bucket) setRate(perSecond float64, now time.Time) {
	before, missing := b.interval, max(b.full.Sub(now), 0)
	b.interval = time.Duration(min(math.Ceil(float64(time.Second)/perSecond), maxInterval))
	b.burst = burstOf(perSecond)
	switch {
	case before == 0: // a new one is full
	case missing/before >= time.Duration(b.burst):
		missing = time.Duration(b.burst) * b.interval
	default: // missing / before * interval, which is below burst * interval
		high, low := bits.Mul64(uint64(missing), uint64(b.interval))
		scaled, rest := bits.Div64(high, low, uint64(before))
		missing = time.Duration(scaled)
		if rest > 0 {
			missing++
		}
	}
	b.full = now.Add(missing)
}

// burstOf is the max_burst_size that a rate gives: a second's worth, and at least one.
func burstOf(perSecond float64) int { return max(1, int(math.Ceil(perSecond))) }

// ready is when there is a token; it may be past.
func (b *bucket) ready() time.Time {
	return b.full.Add(-time.Duration(b.burst-1) * b.interval)
}

// take removes a token, which must be there.
func (b *bucket) take(now time.Time) {
	if b.full.Before(now) {
		b.full = now
	}
	b.full = b.full.Add(b.interval)
}
