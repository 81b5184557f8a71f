package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"waybill.dev/internal/testenv"
)

// process is the command as a process of its own.
type process struct {
	*exec.Cmd
	lines   *bufio.Reader
	stderr  bytes.Buffer
	url     string
	readyIn time.Duration // from exec to the first answer
}

// startProcess starts the emulator and waits until it answers.
func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	return startBinary(t, os.Args[0], args...)
}

func startBinary(t *testing.T, binary string, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	t.Cleanup(cancel)
	args = append([]string{"emulator", "--listen", "127.0.0.1:0"}, args...)
	p := &process{Cmd: exec.CommandContext(ctx, binary, args...)}
	p.Env = append(os.Environ(), asWaybill+"=1", "XDG_CACHE_HOME="+t.TempDir())
	p.Stderr = &p.stderr
	stdout, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	p.lines = bufio.NewReader(stdout)
	line, err := p.lines.ReadString('\n')
	if err != nil {
		t.Fatalf("reading the first line: %v; stderr %s", err, &p.stderr)
	}
	address := strings.TrimSpace(line)
	if _, rest, ok := strings.Cut(line, " listen on "); ok {
		address, _, _ = strings.Cut(rest, ",")
	}
	p.url = "http://" + address
	get(t, p.url+"/_emulator/ready")
	p.readyIn = time.Since(began)
	return p
}

// end waits for the process and returns what it has printed since its first line.
func (p *process) end(t *testing.T) (stdout string, err error) {
	t.Helper()
	rest, err := io.ReadAll(p.lines)
	if err != nil {
		t.Fatal(err)
	}
	return string(rest), p.Wait()
}

// Making keys, opening a data directory and creating resources all fit in. The best of some attempts counts, since others
// may be using the machine.
func TestReadyWithin100Milliseconds(t *testing.T) {
	for name, args := range map[string][]string{
		"new keys":       {"--quiet", "--keys", ""},
		"a missing file": {"--quiet", "--keys", filepath.Join(t.TempDir(), "keys.pem")},
		"data":           {"--quiet", "--keys", "", "--data", filepath.Join(t.TempDir(), "data"), "--queue", "mails"},
	} {
		best := time.Hour
		for range 20 {
			p := startProcess(t, args...)
			best = min(best, p.readyIn)
			if err := p.Process.Kill(); err != nil {
				t.Error(err)
			}
			_, _ = p.end(t) // killed
			if best < 100*time.Millisecond {
				break
			}
		}
		t.Logf("%s: %v", name, best)
		if best >= 100*time.Millisecond {
			t.Errorf("%s: ready after %v at best", name, best)
		}
	}
}

func TestIdleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the command")
	}
	if _, err := os.Stat("/proc/self/status"); err != nil {
		testenv.Missing(t, "there is no /proc to read a process's memory from")
	}
	binary := filepath.Join(t.TempDir(), "waybill") // not the test, which links more
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	p := startBinary(t, binary, "--quiet", "--keys", "")
	get(t, p.url+"/oauth2/v3/certs") // so the keys are made
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kilobytes, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d kB resident", kilobytes)
	if kilobytes >= 40_000 {
		t.Errorf("%d kB resident when idle", kilobytes)
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if out, err := p.end(t); err != nil || out != "" {
		t.Errorf("%v, %q", err, out)
	}
}

// holding is a receiver that keeps its deliveries until it is released.
func holding(t *testing.T) (url string, arrived chan struct{}, release chan struct{}) {
	t.Helper()
	arrived, release = make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does net/http see the client go
		arrived <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, arrived, release
}

const mailsPath = "/v2/projects/waybill-local/locations/us-central1/queues/mails/tasks"

func TestSIGTERMFinishesOrParksWhatIsInFlight(t *testing.T) {
	for name, c := range map[string]struct {
		args     []string
		released bool
		want     string
	}{
		"finished": {nil, true, "Stopped. 1 delivery in flight ended; 1 task not done is lost.\n"},
		"lost":     {[]string{"--grace", "1ms"}, false, "Stopped. 1 delivery was cut off; 2 tasks not done are lost.\n"},
		"parked":   {[]string{"--grace", "1ms", "--data", filepath.Join(t.TempDir(), "data")}, false, "Stopped. 1 delivery was cut off; 2 tasks not done are kept for the next start.\n"},
	} {
		t.Run(name, func(t *testing.T) {
			url, arrived, release := holding(t)
			args := append([]string{"--queue", "mails,concurrency=1"}, c.args...)
			p := startProcess(t, args...)
			for range 2 {
				post(t, p.url+mailsPath, `{"task": {"httpRequest": {"url": "`+url+`"}}}`)
			}
			<-arrived
			if err := p.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if c.released {
				for line := ""; !strings.HasPrefix(line, "Stopping. "); {
					var err error
					if line, err = p.lines.ReadString('\n'); err != nil {
						t.Fatal(err)
					}
				}
				release <- struct{}{}
			}
			out, err := p.end(t)
			if err != nil || !strings.HasSuffix(out, c.want) {
				t.Errorf("ended with %v; stderr %s; printed:\n%s\nwant %s", err, &p.stderr, out, c.want)
			}
			if name != "parked" {
				return
			}
			p = startProcess(t, args...)
			<-arrived // what was parked
			if err := p.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_, _ = p.end(t) // killed
		})
	}
}

func TestASecondSignalEndsAtOnce(t *testing.T) {
	url, arrived, _ := holding(t)
	p := startProcess(t, "--queue", "mails", "--grace", "1h")
	post(t, p.url+mailsPath, `{"task": {"httpRequest": {"url": "`+url+`"}}}`)
	<-arrived
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for line := ""; !strings.HasPrefix(line, "Stopping. "); {
		var err error
		if line, err = p.lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_, err := p.end(t)
	state := p.ProcessState.Sys().(syscall.WaitStatus)
	if err == nil || !state.Signaled() || state.Signal() != syscall.SIGTERM {
		t.Errorf("ended with %v", err)
	}
}
