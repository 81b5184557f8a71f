package cloudtasks

import (
	"math"
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

// setRate changes the rate and keeps the tokens that are missing, as far as the new burst goes.
func (b *bucket) setRate(perSecond float64, now time.Time) {
	missing := 0.0
	if left := b.full.Sub(now); left > 0 && b.interval > 0 {
		missing = float64(left) / float64(b.interval)
	}
	b.interval = time.Duration(min(math.Ceil(float64(time.Second)/perSecond), maxInterval))
	b.burst = burstOf(perSecond)
	b.full = now.Add(time.Duration(min(missing, float64(b.burst)) * float64(b.interval)))
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
