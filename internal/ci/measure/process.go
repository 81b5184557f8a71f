package measure

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Process is a server in a process of its own.
type Process struct {
	Address string        // HOST:PORT where it listens
	Took    time.Duration // from its start until it said that it listens

	command *exec.Cmd
	read    chan struct{} // closed at the end of its output
}

// FirstLine is for servers whose first line is their address.
func FirstLine(line string) (address string, ok bool) { return line, true }

// Start starts a server. It returns once listening has found the server's address in a line of the output. What the server
// writes to its standard error is shown, unless the server is quiet: then it is read like its output. When ctx ends, the
// server is interrupted.
func Start(ctx context.Context, quiet bool, listening func(line string) (address string, ok bool), file string, args ...string) (*Process, error) {
	p := &Process{command: exec.CommandContext(ctx, file, args...), read: make(chan struct{})}
	p.command.Cancel = func() error { return p.command.Process.Signal(os.Interrupt) }
	p.command.WaitDelay = 10 * time.Second
	out, err := p.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.command.Stderr = os.Stderr
	if quiet {
		p.command.Stderr = p.command.Stdout
	}
	began := time.Now()
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	output := bufio.NewReader(out)
	for {
		line, err := output.ReadString('\n')
		if err != nil {
			close(p.read)
			return nil, errors.Join(fmt.Errorf("%s %s did not say where it listens: %w", file, strings.Join(args, " "), err), p.Stop())
		}
		if address, ok := listening(strings.TrimSpace(line)); ok {
			p.Address, p.Took = address, time.Since(began)
			break
		}
	}
	go func() { // so that the server never waits for a reader; Stop waits for the end
		defer close(p.read)
		_, _ = io.Copy(io.Discard, output) // its end is the server's
	}()
	return p, nil
}

// Stop interrupts the server and waits for its end.
func (p *Process) Stop() error {
	if err := p.command.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.read
	return p.command.Wait()
}

// Kill ends a server that has nothing to lose.
func (p *Process) Kill() error {
	if err := p.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.read
	_ = p.command.Wait() // its status says that it was killed
	return nil
}

// Resident is the process's resident memory in bytes.
func (p *Process) Resident(ctx context.Context) (int64, error) {
	out, err := exec.CommandContext(ctx, "ps", "-o", "rss=", "-p", strconv.Itoa(p.command.Process.Pid)).Output()
	if err != nil {
		return 0, fmt.Errorf("ps: %w", err)
	}
	kilobytes, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	return kilobytes << 10, err
}

// Processor is the time that the process's threads have run. Only Linux tells it precisely; elsewhere the error is
// [os.ErrNotExist].
func (p *Process) Processor() (time.Duration, error) {
	tasks := fmt.Sprintf("/proc/%d/task", p.command.Process.Pid)
	threads, err := os.ReadDir(tasks)
	if err != nil {
		return 0, err
	}
	var all time.Duration
	for _, t := range threads {
		text, err := os.ReadFile(tasks + "/" + t.Name() + "/schedstat")
		if err != nil {
			return 0, err
		}
		ran, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseInt(ran, 10, 64)
		if err != nil {
			return 0, err
		}
		all += time.Duration(ns)
	}
	return all, nil
}
