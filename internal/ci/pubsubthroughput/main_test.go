package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"waybill.dev/internal/testenv"
)

// TestMain makes a copy of the test binary play the other process.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-role" {
		main()
		return
	}
	os.Exit(m.Run())
}

// It runs, in small; all of it only where WAYBILL_REQUIRE=all, since each part starts Google's emulator. Whether goals are met
// says nothing here.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the command and starts servers")
	}
	t.Chdir("../../..")
	parts := "publish,push"
	lines := []string{"| publish: beside pstest's", "| push: beside the bare POST"}
	if testenv.Full() {
		parts += ",stream,latency,backlog,readiness"
		lines = append(lines, "| streaming pull, publish to receipt", "| publish to receipt at 500/s", "| pulled: the large backlog beside",
			"| resident once they were received", "| exec to ready")
	}
	var stdout, stderr bytes.Buffer
	run(t.Context(), []string{"-rounds", "1", "-scale", "0.01", "-parts", parts}, nil, &stdout, &stderr)
	for _, want := range lines {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no line begins with %q in\n%s\n%s", want, &stdout, &stderr)
		}
	}
}
