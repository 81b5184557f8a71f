// Package oneport lets gRPC and HTTP share a listener. A gRPC client opens with the HTTP/2 connection
// preface (RFC 9113, 3.4), which no HTTP/1 request can begin with; so a few bytes tell them apart.
//
// Clients of both protocols speak first. One that says nothing, or stops half-way through the preface,
// is dropped after a while and keeps nobody else waiting.
package oneport

import (
	"bytes"
	"errors"
	"net"
	"sync"
	"time"
)

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Port is a listener that has been divided. Use [Split].
type Port struct {
	base       net.Listener
	patience   time.Duration
	grpc, http *listener
	running    sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	unknown map[net.Conn]struct{} // not told apart yet
}

// Split divides base, which the Port then owns. A client has patience to say which protocol it
// speaks; zero means ten seconds.
func Split(base net.Listener, patience time.Duration) *Port {
	if patience <= 0 {
		patience = 10 * time.Second
	}
	p := &Port{
		base:     base,
		patience: patience,
		grpc:     newListener(base.Addr()),
		http:     newListener(base.Addr()),
		unknown:  make(map[net.Conn]struct{}),
	}
	p.running.Go(p.accept)
	return p
}

// GRPC yields the connections that opened with the HTTP/2 preface.
func (p *Port) GRPC() net.Listener { return p.grpc }

// HTTP yields all others.
func (p *Port) HTTP() net.Listener { return p.http }

// Close stops accepting and drops the connections that nobody has accepted yet. Those that have been
// handed over stay open. It may be called twice.
func (p *Port) Close() error {
	p.mu.Lock()
	p.closed = true
	for c := range p.unknown {
		_ = c.Close() // frees the goroutine that reads from it
	}
	p.mu.Unlock()
	err := p.base.Close()
	_ = p.grpc.Close() // never fails
	_ = p.http.Close()
	p.running.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (p *Port) accept() {
	var delay time.Duration
	for {
		c, err := p.base.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of file descriptors, say: as net/http does, wait for better times
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			select {
			case <-time.After(delay):
			case <-p.http.closed:
				return
			}
			continue
		}
		delay = 0
		if p.track(c) {
			p.running.Go(func() { p.hand(c) })
		}
	}
}

func (p *Port) track(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = c.Close()
		return false
	}
	p.unknown[c] = struct{}{}
	return true
}

// hand gives the connection to the listener of its protocol.
func (p *Port) hand(c net.Conn) {
	read, isGRPC, err := p.peek(c)
	p.mu.Lock()
	delete(p.unknown, c)
	p.mu.Unlock()
	if err != nil {
		_ = c.Close() // it said nothing that could be answered
		return
	}
	to := p.http
	if isGRPC {
		to = p.grpc
	}
	to.deliver(&conn{Conn: c, read: read})
}

// peek reads until it knows the protocol: mostly one read.
func (p *Port) peek(c net.Conn) (read []byte, isGRPC bool, err error) {
	if err := c.SetReadDeadline(time.Now().Add(p.patience)); err != nil {
		return nil, false, err
	}
	buffer := make([]byte, len(preface))
	for n := 0; ; {
		m, err := c.Read(buffer[n:])
		n += m
		switch read := buffer[:n]; {
		case n > 0 && !bytes.HasPrefix([]byte(preface), read):
			return read, false, c.SetReadDeadline(time.Time{})
		case n == len(preface):
			return read, true, c.SetReadDeadline(time.Time{})
		case err != nil:
			return nil, false, err
		}
	}
}

// conn is a connection whose first bytes have been read already.
type conn struct {
	net.Conn
	read []byte
}

func (c *conn) Read(b []byte) (int, error) {
	if len(c.read) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.read)
	c.read = c.read[n:]
	return n, nil
}

// listener is one half of a Port.
type listener struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newListener(addr net.Addr) *listener {
	return &listener{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *listener) deliver(c net.Conn) {
	select {
	case l.conns <- c:
	case <-l.closed:
		_ = c.Close()
	}
}

// Accept implements [net.Listener].
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener]. The other half goes on.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements [net.Listener].
func (l *listener) Addr() net.Addr { return l.addr }
