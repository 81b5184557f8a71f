package retry_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"
	"waybill.dev/internal/retry"
)

var limits = retry.Limits{MaxAttempts: 4, MinBackoff: 100 * time.Millisecond, MaxBackoff: 300 * time.Millisecond}

func TestWaitsDoubleAndEndWithTheAttempts(t *testing.T) {
	s := retry.New(t.Context(), limits)
	for i, base := range []time.Duration{100, 200, 300} { // the third is capped
		base *= time.Millisecond
		if got := s.NextBackOff(); got < base/2 || got > base*3/2+1 {
			t.Errorf("wait %d is %v, want %v within a half", i+1, got, base)
		}
	}
	if got := s.NextBackOff(); got != backoff.Stop {
		t.Errorf("after four attempts: %v", got)
	}
	s.Reset()
	if got := s.NextBackOff(); got == backoff.Stop {
		t.Error("Reset did not begin anew")
	}
}

func TestOneAttemptNeverWaits(t *testing.T) {
	if got := retry.New(t.Context(), retry.Limits{MaxAttempts: 1}).NextBackOff(); got != backoff.Stop {
		t.Errorf("wait %v", got)
	}
}

func TestAtLeastCountsOnce(t *testing.T) {
	s := retry.New(t.Context(), limits)
	s.AtLeast(7 * time.Second)
	if got := s.NextBackOff(); got != 7*time.Second {
		t.Errorf("wait %v, want what the server asked for", got)
	}
	if got := s.NextBackOff(); got > time.Second {
		t.Errorf("wait %v: the wish was kept for the next attempt", got)
	}
}

func TestAWaitThatTheDeadlineWouldCutIsNotBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		s := retry.New(ctx, limits)
		s.AtLeast(2 * time.Second)
		if got := s.NextBackOff(); got != backoff.Stop {
			t.Errorf("wait %v of the two seconds that are left", got)
		}
		s.AtLeast(2*time.Second - 1)
		if got := s.NextBackOff(); got != 2*time.Second-1 {
			t.Errorf("wait %v, which fits", got)
		}
	})
}

func TestAnEndedContextStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := retry.New(ctx, limits).NextBackOff(); got != backoff.Stop {
		t.Errorf("wait %v", got)
	}
}
