package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestMain makes a copy of the test binary play the other process.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-role" {
		main()
		return
	}
	os.Exit(m.Run())
}

// It runs, in small and without what takes long. Whether goals are met says nothing here.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the command and starts it several times")
	}
	t.Chdir("../../..")
	var stdout, stderr bytes.Buffer
	run(t.Context(), []string{"-rounds", "1", "-duration", "50ms", "-sleepers", "1000", "-parts", "rates,readiness,sleepers,signatures"}, nil, &stdout, &stderr)
	for _, want := range []string{
		"| ceiling: 1/(1/C + 1/H)", "| create and deliver, in memory", "| create and deliver, --data", "| create and deliver, a signature each",
		"| exec to ready", "| resident with 1000 tasks", "| create and deliver beside them",
	} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no line begins with %q in\n%s\n%s", want, &stdout, &stderr)
		}
	}
}
