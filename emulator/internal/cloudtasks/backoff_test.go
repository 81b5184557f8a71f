package cloudtasks

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Google's own example, from the comment of RetryConfig.max_doublings.
func TestDelayIsThatOfGooglesExample(t *testing.T) {
	p := retryPolicy{minBackoff: 10 * time.Second, maxBackoff: 300 * time.Second, maxDoublings: 3}
	var got []int
	for n := range 8 {
		got = append(got, int(p.delay(int32(n+1))/time.Second))
	}
	if diff := cmp.Diff([]int{10, 20, 40, 80, 160, 240, 300, 300}, got); diff != "" {
		t.Errorf("seconds (-want +got):\n%s", diff)
	}
}

func TestDelayAtTheEdges(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy retryPolicy
		n      int32
		want   time.Duration
	}{
		{"no doublings grow by steps at once", retryPolicy{minBackoff: 10 * time.Second, maxBackoff: time.Hour}, 3, 30 * time.Second},
		{"the defaults' last doubling is capped", retryPolicy{minBackoff: 100 * time.Millisecond, maxBackoff: time.Hour, maxDoublings: 16}, 17, time.Hour},
		{"a shift beyond 63 bits", retryPolicy{minBackoff: 1, maxBackoff: time.Hour, maxDoublings: math.MaxInt32}, 1000, time.Hour},
		{"the last failure that can be counted", retryPolicy{minBackoff: time.Hour, maxBackoff: math.MaxInt64, maxDoublings: 20}, math.MaxInt32, math.MaxInt64},
		{"as many doublings as can be counted", retryPolicy{minBackoff: 10, maxBackoff: time.Hour, maxDoublings: math.MaxInt32}, 2, 20},
		{"no wait at all", retryPolicy{maxBackoff: time.Hour, maxDoublings: 5}, 9, 0},
		{"a minimum as large as the maximum", retryPolicy{minBackoff: time.Minute, maxBackoff: time.Minute, maxDoublings: 5}, 1, time.Minute},
	} {
		if got := c.policy.delay(c.n); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestExhausted(t *testing.T) {
	for _, c := range []struct {
		name     string
		attempts int32
		duration time.Duration
		made     int32
		since    time.Duration
		want     bool
	}{
		{"attempts left", 3, 0, 2, time.Hour, false},
		{"attempts used up", 3, 0, 3, 0, true},
		{"attempts used up, time left", 3, time.Minute, 5, 59 * time.Second, false},
		{"time used up, attempts left", 3, time.Minute, 2, time.Hour, false},
		{"both used up", 3, time.Minute, 3, time.Minute, true},
		{"only the time is limited", -1, time.Minute, 1, time.Minute, true},
		{"nothing is limited", -1, 0, 1000, 1000 * time.Hour, false},
	} {
		p := retryPolicy{maxAttempts: c.attempts, maxDuration: c.duration}
		if got := p.exhausted(c.made, c.since); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
