package googletest

import (
	"os"
	"testing"
)

// Missing skips the test for what the machine does not have, or fails it where WAYBILL_REQUIRE=all says that it must.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("WAYBILL_REQUIRE") == "all" {
		t.Fatalf("WAYBILL_REQUIRE=all, but %s", what)
	}
	t.Skip(what)
}
