package outbox

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// failures keeps what a relay logs.
type failures struct {
	mu   sync.Mutex
	text strings.Builder
}

func (f *failures) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(f, nil))
}

func (f *failures) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.text.Write(p)
}

// await waits until something was logged.
func (f *failures) await(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		f.mu.Lock()
		found := strings.Contains(f.text.String(), text)
		f.mu.Unlock()
		if found {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q was not logged", text)
		}
	}
}
