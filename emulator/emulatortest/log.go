package emulatortest

import (
	"strings"
	"sync"
	"testing"
)

// log writes lines to a test's log while the test runs. Afterwards that would be a panic.
type log struct {
	mu sync.Mutex
	t  testing.TB // nil: the test is over
}

func newLog(t testing.TB) *log { return &log{t: t} }

// Write takes a line.
func (l *log) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.t != nil {
		l.t.Helper()
		l.t.Log("emulator: " + strings.TrimSuffix(string(line), "\n"))
	}
	return len(line), nil
}

func (l *log) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.t = nil
}
