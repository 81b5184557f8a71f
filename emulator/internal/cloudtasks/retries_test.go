package cloudtasks

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// The documentation's formula for the wait after failure n, for a million retry configurations and in numbers that
// cannot overflow, and the rule by which a task stops.
func TestAMillionRetryConfigurations(t *testing.T) {
	count := 1_000_000
	if testing.Short() {
		count = 50_000
	}
	random := rand.New(rand.NewPCG(1, 2))
	accepted := 0
	for range count {
		sent := generateRetry(random)
		c := &cloudtaskspb.RetryConfig{
			MaxAttempts: sent.MaxAttempts, MaxDoublings: sent.MaxDoublings,
			MinBackoff: sent.MinBackoff, MaxBackoff: sent.MaxBackoff, MaxRetryDuration: sent.MaxRetryDuration,
		}
		err := completeRetry("retry_config", c)
		least, most := backoffsOf(sent)
		if (err == nil) != (least.Cmp(most) <= 0) {
			t.Fatalf("%v: %v", sent, err)
		}
		if err != nil {
			continue
		}
		accepted++
		p := policyOf(c)

		n := generateCount(random, sent.MaxDoublings)
		want := waitAfter(least, most, int64(sent.MaxDoublings), int64(n))
		if got := p.delay(n); !want.IsInt64() || want.Int64() != int64(got) {
			t.Fatalf("%v, failure %d: %d ns, want %v", sent, n, got, want)
		}

		made := generateCount(random, c.MaxAttempts)
		since := time.Duration(random.Int64N(math.MaxInt64/2) >> random.IntN(62))
		if random.IntN(4) == 0 {
			since = min(sent.GetMaxRetryDuration().AsDuration(), math.MaxInt64/2).Truncate(time.Second) + time.Duration(random.IntN(3)-1)
		}
		if got := p.exhausted(made, since); got != stops(sent, made, since) {
			t.Fatalf("%v, after %d attempts and %v: it stops: %v", sent, made, since, got)
		}
	}
	if accepted < count/2 {
		t.Errorf("only %d of %d are valid", accepted, count)
	}
}

// generateRetry makes any configuration that has a meaning, with a liking for the extremes.
func generateRetry(random *rand.Rand) *cloudtaskspb.RetryConfig {
	c := &cloudtaskspb.RetryConfig{
		MaxAttempts:      generateCount(random, 100),
		MaxDoublings:     generateCount(random, 16),
		MinBackoff:       generateDuration(random),
		MaxBackoff:       generateDuration(random),
		MaxRetryDuration: generateDuration(random),
	}
	if random.IntN(2) == 0 {
		c.MaxAttempts = -random.Int32N(2) // no limit, or the default
	}
	if random.IntN(8) == 0 {
		c.MaxDoublings = 0
	}
	if least, most := backoffsOf(c); least.Cmp(most) > 0 && random.IntN(8) > 0 {
		c.MinBackoff, c.MaxBackoff = c.MaxBackoff, c.MinBackoff
	}
	return c
}

// generateCount makes a number from 1: mostly around the one given, but up to the largest.
func generateCount(random *rand.Rand, around int32) int32 {
	switch random.IntN(4) {
	case 0:
		return math.MaxInt32 - random.Int32N(2)
	case 1:
		return 1 + random.Int32N(math.MaxInt32)>>random.IntN(31)
	default:
		return int32(min(max(int64(around)+int64(random.IntN(5))-2, 1), math.MaxInt32))
	}
}

// generateDuration makes a duration up to the largest of protobuf's, ten thousand years, or none.
func generateDuration(random *rand.Rand) *durationpb.Duration {
	switch random.IntN(10) {
	case 0:
		return nil
	case 1:
		return durationpb.New(time.Duration(random.IntN(2)))
	case 2:
		return &durationpb.Duration{Seconds: 315_576_000_000 >> random.IntN(8), Nanos: 999_999_999}
	default:
		return durationpb.New(time.Duration(random.Int64() >> random.IntN(63)))
	}
}

// backoffsOf are the minimum and maximum in ns, with Google's defaults of 0.1 s and an hour, or less and more if the
// other needs it.
func backoffsOf(c *cloudtaskspb.RetryConfig) (least, most *big.Int) {
	least, most = nanoseconds(c.MinBackoff), nanoseconds(c.MaxBackoff)
	if c.MaxBackoff == nil {
		most = big.NewInt(3600e9)
		if c.MinBackoff != nil && least.Cmp(most) > 0 {
			most = least
		}
	}
	if c.MinBackoff == nil {
		least = big.NewInt(1e8)
		if least.Cmp(most) > 0 {
			least = most
		}
	}
	return least, most
}

// nanoseconds is at most what a time.Duration holds: 292 years.
func nanoseconds(d *durationpb.Duration) *big.Int {
	ns := new(big.Int).Mul(big.NewInt(d.GetSeconds()), big.NewInt(1e9))
	return least(ns.Add(ns, big.NewInt(int64(d.GetNanos()))), big.NewInt(math.MaxInt64))
}

func least(a, b *big.Int) *big.Int {
	if a.Cmp(b) < 0 {
		return a
	}
	return b
}

// waitAfter is min(max, min * 2^(n-1)) for n <= d+1, and then min(max, min * 2^d * (n-d)).
func waitAfter(minBackoff, maxBackoff *big.Int, d, n int64) *big.Int {
	factor, power := big.NewInt(1), n-1
	if n > d+1 {
		factor, power = big.NewInt(n-d), d
	}
	factor.Lsh(factor, uint(min(power, 64))) // 2^64 ns are beyond every maximum
	return least(factor.Mul(factor, minBackoff), maxBackoff)
}

// stops is the rule for a configuration as it was sent: a task stops once each limit that is set is reached, and
// never if none is.
func stops(c *cloudtaskspb.RetryConfig, made int32, since time.Duration) bool {
	seconds := c.GetMaxRetryDuration().GetSeconds() // "truncated to the nearest second"
	attempts := c.MaxAttempts
	if attempts == 0 {
		attempts = 100 // the default
	}
	switch {
	case attempts == -1 && seconds == 0:
		return false
	case attempts == -1:
		return int64(since/time.Second) >= seconds
	case seconds == 0:
		return made >= attempts
	}
	return made >= attempts && int64(since/time.Second) >= seconds
}
