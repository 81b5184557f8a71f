package gate

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Each side sends its next piece when the other has seen the one before: nothing may be held back.
func TestStreams(t *testing.T) {
	seen, answered := make(chan string), make(chan struct{})
	g, client := behind(t, func(w http.ResponseWriter, r *http.Request) {
		piece := make([]byte, 4)
		for range 2 {
			if _, err := io.ReadFull(r.Body, piece); err != nil {
				t.Error(err)
			}
			seen <- string(piece)
		}
		w.Header().Set("Content-Length", "8") // without it, a proxy would know that this is a stream
		for range 2 {
			_, _ = io.WriteString(w, "pong")
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			<-answered
		}
	}, nil)
	body, send := io.Pipe()
	var sending sync.WaitGroup
	sending.Go(func() {
		defer func() { _ = send.Close() }()
		for range 2 {
			_, _ = io.WriteString(send, "ping")
			if got := <-seen; got != "ping" {
				t.Errorf("the container saw %q", got)
			}
		}
	})
	response := do(t, client, http.MethodPost, g.URL(), body, nil)
	for range 2 {
		piece := make([]byte, 4)
		if _, err := io.ReadFull(response.Body, piece); err != nil || string(piece) != "pong" {
			t.Errorf("answer %q, %v", piece, err)
		}
		answered <- struct{}{}
	}
	sending.Wait()
}

func TestLargeBodies(t *testing.T) {
	const size = 33 << 20 // more than Cloud Run takes by HTTP/1
	g, client := behind(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }, nil)
	large := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	response := do(t, client, http.MethodPost, g.URL(), bytes.NewReader(large), nil)
	got, err := io.ReadAll(response.Body)
	if err != nil || !bytes.Equal(got, large) {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
}

func TestUpgradedConnections(t *testing.T) {
	g, _ := behind(t, func(w http.ResponseWriter, _ *http.Request) {
		c, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(c, buffered)
	}, nil)
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(g.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	from := bufio.NewReader(c)
	response, err := http.ReadResponse(from, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", response, err)
	}
	_ = response.Body.Close() // the connection is no longer HTTP's
	_, _ = io.WriteString(c, "hello\n")
	if line, err := from.ReadString('\n'); err != nil || line != "hello\n" {
		t.Errorf("%q, %v", line, err)
	}
	if err := g.shutdown(t.Context()); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if _, err := from.ReadByte(); err == nil {
		t.Error("the connection outlived the gate")
	}
}

func TestATimeout(t *testing.T) {
	g, client := behind(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, func(c *Config) { c.Timeout = time.Millisecond })
	if response := do(t, client, http.MethodGet, g.URL(), nil, nil); response.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("status %d", response.StatusCode)
	}
}

func TestAContainerThatIsNotThere(t *testing.T) {
	var log lockedBuffer
	gone, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g, client := behind(t, nil, func(c *Config) {
		c.Target.Host = gone.Addr().String()
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	ask := func(status, logged int) {
		t.Helper()
		if response := do(t, client, http.MethodGet, g.URL(), nil, nil); response.StatusCode != status {
			t.Errorf("status %d, want %d", response.StatusCode, status)
		}
		if got := strings.Count(log.String(), "connection refused"); got != logged {
			t.Errorf("logged %d times, want %d:\n%s", got, logged, log.String())
		}
	}
	ask(http.StatusServiceUnavailable, 1)
	ask(http.StatusServiceUnavailable, 1)

	there, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", gone.Addr().String())
	if err != nil {
		t.Fatalf("the address cannot be listened on again: %v", err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), ReadHeaderTimeout: time.Minute}
	server.SetKeepAlivesEnabled(false)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(there) })
	ask(http.StatusOK, 1)
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	serving.Wait()
	ask(http.StatusServiceUnavailable, 2) // after a success, it is news
}

// lockedBuffer is a buffer that several goroutines write to.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

func TestServices(t *testing.T) {
	var services Services
	config := func(name, listen string) Config {
		return Config{Name: name, Listen: listen, Verifier: names{}, Logger: slog.New(slog.DiscardHandler)}
	}
	first, err := services.Open(t.Context(), config("a", "127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := services.Open(t.Context(), config("a", "127.0.0.1:0")); err == nil || !strings.Contains(err.Error(), "close it first") {
		t.Errorf("a second gate of the same service: %v", err)
	}
	if _, err := services.Open(t.Context(), config("b", strings.TrimPrefix(first.URL(), "http://"))); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("an address in use: %v", err)
	}
	if err := services.Close(t.Context(), first); err != nil {
		t.Error(err)
	}
	second, err := services.Open(t.Context(), config("a", "127.0.0.1:0"))
	if err != nil {
		t.Fatalf("the name of a closed gate: %v", err)
	}
	if err := services.Close(t.Context(), first); err != nil { // a second time: the other one stays
		t.Error(err)
	}
	if found, err := services.find("a"); err != nil || found != second {
		t.Errorf("found %v, %v", found, err)
	}
	if _, err := services.Open(t.Context(), config("b", "127.0.0.1:0")); err != nil {
		t.Errorf("a name whose opening failed: %v", err)
	}
	for range 2 {
		if err := services.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if _, err := services.Open(t.Context(), config("c", "127.0.0.1:0")); err == nil {
		t.Error("opened after the shutdown")
	}
}
