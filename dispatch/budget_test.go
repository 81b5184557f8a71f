package dispatch_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"waybill.dev/dispatch"
	wsync "waybill.dev/sync"
)

// The calls to one service share a retry budget, and those to another have their own: what fails is a service.
func TestTheCallsToOneServiceShareARetryBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := dispatch.NewApp("shop")
		login, store, other := app.Service("login"), app.Service("store"), app.Service("other")
		patient := dispatch.Retry{MaxAttempts: 100, MinBackoff: time.Nanosecond, MaxBackoff: time.Nanosecond}
		first := dispatch.NewCall[query, profile](store, "first", dispatch.From(login), patient)
		second := dispatch.NewCall[query, profile](store, "second", dispatch.From(login), patient)
		elsewhere := dispatch.NewCall[query, profile](other, "elsewhere", dispatch.From(login), patient)
		w := newCarrier(t, app)
		sender := w.open(login)
		for _, tt := range []struct {
			to       *dispatch.Service
			call     *dispatch.Call[query, profile]
			attempts int
		}{{store, first, 11}, {store, second, 1}, {other, elsewhere, 11}} {
			attempts := 0
			receiver := w.open(tt.to)
			dispatch.Answer(receiver, tt.call, func(context.Context, query) (profile, error) {
				attempts++
				return profile{}, wsync.Errorf(wsync.Unavailable, "down")
			})
			_, err := dispatch.Request(t.Context(), sender, tt.call, query{})
			if attempts != tt.attempts || !errors.Is(err, wsync.ErrRetryBudget) {
				t.Errorf("%s: %d attempts, want %d; error %v", tt.call.Name(), attempts, tt.attempts, err)
			}
		}
	})
}
