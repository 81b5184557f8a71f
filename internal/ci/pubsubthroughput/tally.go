package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"
)

const messageBytes = 1024

// payload is the data of the n-th message of a run.
func payload(n int) []byte {
	data := make([]byte, messageBytes)
	binary.BigEndian.PutUint64(data, uint64(n)) //nolint:gosec // never negative
	return data
}

// tally waits for the messages of a run, numbered from zero, and counts each once.
type tally struct {
	mu                sync.Mutex
	at                []time.Time // when the message of that number arrived
	arrived, expected int
	first             chan struct{} // closed when one has arrived
	done              chan struct{} // closed when none is left
}

// newTally waits for n messages, whichever they are, of those below limit.
func newTally(n, limit int) *tally {
	return &tally{at: make([]time.Time, limit), expected: n, first: make(chan struct{}), done: make(chan struct{})}
}

// saw counts a message.
func (t *tally) saw(data []byte) {
	now := time.Now()
	n := binary.BigEndian.Uint64(data)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.at[n].IsZero() {
		return
	}
	t.at[n] = now
	if t.arrived++; t.arrived == 1 {
		close(t.first)
	}
	if t.arrived == t.expected {
		close(t.done)
	}
}

// count is how many have arrived.
func (t *tally) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.arrived
}

var errMissing = errors.New("messages are missing after a minute")

// wait returns when one of the channels first and done is closed.
func (t *tally) wait(ctx context.Context, until <-chan struct{}) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errMissing)
	defer cancel()
	select {
	case <-until:
		return nil
	case <-ctx.Done():
		t.mu.Lock()
		defer t.mu.Unlock()
		return fmt.Errorf("%w: %d of %d have arrived", context.Cause(ctx), t.arrived, t.expected)
	}
}
