package crashtest

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"waybill.dev/dispatch"
	"waybill.dev/internal/pgtest"
)

var postgres pgtest.Server

func TestMain(m *testing.M) {
	if name := os.Getenv(roleVariable); name != "" {
		if err := play(context.Background(), name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	postgres.Stop()
	if code == 0 {
		// A dependency of Google's clients starts this one when the program is loaded, and offers no way to stop it.
		if err := goleak.Find(goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// order is what the sender commits. N counts the orders of a key, those included that were rolled back.
type order struct {
	Key string
	N   int
}

// The contracts. A receiver that is dead counts as a failed attempt, so there are as many as Pub/Sub can count.
var (
	app       = dispatch.NewApp("shop")
	counter   = app.Service("counter")   // sends
	warehouse = app.Service("warehouse") // receives

	retry  = dispatch.Retry{MaxAttempts: 95, MinBackoff: 50 * time.Millisecond, MaxBackoff: time.Second}
	pack   = dispatch.NewTask[order](warehouse, "pack", dispatch.From(counter), retry)
	placed = dispatch.NewEvent(counter, "placed", dispatch.OrderBy(func(o order) string { return o.Key }))
	book   = placed.To(warehouse, "book", retry)
)
