// Package googletest starts Google's own Pub/Sub emulator, for tests that compare with it. It is the Debian package
// google-cloud-cli-pubsub-emulator, and needs Java.
package googletest

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"waybill.dev/internal/testenv"
)

// PubSub starts Google's emulator and returns its HOST:PORT. It is stopped when the test ends.
func PubSub(t testing.TB) string {
	t.Helper()
	java, jar, err := Command(t.Context())
	if err != nil {
		testenv.Missing(t, err.Error())
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	port := listener.Addr().(*net.TCPAddr).Port
	if err := listener.Close(); err != nil { // the emulator takes the port
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), java, // stopped below, when nothing uses it any more
		"-Xmx512m", "-jar", jar, "--host=127.0.0.1", fmt.Sprintf("--port=%d", port))
	output, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = cmd.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(output); lines.Scan(); {
			if strings.Contains(lines.Text(), "Server started") {
				close(started)
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-read
		_ = cmd.Wait() // it was killed
	})
	select {
	case <-started:
	case <-read:
		t.Fatal("Google's emulator ended before it was ready")
	case <-time.After(time.Minute):
		t.Fatal("Google's emulator was not ready within a minute")
	}
	return address
}
