// Package testenv decides what a test does where the machine lacks something, and how much the long tests do.
//
// WAYBILL_REQUIRE=all says that everything must be there, and that the long ones run in full: .ci/run sets it.
package testenv

import (
	"os"
	"testing"
)

func required() bool { return os.Getenv("WAYBILL_REQUIRE") == "all" }

// Missing skips the test for what the machine does not have, which a sentence says, or fails it where that must be there.
func Missing(t testing.TB, sentence string) {
	t.Helper()
	if required() {
		t.Fatalf("WAYBILL_REQUIRE=all, but %s", sentence)
	}
	t.Skip(sentence)
}

// Full reports whether a long test runs with its full numbers. Under -short it never does.
func Full() bool { return required() && !testing.Short() }
