package store

import (
	"errors"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// turn is the exclusive use of the database. Who waits for it joins others who do: one of them writes what all have
// buffered, and all learn of the outcome at once. While that is on its way to the disk, the next ones gather. So there is no goroutine
// for it, and however many callers wait, each is woken once.
type turn struct {
	lead  chan struct{} // tells one of those who have joined that the turn is theirs
	ended chan struct{}
	err   error // set before ended is closed
}

func newTurn() *turn { return &turn{lead: make(chan struct{}, 1), ended: make(chan struct{})} }

// writeTogether makes everything durable that is buffered by now, or has somebody else do it. The caller holds the lock.
func (s *Store) writeTogether() error {
	if s.turn == nil {
		s.turn = newTurn()
		return s.write(s.turn)
	}
	if s.next == nil {
		s.next = newTurn()
	}
	t := s.next
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-t.ended:
		return t.err
	case <-t.lead:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.write(t)
	}
}

// alone returns a turn that nobody has joined. The caller holds the lock.
func (s *Store) alone() *turn {
	for s.turn != nil {
		t := s.turn
		s.mu.Unlock()
		<-t.ended
		s.mu.Lock()
	}
	s.turn = newTurn()
	return s.turn
}

// end passes the database on to those who wait. The caller holds the lock.
func (s *Store) end(t *turn) {
	close(t.ended)
	s.turn, s.next = s.next, nil
	if s.turn != nil {
		s.turn.lead <- struct{}{}
	}
}

// write uses the turn to make everything durable that is buffered. The caller holds the lock.
func (s *Store) write(t *turn) error {
	defer s.end(t)
	switch {
	case s.closed:
		t.err = errClosed
		return t.err
	case s.failure != nil && time.Now().Before(s.retryAt):
		t.err = s.failure
		return t.err
	}
	ops, upTo := s.pending, s.buffered
	s.pending = nil
	s.mu.Unlock()
	err := s.attempt(ops)
	s.mu.Lock()
	if err != nil {
		s.fail(err)
		s.retryAt = time.Now().Add(retryDelay)
		s.keep(ops)
		t.err = err
		return err
	}
	if s.failure != nil {
		s.logger.Info("the store can be written again")
	}
	s.failure = nil
	s.compacted = 0
	s.durable = upTo
	return nil
}

// fail notes a failure, and logs the first of several. The caller holds the lock.
func (s *Store) fail(err error) {
	if s.failure == nil {
		s.logger.Error("the store cannot be written", "error", err)
	}
	s.failure = err
}

// attempt opens the database if necessary and writes. The caller has the turn.
func (s *Store) attempt(ops []operation) error {
	if err := s.reopen(); err != nil {
		return err
	}
	if s.db.readOnly {
		if err := s.db.close(); err != nil {
			return s.explain(err)
		}
		s.db = nil
		if err := s.reopen(); err != nil {
			return err
		}
	}
	if err := s.db.apply(ops); err != nil {
		return s.explain(err)
	}
	return nil
}

// reopen replaces a database whose disk is frozen. The caller has the turn.
func (s *Store) reopen() error {
	if s.db != nil && (s.db.readOnly || s.db.disk.err() == nil) {
		return nil
	}
	if s.db != nil {
		_ = s.db.close() // nil for a frozen disk
		s.db = nil
	}
	db, err := s.openDatabase(false)
	if err != nil {
		return s.explain(err)
	}
	s.db = db
	return nil
}

// retire closes a database whose disk has frozen, also if nobody is about to write.
func (s *Store) retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.helpers.Go(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		defer s.end(s.alone())
		if s.closed || s.db == nil || s.db.readOnly || s.db.disk.err() == nil {
			return
		}
		db := s.db
		s.db = nil
		s.fail(s.explain(db.disk.err()))
		s.mu.Unlock()
		_ = db.close() // nil for a frozen disk
		s.mu.Lock()
	})
}

// explain says what to do about a failure.
func (s *Store) explain(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return s.errorf("has no room left on its disk", "make room; nothing that was acknowledged is lost", err)
	case errors.Is(err, ErrDamaged), pebble.IsCorruptionError(err):
		return s.damaged(err)
	default:
		return s.errorf("cannot be read or written", "check its disk and its permissions; nothing that was acknowledged is lost", err)
	}
}

var errClosed = errors.New("store: closed")
