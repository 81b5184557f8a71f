// Testcount counts the tests in the events of go test -json, which it reads from standard input.
//
//	go test -json ./... | go run ./internal/ci/testcount -o counts
//
// It prints one line for each package and the output of what failed, and writes "PASSED FAILED
// SKIPPED" to the file of -o. A package that fails without a failing test, since it does not
// build or leaks a goroutine, counts as one failure. The exit status is 1 if anything failed or
// if there were no tests at all.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("testcount", flag.ContinueOnError)
	flags.SetOutput(stderr)
	file := flags.String("o", "", "file that gets the three counts")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	c, err := count(stdin, stdout)
	if err == nil && *file != "" {
		err = os.WriteFile(*file, fmt.Appendf(nil, "%d %d %d\n", c.passed, c.failed, c.skipped), 0o600)
	}
	if err != nil {
		fmt.Fprintln(stderr, "testcount:", err)
		return 1
	}
	if c.failed > 0 || c.passed == 0 {
		return 1
	}
	return 0
}

type counts struct{ passed, failed, skipped int }

// An event is documented in "go doc test2json".
type event struct {
	Action     string
	Package    string
	ImportPath string // of a package that does not build
	Test       string
	Elapsed    float64
	Output     string
}

func count(events io.Reader, w io.Writer) (counts, error) {
	var c counts
	output := make(map[string]*strings.Builder) // by package and test, until it is known to have passed
	failures := make(map[string]int)            // by package
	keep := func(key, text string) {
		if output[key] == nil {
			output[key] = new(strings.Builder)
		}
		output[key].WriteString(text)
	}
	show := func(key string) {
		if b := output[key]; b != nil {
			_, _ = io.WriteString(w, b.String())
		}
	}
	lines := bufio.NewScanner(events)
	lines.Buffer(nil, 64<<20) // one line may hold all that a test printed
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Fprintln(w, lines.Text()) // go itself has something to say
			continue
		}
		key := e.Package + " " + e.Test
		switch e.Action {
		case "output":
			keep(key, e.Output)
		case "build-output":
			fmt.Fprint(w, e.Output)
		case "pass", "fail", "skip":
			if e.Action == "fail" {
				show(key)
			}
			if e.Test == "" {
				fmt.Fprintf(w, "%-4s %s %.1f s\n", e.Action, e.Package, e.Elapsed)
				if e.Action == "fail" && failures[e.Package] == 0 {
					c.failed++
				}
			} else {
				c.add(e.Action)
				if e.Action == "fail" {
					failures[e.Package]++
				}
			}
			delete(output, key)
		}
	}
	return c, lines.Err()
}

func (c *counts) add(action string) {
	switch action {
	case "pass":
		c.passed++
	case "fail":
		c.failed++
	case "skip":
		c.skipped++
	}
}
