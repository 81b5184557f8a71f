package pubsub

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/googleapis/gax-go/v2"
	"google.golang.org/grpc/codes"
	"waybill.dev/internal/endpoint/dial"
)

// refusedPatience is how long refused connections are tried again when nothing
// else has happened to a request: long enough for a server that restarts, short
// enough for whoever forgot to start one.
const refusedPatience = 3 * time.Second

// retries is what the requests of one client share.
type retries struct {
	patience time.Duration
	aborted  atomic.Bool                       // nothing is repeated any more
	refused  atomic.Pointer[dial.RefusedError] // since the last success or other failure
}

// publish returns the schedule of one batch, which repeats what Google's client does.
func (r *retries) publish() *schedule {
	return r.of(codes.Aborted, codes.Canceled, codes.Internal, codes.ResourceExhausted,
		codes.Unknown, codes.Unavailable, codes.DeadlineExceeded)
}

// create returns the schedule of one creation: a second copy comes out as AlreadyExists.
func (r *retries) create() *schedule {
	return r.of(codes.Aborted, codes.Unknown, codes.Unavailable)
}

// of returns the schedule of one request: at shorter intervals than Google's
// client, only until the client gives up (closing the connection alone would
// leave it repeating for the rest of the timeout), and not for long while
// nothing listens.
func (r *retries) of(repeated ...codes.Code) *schedule {
	return &schedule{
		retries: r,
		backoff: gax.OnCodes(repeated, gax.Backoff{Initial: 100 * time.Millisecond, Max: 5 * time.Second, Multiplier: 2}),
	}
}

// schedule implements gax.Retryer.
type schedule struct {
	retries *retries
	backoff gax.Retryer
	since   time.Time          // of the first refused connection
	reached bool               // an attempt may have been more than that
	refused *dial.RefusedError // the last attempt's
}

// Retry implements gax.Retryer.
func (s *schedule) Retry(err error) (time.Duration, bool) {
	refused, _ := errors.AsType[*dial.RefusedError](err)
	s.refused = refused
	s.retries.refused.Store(refused)
	if s.retries.aborted.Load() {
		return 0, false
	}
	wait, again := s.backoff.Retry(err)
	if refused == nil {
		s.reached = true
	}
	if s.reached || !again {
		return wait, again
	}
	if s.since.IsZero() {
		s.since = time.Now()
	}
	left := s.retries.patience - time.Since(s.since)
	return min(wait, left), left > 0
}

func (s *schedule) option() gax.CallOption {
	return gax.WithRetry(func() gax.Retryer { return s })
}

// cause adds to the error of a request whose context ended between two attempts what they came to.
func (s *schedule) cause(err error) error {
	if _, ok := errors.AsType[*dial.RefusedError](err); err == nil || ok || s.refused == nil {
		return err
	}
	return fmt.Errorf("%w (%w)", s.refused, err)
}
