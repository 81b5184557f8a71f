package dispatch_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"waybill.dev/dispatch"
)

// childVariable makes a process of this test binary a service: the mailer. Its value is the grace.
const childVariable = "WAYBILL_TEST_CHILD"

// living are contracts whose mailer also publishes, so that there is something to flush.
type living struct {
	contracts
	mailed *dispatch.Event[welcome]
	note   *dispatch.Subscription[welcome]
}

func newLiving() living {
	l := living{contracts: newContracts()}
	l.mailed = dispatch.NewEvent[welcome](l.mailer, "mailed")
	l.note = l.mailed.To(l.audit, "note")
	return l
}

// child is the mailer as a process: its handler says that it has started and goes on when it is told to on its standard input.
func child() (code int) {
	grace, err := time.ParseDuration(os.Getenv(childVariable))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	l := newLiving()
	ctx := context.Background()
	d, err := dispatch.Open(ctx, l.mailer, dispatch.Config{ShutdownGrace: grace, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	told := make(chan bool)
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		close(told)
	}()
	dispatch.Handle(d, l.sendWelcome, func(context.Context, welcome) error {
		fmt.Println("handler started")
		<-told
		fmt.Println("handler ended")
		return nil
	})
	d.Background("relay", func(ctx context.Context) error {
		<-ctx.Done()
		fmt.Println("background told")
		_, err := dispatch.Send(context.WithoutCancel(ctx), d, l.mailed, welcome{To: "ann"})
		fmt.Println("background sent")
		return err
	})
	if err := d.ListenAndServe(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// process is a child under a test's eyes.
type process struct {
	t      *testing.T
	w      *world
	l      living
	cmd    *exec.Cmd
	stdin  *os.File
	lines  chan string // of its standard output; closed at its end
	stderr *bytes.Buffer
}

// startChild starts the mailer, has a task delivered to it, and returns once its handler runs.
func startChild(t *testing.T, grace time.Duration) (*process, chan string) {
	t.Helper()
	l := newLiving()
	w := newWorld(t, l.app)
	if err := w.listeners["mailer"].Close(); err != nil { // the child listens there
		t.Fatal(err)
	}
	env, err := json.Marshal(w.env)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, w: w, l: l, cmd: exec.CommandContext(t.Context(), self), lines: make(chan string, 100), stderr: &bytes.Buffer{}}
	p.cmd.Env = append(os.Environ(), childVariable+"="+grace.String(), "WAYBILL_ENV="+string(env))
	p.cmd.Stderr = p.stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdin, p.stdin = read, write
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read.Close()
	t.Cleanup(func() { write.Close() })
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(p.lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-ended
		_ = p.cmd.Wait() // again, if the test did not come as far
		if t.Failed() {
			t.Logf("the child's log:\n%s", p.stderr)
		}
	})

	noted := make(chan string, 10)
	audit := w.open(l.audit)
	dispatch.Handle(audit, l.note, func(_ context.Context, m welcome) error { noted <- m.To; return nil })
	dispatch.Handle(audit, l.recordEvent, func(context.Context, signedUp) error { return nil })
	w.serve(l.audit, audit)
	p.await(dispatch.ReadyPath, http.StatusOK)
	if _, err := dispatch.Send(t.Context(), w.open(l.login), l.sendWelcome, welcome{To: "ann"}); err != nil {
		t.Fatal(err)
	}
	if line := receive(t, p.lines, "the handler's start"); line != "handler started" {
		t.Fatalf("the child says %q", line)
	}
	return p, noted
}

// await asks a health endpoint until it answers this.
func (p *process) await(path string, status int) {
	p.t.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		r, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, p.w.url(p.l.mailer, path), nil)
		if err != nil {
			p.t.Fatal(err)
		}
		response, err := transport.RoundTrip(r)
		if err != nil {
			continue // it does not listen yet
		}
		response.Body.Close()
		if response.StatusCode == status {
			return
		}
	}
	p.t.Fatalf("%s never answered %d", path, status)
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// rest are the lines up to the process's end, and what Wait says of that.
func (p *process) rest() (lines []string, err error) {
	p.t.Helper()
	timeout := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer timeout.Stop()
	for line := range p.lines {
		lines = append(lines, line)
	}
	return lines, p.cmd.Wait()
}

func TestSIGTERMDrainsARealProcess(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p, noted := startChild(t, 20*time.Second)
		p.signal(sig)
		p.await(dispatch.ReadyPath, http.StatusServiceUnavailable) // while the handler runs
		p.await(dispatch.LivePath, http.StatusOK)
		token := p.w.token(loginAccount, p.w.env.Services["mailer"].URL)
		if status, answer := p.w.post(p.w.url(p.l.mailer, "/_waybill/tasks/send-welcome"), token, "{}"); status != http.StatusServiceUnavailable {
			t.Errorf("a new task is answered %d %s", status, answer)
		}
		if len(noted) != 0 {
			t.Error("background work was told before the handlers had ended")
		}
		if _, err := p.stdin.WriteString("go on\n"); err != nil {
			t.Fatal(err)
		}
		lines, err := p.rest()
		if err != nil {
			t.Errorf("%v: the process ended with %v", sig, err)
		}
		if got, want := strings.Join(lines, ", "), "handler ended, background told, background sent"; got != want {
			t.Errorf("the child said %q, want %q", got, want)
		}
		if to := receive(t, noted, "what the background work sent"); to != "ann" {
			t.Errorf("it sent %q", to)
		}
		if strings.Contains(p.stderr.String(), "level=ERROR") {
			t.Errorf("the log has an error:\n%s", p.stderr)
		}
		p.w.noDeadLetters("send-welcome")
	}
}

func TestASecondSignalEndsARealProcessAtOnce(t *testing.T) {
	p, _ := startChild(t, time.Hour)
	p.signal(syscall.SIGTERM)
	p.await(dispatch.ReadyPath, http.StatusServiceUnavailable)
	p.signal(syscall.SIGTERM)
	lines, err := p.rest()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		t.Fatalf("the process ended with %v, want a failure", err)
	}
	status, _ := exit.Sys().(syscall.WaitStatus)
	if !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("the process ended with %v, want the signal that it got", err)
	}
	if len(lines) != 0 {
		t.Errorf("before its end the child said %q", lines)
	}
	if n := strings.Count(p.stderr.String(), "told to stop a second time"); n != 1 {
		t.Errorf("%d lines in the log say why, want one", n)
	}
}

func TestTheGraceEndsARealProcessThatHangs(t *testing.T) {
	p, _ := startChild(t, 200*time.Millisecond)
	p.signal(syscall.SIGTERM)
	_, err := p.rest()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
		t.Errorf("the process ended with %v, want code 1", err)
	}
	if !strings.Contains(p.stderr.String(), "1 handlers still run, and their messages will be delivered again") {
		t.Error("it does not say what was left behind")
	}
}
