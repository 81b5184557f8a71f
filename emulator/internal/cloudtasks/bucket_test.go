package cloudtasks

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// drain takes n tokens as early as possible and returns when.
func drain(b *bucket, from, now time.Time, n int) []time.Duration {
	var times []time.Duration
	for range n {
		now = latest(now, b.ready())
		b.take(now)
		times = append(times, now.Sub(from))
	}
	return times
}

func newBucket(rate float64, now time.Time) *bucket {
	b := &bucket{full: now}
	b.setRate(rate, now)
	return b
}

func TestBucketRates(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for _, c := range []struct {
		rate float64
		want []time.Duration
	}{
		{0.5, []time.Duration{0, 2 * time.Second, 4 * time.Second}},
		{1, []time.Duration{0, time.Second, 2 * time.Second}},
		{2, []time.Duration{0, 0, 500 * time.Millisecond, time.Second}},
		{2.5, []time.Duration{0, 0, 0, 400 * time.Millisecond, 800 * time.Millisecond}},
	} {
		if diff := cmp.Diff(c.want, drain(newBucket(c.rate, now), now, now, len(c.want))); diff != "" {
			t.Errorf("%v/s (-want +got):\n%s", c.rate, diff)
		}
	}
}

func TestBucketRefillsToItsBurstAndNoFurther(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	b := newBucket(2, now)
	drain(b, now, now, 4)
	later := now.Add(time.Hour)
	want := []time.Duration{0, 0, 500 * time.Millisecond}
	if diff := cmp.Diff(want, drain(b, later, later, 3)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBucketChangesItsRateAndOwesNoLess(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	b := newBucket(1, now)
	b.take(now)
	b.setRate(0.1, now) // the missing token now takes ten seconds
	if got := b.ready().Sub(now); got != 10*time.Second {
		t.Errorf("after slowing down: ready in %v, want 10s", got)
	}
	b.setRate(100, now)
	if diff := cmp.Diff(make([]time.Duration, 99), drain(b, now, now, 99)); diff != "" {
		t.Errorf("after speeding up, 99 of 100 tokens are there (-want +got):\n%s", diff)
	}
	if got := b.ready().Sub(now); got != 10*time.Millisecond {
		t.Errorf("the hundredth: ready in %v, want 10ms", got)
	}
}

func TestBucketSurvivesAbsurdRates(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	b := newBucket(1e-300, now)
	b.take(now)
	if !b.ready().After(now.Add(30 * 365 * 24 * time.Hour)) {
		t.Errorf("a rate next to zero: ready at %v", b.ready())
	}
}
