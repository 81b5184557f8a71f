package crashtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"waybill.dev/emulator"
)

// dataVariable makes the test binary an emulator that keeps its data in that directory.
const dataVariable = "WAYBILL_CRASHTEST_DATA"

func TestMain(m *testing.M) {
	if dir := os.Getenv(dataVariable); dir != "" {
		os.Exit(emulate(dir))
	}
	// The Go client's tracing starts it once per process and offers no way to end it.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

// emulate runs until it is killed, or until its parent is gone.
func emulate(dir string) int {
	e, err := emulator.Start(context.Background(), emulator.Config{
		Listen: "127.0.0.1:0", Data: dir, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(e.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin) // ends with the parent
	if err := e.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// process is a running emulator.
type process struct {
	command *exec.Cmd
	stdin   io.Closer
	stdout  *bufio.Reader
	stderr  strings.Builder
}

func startProcess(t *testing.T, dir string) *process {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{command: exec.CommandContext(t.Context(), program)}
	p.command.Env = append(os.Environ(), dataVariable+"="+dir)
	p.command.Stderr = &p.stderr
	stdin, err := p.command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = stdin
	stdout, err := p.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdout = bufio.NewReader(stdout)
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// addr waits until the emulator is ready.
func (p *process) addr() (string, error) {
	line, err := p.stdout.ReadString('\n')
	if err != nil {
		_ = p.command.Wait() // its error says less than what it printed
		return "", fmt.Errorf("the emulator did not start: %w: %s", err, p.stderr.String())
	}
	return strings.TrimSpace(line), nil
}

// kill ends the process as kill -9 does, and returns when it is gone.
func (p *process) kill() error {
	err := p.command.Process.Kill()
	_ = p.command.Wait() // killed
	return errors.Join(err, p.quiet())
}

// end lets the process end by itself.
func (p *process) end() error {
	return errors.Join(p.stdin.Close(), p.command.Wait(), p.quiet())
}

// quiet is an error if the emulator had anything to complain about.
func (p *process) quiet() error {
	if text := p.stderr.String(); text != "" {
		return errors.New(text)
	}
	return nil
}
