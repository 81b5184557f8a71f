package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"waybill.dev/internal/testenv"
)

func TestMain(m *testing.M) {
	// A dependency of Google's clients starts this one when the program is loaded, and offers no way to stop it.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

func TestOnceTellsTheWholeStory(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"-once"}, &out, &errs, false); code != 0 {
		t.Fatalf("exit code %d\n%s%s", code, &out, &errs)
	}
	for _, text := range []string{
		"the answer: ann is Ann Lee",
		`service "login" may not send call "find-users" to service "search"; if it should, add "login" to the dispatch.From`,
		"search's gate 403: ",
		"403: the caller is not declared",
		"a task with this key is there already",
		"attempt 3: mail to busy@example.com",
		`dead letter: {"to":"nobody@example.com"}, after attempt 1: there is no such address`,
		"401: no ID token",
		"401: the token is for another audience",
		"401: the token's signature is wrong",
		"all 12 as expected",
	} {
		if !strings.Contains(out.String(), text) {
			t.Errorf("the story lacks %q", text)
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("there are colours where there is no terminal")
	}
	if t.Failed() {
		t.Logf("\n%s", &out)
	}
}

func TestATerminalGetsColours(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	var out bytes.Buffer
	if code := run(t.Context(), []string{"-once"}, &out, io.Discard, true); code != 0 {
		t.Fatalf("exit code %d\n%s", code, &out)
	}
	if !strings.Contains(out.String(), "\x1b[32m✓") || !strings.Contains(out.String(), "waiting for the task's time") {
		t.Errorf("no colours or no progress:\n%s", &out)
	}
	t.Setenv("NO_COLOR", "1")
	out.Reset()
	if code := run(t.Context(), []string{"-once"}, &out, io.Discard, true); code != 0 || strings.Contains(out.String(), "\x1b[32m") {
		t.Errorf("exit code %d, and with NO_COLOR:\n%s", code, &out)
	}
}

func TestJSONLines(t *testing.T) {
	var out bytes.Buffer
	if code := run(t.Context(), []string{"-once", "-json"}, &out, io.Discard, true); code != 0 {
		t.Fatalf("exit code %d\n%s", code, &out)
	}
	seen := map[string]int{}
	var last map[string]any
	for line := range strings.Lines(out.String()) {
		last = nil
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			t.Fatalf("no JSON: %q: %v", line, err)
		}
		kind, _ := last["type"].(string)
		if _, ok := last[kind]; !ok {
			t.Errorf("a line of type %q has no such field: %s", kind, line)
		}
		seen[kind]++
	}
	if seen["running"] != 6 || seen["step"] != 12 || seen["result"] != 12 || seen["event"] < 20 || last["ok"] != true {
		t.Errorf("lines by type: %v, the last is %v", seen, last)
	}
}

func TestAStoryThatGoesWrongFails(t *testing.T) {
	var out bytes.Buffer
	p := newPrinter(&out, false, false)
	if p.table([]result{{Title: "good", OK: true}, {Title: "bad", Happened: "nothing"}}) {
		t.Error("the table says that all is well")
	}
	if !strings.Contains(out.String(), "1 of 2 as expected") {
		t.Errorf("\n%s", &out)
	}
}

func TestBadCommandLines(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, tt := range []struct {
		args []string
		code int
		text string
	}{
		{[]string{"-nonsense"}, 2, "flag provided but not defined"},
		{[]string{"once"}, 2, `unknown argument "once"`},
		{[]string{"-once", "-listen", taken.Addr().String()}, 1, "in use"},
		{[]string{"-once", "-listen", "0.0.0.0:0"}, 1, "other machines"},
		{[]string{"-h"}, 0, "-once"},
	} {
		var errs bytes.Buffer
		if code := run(t.Context(), tt.args, io.Discard, &errs, false); code != tt.code || !strings.Contains(errs.String(), tt.text) {
			t.Errorf("%v: exit code %d, %q; want %d with %q", tt.args, code, &errs, tt.code, tt.text)
		}
	}
}

// The commands that the demo prints are what a newcomer types first. They are run as they stand.
func TestWhatItSaysToTryByHandWorks(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		testenv.Missing(t, "curl is not on the PATH, so the commands cannot be typed")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	in, out := io.Pipe()
	done := make(chan int, 1)
	go func() {
		code := run(ctx, nil, out, io.Discard, false)
		out.Close()
		done <- code
	}()
	lines := make(chan string, 1000) // so that the demo never waits for this test to read
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(in); s.Scan(); {
			lines <- s.Text()
		}
	}()
	var script []string
	typed := false
	for line := range lines {
		switch {
		case strings.HasPrefix(line, "Everything stays up"):
			typed = true
		case typed && !strings.HasPrefix(line, "#"):
			script = append(script, line)
		}
		if strings.Contains(line, ":publish") {
			break // nothing but gcloud's commands follow
		}
	}
	answer, err := exec.CommandContext(t.Context(), "sh", "-c", strings.Join(script, "\n")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	for _, text := range []string{`"name":"Ann Lee"`, "the caller is not declared", `"messageIds"`} {
		if !strings.Contains(string(answer), text) {
			t.Errorf("the answers lack %q:\n%s", text, answer)
		}
	}
	arrived, refused := 0, 0 // what was typed shows where the demo runs, too
	for line := range lines {
		switch {
		case strings.Contains(line, " bob: asked"):
			arrived++
		case strings.Contains(line, "403: the caller is not declared"):
			refused++
		}
		if arrived == 2 && refused == 1 {
			break
		}
	}
	if arrived != 2 || refused != 1 {
		t.Errorf("the event reached %d of its 2 subscribers; %d refusals were shown, want 1", arrived, refused)
	}
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("exit code %d", code)
	}
}
