package crashtest

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// proxy passes connections on to another address, and harms two in three of them.
type proxy struct {
	listener net.Listener
	target   string

	mu      sync.Mutex
	rand    *rand.Rand // a connection's plan is drawn when it is accepted
	healthy bool       // connections of now on are left alone
	open    map[net.Conn]bool
	harmed  [harms]int
	pumps   sync.WaitGroup
	closed  bool
}

// harm is what becomes of a connection once enough has passed in one of its directions.
type harm int

const (
	leave    harm = iota // nothing
	delay                // each piece comes late
	reset                // both sides get a reset
	truncate             // both sides get an orderly end, in the middle of whatever it is
	half                 // the one that is written to sees the end; the other way stays open
	harms
)

// plan is a connection's fate.
type plan struct {
	harm     harm
	answers  bool          // it is the answers' direction that it befalls
	after    int           // bytes
	lateness time.Duration // of a piece
}

func newProxy(t *testing.T, target string, random *rand.Rand) *proxy {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: target, rand: random, open: map[net.Conn]bool{}}
	p.pumps.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.cut(true)
		p.pumps.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

// heal leaves connections alone from now on, and ends those that were to be harmed. It returns how many there were of each harm.
func (p *proxy) heal() [harms]int {
	p.mu.Lock()
	p.healthy = true
	harmed := p.harmed
	p.mu.Unlock()
	p.cut(false)
	return harmed
}

func (p *proxy) cut(forGood bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = p.closed || forGood
	for c := range p.open {
		_ = c.Close()
	}
}

func (p *proxy) draw() plan {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := plan{
		harm: harm(p.rand.IntN(int(harms))), answers: p.rand.IntN(2) == 0,
		after: p.rand.IntN(12_000), lateness: time.Duration(1+p.rand.IntN(20)) * time.Millisecond,
	}
	if p.rand.IntN(6) == 0 || p.healthy {
		f.harm = leave
	}
	p.harmed[f.harm]++
	return f
}

// hold notes a connection, so that it ends with the proxy.
func (p *proxy) hold(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = c.Close()
		return false
	}
	p.open[c] = true
	return true
}

func (p *proxy) release(c net.Conn) {
	_ = c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
}

func (p *proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		f := p.draw()
		p.pumps.Go(func() { p.serve(c.(*net.TCPConn), f) })
	}
}

func (p *proxy) serve(in *net.TCPConn, f plan) {
	if !p.hold(in) {
		return
	}
	defer p.release(in)
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "tcp", p.target)
	if err != nil {
		_ = in.SetLinger(0) // nobody listens there: the one who asks shall see it at once
		return
	}
	out := conn.(*net.TCPConn)
	if !p.hold(out) {
		return
	}
	defer p.release(out)
	requests, answers := plan{}, f
	if !f.answers {
		requests, answers = f, plan{}
	}
	var both sync.WaitGroup
	both.Go(func() { pump(out, in, requests) })
	both.Go(func() { pump(in, out, answers) })
	both.Wait()
}

// pump copies one direction until it ends, or until its harm is due.
func pump(to, from *net.TCPConn, f plan) {
	buffer := make([]byte, 4096)
	for passed := 0; ; {
		n, err := from.Read(buffer)
		if f.harm > delay && passed+n > f.after {
			_, _ = to.Write(buffer[:max(f.after-passed, 0)])
			strike(to, from, f.harm)
			return
		}
		if f.harm == delay {
			time.Sleep(f.lateness)
		}
		if _, failed := to.Write(buffer[:n]); failed != nil {
			_ = from.CloseRead()
			return
		}
		if passed += n; err != nil {
			_ = to.CloseWrite()
			return
		}
	}
}

func strike(to, from *net.TCPConn, h harm) {
	switch h {
	case reset:
		_, _ = to.SetLinger(0), from.SetLinger(0)
		_, _ = to.Close(), from.Close()
	case truncate:
		_, _ = to.Close(), from.Close()
	default: // half
		_ = to.CloseWrite()
		_, _ = io.Copy(io.Discard, from) // the sender notices nothing
	}
}
