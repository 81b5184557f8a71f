package cloudtasks

import (
	"math"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
)

// retryPolicy is a RetryConfig with every field filled in.
type retryPolicy struct {
	maxAttempts            int32         // -1: no limit
	maxDuration            time.Duration // 0: no limit
	minBackoff, maxBackoff time.Duration
	maxDoublings           int32
}

func policyOf(c *cloudtaskspb.RetryConfig) retryPolicy {
	return retryPolicy{
		maxAttempts:  c.GetMaxAttempts(),
		maxDuration:  c.GetMaxRetryDuration().AsDuration(),
		minBackoff:   c.GetMinBackoff().AsDuration(),
		maxBackoff:   c.GetMaxBackoff().AsDuration(),
		maxDoublings: c.GetMaxDoublings(),
	}
}

// delay is the wait after failure n, counted from 1. It doubles maxDoublings times, then grows by equal
// steps, then stays at maxBackoff.
func (p retryPolicy) delay(n int32) time.Duration {
	if p.minBackoff <= 0 {
		return 0
	}
	doublings := max(min(n-1, p.maxDoublings), 0)
	if doublings >= 63 || p.minBackoff > math.MaxInt64>>doublings {
		return p.maxBackoff // the product is beyond every Duration, and so beyond the maximum
	}
	step, times := p.minBackoff<<doublings, int64(1)
	if n-1 > p.maxDoublings {
		times = int64(n - p.maxDoublings)
	}
	if times > math.MaxInt64/int64(step) {
		return p.maxBackoff
	}
	return min(step*time.Duration(times), p.maxBackoff)
}

// exhausted tells whether a task that has made so many attempts, the first of them so long ago, stops.
// A limit that is not set has no say; if both are set, both must be reached.
func (p retryPolicy) exhausted(attempts int32, sinceFirst time.Duration) bool {
	limitedAttempts, limitedTime := p.maxAttempts > 0, p.maxDuration > 0
	if !limitedAttempts && !limitedTime {
		return false
	}
	return (!limitedAttempts || attempts >= p.maxAttempts) && (!limitedTime || sinceFirst >= p.maxDuration)
}
