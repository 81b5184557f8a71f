package dispatch_test

import (
	"os"
	"strings"
	"testing"
)

// The README's Go code is cut from the examples, which compile and run. Here it is held against them.
func TestTheREADMEsCodeIsTheExamples(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var examples string
	for _, file := range []string{"example_test.go", "deploy/example_test.go"} {
		example, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		examples += string(example)
	}
	blocks := strings.Split(string(readme), "```go\n")[1:]
	if len(blocks) < 5 {
		t.Fatalf("the README has %d blocks of Go; it had 5", len(blocks))
	}
	for _, block := range blocks {
		code, _, closed := strings.Cut(block, "```")
		if !closed {
			t.Fatal("a block of the README does not end")
		}
		if !strings.Contains(examples, strings.TrimSuffix(code, "\n")) {
			t.Errorf("this code of the README is in no example; change both:\n%s", code)
		}
	}
}
