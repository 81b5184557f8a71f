package measure

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// Wait waits for d, or until ctx ends.
func Wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// machine is one line: date, system, Go, processors.
func machine() string {
	return fmt.Sprintf("%s, %s/%s, %s, %d processors (%s)",
		time.Now().Format(time.DateOnly), runtime.GOOS, runtime.GOARCH, runtime.Version(), runtime.NumCPU(), processor())
}

// Busyness watches for a second and says how much of the processors' time others take, where Linux tells it: absolute
// figures of a busy machine mean little.
func Busyness(ctx context.Context) string {
	before, ok := idleTime()
	began := time.Now()
	Wait(ctx, time.Second)
	after, _ := idleTime()
	if !ok {
		return ""
	}
	busy := 1 - float64(after-before)/float64(time.Since(began))/float64(runtime.NumCPU())
	return fmt.Sprintf("%.0f %% busy with something else when it began", 100*max(busy, 0))
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

// processor is the model, where Linux tells it.
func processor() string {
	file, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown model"
	}
	defer func() { _ = file.Close() }() // it was only read
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown model"
}
