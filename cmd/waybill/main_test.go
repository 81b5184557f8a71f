package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// asWaybill makes a copy of the test binary behave as the command.
const asWaybill = "WAYBILL_TEST_RUN_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asWaybill) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m,
		// The Go client's tracing starts it once per process and offers no way to end it.
		goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

// output collects what a command prints and lets a test wait for a part of it.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func newOutput() *output { return &output{changed: make(chan struct{}, 1)} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.changed <- struct{}{}:
	default:
	}
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// until waits for want. The test's own deadline bounds it.
func (o *output) until(t *testing.T, want string) {
	t.Helper()
	for !strings.Contains(o.String(), want) {
		select {
		case <-o.changed:
		case <-t.Context().Done():
			t.Fatalf("waiting for %q:\n%s", want, o)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, tt := range []struct {
		args   string
		code   int
		stdout string
		stderr string
	}{
		{"", exitUsage, "", "Usage: waybill COMMAND"},
		{"help", exitOK, "emulator  run Cloud Tasks", ""},
		{"--help", exitOK, "Usage: waybill COMMAND", ""},
		{"-h", exitOK, "Usage: waybill COMMAND", ""},
		{"help help", exitOK, "Usage: waybill COMMAND", ""},
		{"help emulator", exitOK, "--listen HOST:PORT\n        HOST:PORT to listen on; port 0 picks a free one (default 127.0.0.1:8085)", ""},
		{"emulator --help", exitOK, "--allow-non-loopback", ""},
		{"help version", exitOK, "Usage: waybill version", ""},
		{"help nothing", exitUsage, "", `waybill: there is no command "nothing"; run: waybill help`},
		{"start", exitUsage, "", `waybill: there is no command "start"; run: waybill help`},
		{"version now", exitUsage, "", `waybill version: unexpected argument "now"; run: waybill help version`},
		{"version", exitOK, "waybill ", ""},
		{"emulator now", exitUsage, "", `unexpected argument "now"`},
		{"emulator --port 1", exitUsage, "", "flag provided but not defined: --port; run: waybill help emulator"},
		{"emulator --listen", exitUsage, "", "flag needs an argument: --listen; run"},
		{"emulator --quiet=2", exitUsage, "", `invalid boolean value "2" for --quiet: `},
		{`emulator --service "for-flag\-x`, exitUsage, "", `for flag --service: want NAME=URL`},
		{"help emulator", exitOK, "everything else is in memory, unless --data says where\nto keep it.", ""},
		{"emulator --service loyalty=127.0.0.1:9101", exitUsage, "", "for flag --service: write loyalty=http://127.0.0.1:9101;"},
		{"emulator --service loyalty=localhost:9101", exitUsage, "", "write loyalty=http://localhost:9101;"},
		{"emulator --service loyalty=loyalty.example", exitUsage, "", "write loyalty=https://loyalty.example;"},
		{"emulator --service loyalty=9101:", exitUsage, "", "write loyalty=https://9101:"},
		{"emulator --service loyalty=:9101", exitUsage, "", "want NAME=URL"},
		{"emulator --service mailer", exitUsage, "", "want NAME=URL, as in mailer=http://127.0.0.1:8101"},
		{"emulator --service m--r=http://127.0.0.1", exitUsage, "", "two hyphens in a row"},
		{"emulator --service mailer=http://mailer.example", exitUsage, "", "use https"},
		{"emulator --service a=https://a.example --service a=https://b.example", exitUsage, "", "service a is given twice"},
		{"emulator --listen nowhere", exitFailed, "", `"nowhere" is not host:port`},
		{"emulator --listen 0.0.0.0:0", exitFailed, "", `waybill emulator: --listen "0.0.0.0:0" can be reached from other machines: use 127.0.0.1, or add --allow-non-loopback if`},
		{"emulator --project a/b --location A --pubsub-upstream x --host a:1 --listen x", exitFailed, "", "waybill emulator: --pubsub-upstream \"x\" is not host:port"},
		{"emulator --project a/b", exitFailed, "", `"a/b" is not a project id`},
	} {
		t.Run(tt.args, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), strings.Fields(tt.args), &stdout, &stderr)
			if code != tt.code {
				t.Errorf("exit status %d, want %d", code, tt.code)
			}
			check := func(name, got, want string) {
				if want == "" && got != "" || !strings.Contains(got, want) {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			check("stdout", stdout.String(), tt.stdout)
			check("stderr", stderr.String(), tt.stderr)
		})
	}
}

// The real process: it prints its address, answers, and ends well by a signal.
func TestSignals(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			process := exec.CommandContext(ctx, os.Args[0], "emulator", "--listen", "127.0.0.1:0", "--quiet")
			process.Env = append(os.Environ(), asWaybill+"=1")
			stdout, err := process.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			var stderr bytes.Buffer
			process.Stderr = &stderr
			if err := process.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewReader(stdout)
			address, err := lines.ReadString('\n')
			if err != nil {
				t.Fatalf("reading the address: %v; stderr %s", err, &stderr)
			}
			get(t, "http://"+strings.TrimSpace(address)+"/_emulator/ready")
			if err := process.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			rest, err := io.ReadAll(lines)
			if err != nil || len(rest) != 0 {
				t.Errorf("after the address: %q, %v", rest, err)
			}
			if err := process.Wait(); err != nil || stderr.Len() != 0 {
				t.Errorf("ended with %v; stderr %s", err, &stderr)
			}
		})
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: status %d, %v: %s", url, answer.StatusCode, err, body)
	}
	return string(body)
}
