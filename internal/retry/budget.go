package retry

import (
	"sync"
	"time"
)

// A budget's measures: one retry for each ten requests, beyond a reserve of ten that refills by one a second.
const (
	reserve         = 10
	refillPerSecond = 1
	perRequest      = 0.1
)

// Budget bounds the retries of all requests to one target together, so that a target that fails under its load does not
// get several times that load. It is a token bucket: a request puts a tenth of a token in, a retry takes one out, and
// time refills it up to its size. The zero value is full and ready; it may be used by many goroutines.
//
// gRPC throttles retries with a bucket as well (https://github.com/grpc/proposal/blob/master/A6-client-retries.md#throttling-retry-attempts-and-hedged-rpcs),
// which only successes fill. Finagle's, which requests and time fill, suits clients with little traffic: a bucket that only
// successes fill would deny the second failed request of a day its retry.
type Budget struct {
	mu    sync.Mutex
	spent float64   // tokens that are missing, so that the zero value is full
	at    time.Time // when spent was right
}

// Request notes a request, however often it will be tried.
func (b *Budget) Request() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spent = max(b.spent-perRequest, 0)
}

// Retry reports whether one more attempt is allowed, and takes its token.
func (b *Budget) Retry() bool {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if passed := now.Sub(b.at); passed > 0 {
		b.spent = max(b.spent-passed.Seconds()*refillPerSecond, 0)
		b.at = now
	}
	if b.spent+1 > reserve {
		return false
	}
	b.spent++
	return true
}
