package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// process is a server in a process of its own, which prints its address once it accepts.
type process struct {
	command *exec.Cmd
	address string
}

func start(ctx context.Context, file string, args ...string) (*process, error) {
	p := &process{command: exec.CommandContext(ctx, file, args...)}
	p.command.Stderr = os.Stderr
	p.command.Cancel = func() error { return p.command.Process.Signal(os.Interrupt) }
	p.command.WaitDelay = 10 * time.Second
	out, err := p.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	p.address, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s %s did not print its address: %w", file, strings.Join(args, " "), err), p.stop())
	}
	p.address = strings.TrimSpace(p.address)
	return p, nil
}

// emulator starts the waybill command.
func (o options) emulator(ctx context.Context, more ...string) (*process, error) {
	return start(ctx, o.waybill, append([]string{"emulator", "--quiet", "--listen", "127.0.0.1:0", "--keys", ""}, more...)...)
}

// durable tells whether the command can keep its data.
func (o options) durable(ctx context.Context) bool {
	help, _ := exec.CommandContext(ctx, o.waybill, "emulator", "--help").CombinedOutput() // its status does not matter
	return strings.Contains(string(help), "-data")
}

func (p *process) stop() error {
	if err := p.command.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return p.command.Wait()
}

// resident is the process's resident memory in bytes.
func (p *process) resident(ctx context.Context) (int64, error) {
	out, err := exec.CommandContext(ctx, "ps", "-o", "rss=", "-p", strconv.Itoa(p.command.Process.Pid)).Output()
	if err != nil {
		return 0, fmt.Errorf("ps: %w", err)
	}
	kilobytes, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	return kilobytes << 10, err
}

// processor is the time that the process's threads have run. Only Linux tells it precisely.
func (p *process) processor() (time.Duration, error) {
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

// busyness says how much of the processors' time others take, where Linux tells it: absolute figures of a busy machine
// mean little.
func busyness(ctx context.Context) string {
	before, ok := idleTime()
	began := time.Now()
	wait(ctx, time.Second)
	after, _ := idleTime()
	if !ok {
		return ""
	}
	busy := 1 - float64(after-before)/float64(time.Since(began))/float64(runtime.NumCPU())
	return fmt.Sprintf(", %.0f %% busy with something else when it began", 100*max(busy, 0))
}

// idleTime is the processors' idle time since the machine started, in steps of 10 ms.
func idleTime() (time.Duration, bool) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, false
	}
	var name string
	var user, nice, system, idle int64
	_, err = fmt.Sscan(string(text), &name, &user, &nice, &system, &idle)
	return time.Duration(idle) * 10 * time.Millisecond, err == nil
}

// postFrom lets another process post for a while and returns how many a second it managed.
func postFrom(ctx context.Context, order postOrder) (float64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	command := exec.CommandContext(ctx, self, "-role", "post")
	command.Stderr = os.Stderr
	command.Stdin = order.reader()
	out, err := command.Output()
	if err != nil {
		return 0, fmt.Errorf("posting: %w", err)
	}
	return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
}

// exchange sends a request and reads the answer to its end.
func exchange(client *http.Client, request *http.Request) error {
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // read to its end
	_, err = io.Copy(io.Discard, response.Body)
	return err
}
