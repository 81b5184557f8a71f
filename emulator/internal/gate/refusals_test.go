package gate

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestRefusalsAreLoggedOncePerCallerAndReason(t *testing.T) {
	var log bytes.Buffer
	r := newRefusals(slog.New(slog.NewTextHandler(&log, nil)), "projects/shop/locations/l/services/search")
	lines := func() int { return strings.Count(log.String(), "\n") }
	report := func(caller, reason string, want int) {
		t.Helper()
		r.report(t.Context(), verdict{status: 403, caller: caller, reason: reason})
		if got := lines(); got != want {
			t.Fatalf("%q, %q: %d lines, want %d:\n%s", caller, reason, got, want, log.String())
		}
	}
	report("login@shop.test", "no role", 1)
	report("login@shop.test", "no role", 1)
	report("login@shop.test", "other", 2)
	report("mailer@shop.test", "no role", 3)
	report("", "no token", 4)
	report("", "no token", 4)
	r.succeeded("login@shop.test", "")
	report("login@shop.test", "no role", 5)
	report("", "no token", 6)
	report("mailer@shop.test", "no role", 6)
	if !strings.Contains(log.String(), "status=403 reason=\"no role\" caller=login@shop.test") {
		t.Errorf("log:\n%s", log.String())
	}
	for k := range 10 * maxReasons {
		r.report(t.Context(), verdict{reason: fmt.Sprint("audience ", k)})
	}
	if got := lines(); got > 6+maxReasons {
		t.Errorf("a flood of reasons made %d lines", got)
	}
	for k := range 3 * maxCallers {
		r.report(t.Context(), verdict{caller: fmt.Sprint(k), reason: "no role"})
	}
	if len(r.logged) > maxCallers {
		t.Errorf("%d callers are remembered", len(r.logged))
	}
}
