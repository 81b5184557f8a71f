package crashtest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
)

// process is one life of a role.
type process struct {
	role    string
	command *exec.Cmd
	stdin   io.Closer
	stderr  strings.Builder
	ready   chan struct{} // closed when it says so
	ended   chan struct{} // closed when its output has ended
}

// start starts a role. handled counts the lines in which the receiver says so.
func start(ctx context.Context, role string, c config, handled *atomic.Int64) (*process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	p := &process{role: role, command: exec.CommandContext(ctx, program), ready: make(chan struct{}), ended: make(chan struct{})}
	p.command.Env = append(os.Environ(), roleVariable+"="+role, configVariable+"="+string(text))
	p.command.Stderr = &p.stderr
	if p.stdin, err = p.command.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.ended)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			switch lines.Text() {
			case saidReady:
				close(p.ready)
			case saidHandled:
				handled.Add(1)
			}
		}
	}()
	return p, nil
}

// kill ends the process as kill -9 does. That it had ended by itself is an error.
func (p *process) kill() error {
	err := p.command.Process.Kill()
	<-p.ended
	wait := p.command.Wait()
	if exit := (*exec.ExitError)(nil); err == nil && errors.As(wait, &exit) && !exit.Exited() {
		return p.complaint()
	}
	return fmt.Errorf("the %s ended by itself: %w, %w: %s", p.role, errors.Join(err, wait), errNotKilled, p.stderr.String())
}

var errNotKilled = errors.New("it was to be killed")

// end lets the process end by itself.
func (p *process) end() error {
	err := p.stdin.Close()
	<-p.ended
	if err = errors.Join(err, p.command.Wait(), p.complaint()); err != nil {
		return fmt.Errorf("the %s: %w", p.role, err)
	}
	return nil
}

func (p *process) complaint() error {
	if text := p.stderr.String(); text != "" {
		return fmt.Errorf("the %s complained: %s", p.role, text)
	}
	return nil
}
