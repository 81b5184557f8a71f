package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const events = `
{"Action":"start","Package":"a"}
{"Action":"output","Package":"a","Test":"TestGood","Output":"quiet\n"}
{"Action":"pass","Package":"a","Test":"TestGood","Elapsed":0}
{"Action":"skip","Package":"a","Test":"TestElsewhere","Elapsed":0}
{"Action":"pass","Package":"a","Elapsed":0.1}
{"Action":"output","Package":"b","Test":"TestBad/one","Output":"says \"Action\":\"pass\"\n"}
{"Action":"fail","Package":"b","Test":"TestBad/one","Elapsed":0}
{"Action":"fail","Package":"b","Test":"TestBad","Elapsed":0}
{"Action":"fail","Package":"b","Elapsed":0.2}
{"Action":"build-output","ImportPath":"c","Output":"c.go:1:1: broken\n"}
{"Action":"fail","Package":"c","Elapsed":0,"FailedBuild":"c"}
go: something else
{"Action":"skip","Package":"d","Elapsed":0}
`

func TestRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "counts")
	var stdout, stderr bytes.Buffer
	code := run([]string{"-o", file}, strings.NewReader(strings.TrimSpace(events)), &stdout, &stderr)
	if code != 1 || stderr.Len() != 0 {
		t.Errorf("exit status %d, stderr %q", code, &stderr)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != "1 3 1\n" {
		t.Errorf("counts %q, want 1 passed, 3 failed, 1 skipped", got)
	}
	for _, want := range []string{`says "Action":"pass"`, "c.go:1:1: broken", "go: something else", "pass a 0.1 s", "fail b 0.2 s"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, &stdout)
		}
	}
	if strings.Contains(stdout.String(), "quiet") {
		t.Errorf("the output of a good test is shown:\n%s", &stdout)
	}
}

func TestRunSucceeds(t *testing.T) {
	for input, want := range map[string]int{
		`{"Action":"pass","Package":"a","Test":"TestGood"}`: 0,
		`{"Action":"skip","Package":"a","Test":"TestGood"}`: 1, // nothing was tested
		``: 1,
	} {
		var out bytes.Buffer
		if got := run(nil, strings.NewReader(input), &out, &out); got != want {
			t.Errorf("%s: exit status %d, want %d", input, got, want)
		}
	}
}
