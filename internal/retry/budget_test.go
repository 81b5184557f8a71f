package retry_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"
	"waybill.dev/internal/retry"
)

func TestABudgetAllowsATenthBeyondItsReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // time stands still: nothing refills
		var b retry.Budget
		retries := 0
		const requests = 1000
		for range requests {
			b.Request()
			for range 3 {
				if b.Retry() {
					retries++
				}
			}
		}
		if retries < 100 || retries > 110 {
			t.Errorf("%d retries of %d requests, want a tenth and a reserve of 10", retries, requests)
		}
	})
}

func TestABudgetsReserveRefillsWithTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b retry.Budget
		spend := func() (n int) {
			for b.Retry() {
				n++
			}
			return n
		}
		if n := spend(); n != 10 {
			t.Errorf("the reserve is %d, want 10", n)
		}
		time.Sleep(3 * time.Second)
		if n := spend(); n != 3 {
			t.Errorf("after 3 s %d, want 3", n)
		}
		time.Sleep(time.Hour)
		if n := spend(); n != 10 {
			t.Errorf("after an hour %d, want the reserve and no more", n)
		}
	})
}

func TestAScheduleStopsWithItsBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := limits
		limits.Budget = new(retry.Budget)
		for range 10 {
			limits.Budget.Retry()
		}
		s := retry.New(t.Context(), limits)
		if got := s.NextBackOff(); got != backoff.Stop || !s.OverBudget() {
			t.Errorf("wait %v, over budget %v", got, s.OverBudget())
		}
		time.Sleep(time.Second)
		s = retry.New(t.Context(), limits)
		if got := s.NextBackOff(); got == backoff.Stop || s.OverBudget() {
			t.Errorf("with a token again: wait %v, over budget %v", got, s.OverBudget())
		}
	})
}
