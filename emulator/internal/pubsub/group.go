package pubsub

import "sync"

// group counts goroutines and lets nobody in once it is closed.
type group struct {
	mu     sync.Mutex
	closed bool
	n      int
	ended  chan struct{} // closed when the group is closed and empty; nil until someone waits
}

// enter reports whether the caller may go on; if so it must call leave.
func (g *group) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.n++
	return true
}

func (g *group) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.n--
	if g.n == 0 && g.ended != nil {
		close(g.ended)
		g.ended = nil
	}
}

// run starts f in a goroutine of the group, unless the group is closed.
func (g *group) run(f func()) bool {
	if !g.enter() {
		return false
	}
	go func() {
		defer g.leave()
		f()
	}()
	return true
}

func (g *group) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

// done returns a channel that is closed once the closed group is empty.
func (g *group) done() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n == 0 {
		c := make(chan struct{})
		close(c)
		return c
	}
	if g.ended == nil {
		g.ended = make(chan struct{})
	}
	return g.ended
}
