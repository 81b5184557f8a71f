package dispatch_test

import (
	"os"
	"strings"
	"testing"
)

// The README's Go code is cut from the example, which compiles and runs. Here it is held against it.
func TestTheREADMEsCodeIsTheExamples(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(readme), "```go\n")[1:]
	if len(blocks) < 4 {
		t.Fatalf("the README has %d blocks of Go; it had 4", len(blocks))
	}
	for _, block := range blocks {
		code, _, closed := strings.Cut(block, "```")
		if !closed {
			t.Fatal("a block of the README does not end")
		}
		if !strings.Contains(string(example), strings.TrimSuffix(code, "\n")) {
			t.Errorf("this code of the README is not in example_test.go; change both:\n%s", code)
		}
	}
}
