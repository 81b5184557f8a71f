package oneport

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func split(t *testing.T, patience time.Duration) *Port {
	t.Helper()
	base, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := Split(base, patience)
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return p
}

func dial(t *testing.T, p *Port) net.Conn {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.HTTP().Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func write(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// accepted reads n bytes from the next connection of l.
func accepted(t *testing.T, l net.Listener, n int) string {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	b := make([]byte, n)
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestProtocolsAreToldApartAndNothingIsLost(t *testing.T) {
	p := split(t, 0)
	for _, c := range []struct {
		opening string
		from    net.Listener
	}{
		{preface + "and the frames", p.GRPC()},
		{"GET / HTTP/1.1\r\n\r\n", p.HTTP()},
		{"POST / HTTP/1.1\r\n\r\n", p.HTTP()},
		{"PRI * HTTP/2.0\r\n\r\nXX", p.HTTP()},
		{"P\n", p.HTTP()},
		{"\x16\x03\x01 a TLS hello", p.HTTP()},
	} {
		client := dial(t, p)
		write(t, client, c.opening)
		if got := accepted(t, c.from, len(c.opening)); got != c.opening {
			t.Errorf("read %q, want %q", got, c.opening)
		}
	}
}

func TestPrefaceInPieces(t *testing.T) {
	p := split(t, 0)
	client := dial(t, p)
	done := make(chan string)
	go func() { done <- accepted(t, p.GRPC(), len(preface)+1) }()
	for _, b := range preface + "x" {
		write(t, client, string(b))
	}
	if got := <-done; got != preface+"x" {
		t.Errorf("read %q", got)
	}
}

func TestSilentClientsHoldNobodyUp(t *testing.T) {
	p := split(t, time.Hour)
	for range 20 {
		write(t, dial(t, p), "PRI") // stops half-way
		dial(t, p)                  // says nothing
	}
	write(t, dial(t, p), "GET /")
	if got := accepted(t, p.HTTP(), 5); got != "GET /" {
		t.Errorf("read %q", got)
	}
}

func TestPatienceEnds(t *testing.T) {
	p := split(t, time.Millisecond)
	client := dial(t, p)
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the server must hang up: %v", err)
	}
}

func TestPatienceIsOnlyForTheOpening(t *testing.T) {
	p := split(t, 50*time.Millisecond)
	client := dial(t, p)
	write(t, client, "GET / HTTP/1.1\r\n")
	c, err := p.HTTP().Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	lines := bufio.NewReader(c)
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	other := dial(t, p) // whose patience ends after that of the first would have
	if _, err := other.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	write(t, client, "Host: late\r\n")
	if got, err := lines.ReadString('\n'); !strings.HasPrefix(got, "Host: late") {
		t.Errorf("after the patience for the opening: %q, %v", got, err)
	}
}

func TestCloseFreesEverybody(t *testing.T) {
	p := split(t, time.Hour)
	silent, waiting := dial(t, p), dial(t, p)
	write(t, waiting, "GET /") // nobody accepts it
	_ = p.GRPC().Close()       // the other half goes on
	write(t, dial(t, p), "GET /")
	if got := accepted(t, p.HTTP(), 5); got != "GET /" {
		t.Errorf("read %q", got)
	}
	for range 2 {
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if _, err := silent.Read(make([]byte, 1)); err == nil {
		t.Error("a silent connection is still open")
	}
	if _, err := p.HTTP().Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
}
