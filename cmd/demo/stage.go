package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// event is one thing that happened in the shop.
type event struct {
	Time    time.Time `json:"time"`
	Service string    `json:"service"`
	What    string    `json:"what"` // "sent", "received", "answered", "refused", "failed", "dead", ...
	Detail  string    `json:"detail"`
	ID      string    `json:"message_id,omitempty"`
	Attempt int       `json:"attempt,omitempty"`
}

// stage is where the story happens: what a service reports is printed at once, and the story can wait for it.
type stage struct {
	out printer

	mu      sync.Mutex
	events  []event
	changed chan struct{} // closed and replaced at each event
}

func newStage(out printer) *stage { return &stage{out: out, changed: make(chan struct{})} }

// happened reports an event.
func (s *stage) happened(e event) {
	e.Time = time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
	close(s.changed)
	s.changed = make(chan struct{})
	s.out.event(e) // within the lock, so that what is printed has the order of what happened
}

// await waits until the events so far satisfy done, and says on a terminal what it waits for.
func (s *stage) await(ctx context.Context, what string, done func([]event) bool) error {
	s.out.waiting(what)
	defer s.out.waiting("")
	for {
		s.mu.Lock()
		satisfied, changed := done(s.events), s.changed
		s.mu.Unlock()
		if satisfied {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("gave up waiting for %s", what)
		}
	}
}

// of selects the events of one message at one service.
func of(events []event, service, what, id string) []event {
	var selected []event
	for _, e := range events {
		if e.Service == service && e.What == what && e.ID == id {
			selected = append(selected, e)
		}
	}
	return selected
}
