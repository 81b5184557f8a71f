package store

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// lazyDelay is how long a change that nobody waits for may wait for company.
	lazyDelay = 5 * time.Millisecond
	// retryDelay is how long a failure stands before the disk is tried again.
	retryDelay = 100 * time.Millisecond
)

// Config says where a Store keeps its data.
type Config struct {
	Dir    string       // required; made if it does not exist
	FS     vfs.FS       // for tests; default: the disk
	Logger *slog.Logger // default: slog.Default()

	memTable uint64 // bytes in memory before a table is written; for tests
}

// Store keeps pairs of keys and values in a directory. Use [Open]. It is safe for concurrent use. A nil Store
// keeps nothing: every method works and does nothing.
type Store struct {
	directory
	memTable uint64
	logger   *slog.Logger
	lock     *pebble.Lock

	mu        sync.Mutex
	pending   []operation // buffered, in their order; not durable yet
	compacted int         // how many were left when the superfluous ones were last dropped; 0 while writes succeed
	buffered  uint64      // operations that were ever buffered
	durable   uint64      // how many of them are durable
	turn      *turn       // of who has the database; nil: nobody
	next      *turn       // of those who wait; nil: nobody
	lazy      *time.Timer // running while a Flush waits
	failure   error       // of the last try; nil once one has succeeded
	retryAt   time.Time   // before which nobody tries again
	closed    bool
	helpers   sync.WaitGroup // goroutines and timers of ours

	db *database // of whose turn it is; nil: to be opened
}

// Open opens a directory, or makes one. Nothing in a directory that exists is changed before the first write.
// The error says what to do if the directory is not a Store's, has another version's format, is damaged
// ([ErrDamaged]), or is in use.
func Open(config Config) (*Store, error) {
	if config.FS == nil {
		config.FS = vfs.Default
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	if config.memTable == 0 {
		config.memTable = memTableBytes
	}
	s := &Store{directory: directory{config.FS, config.Dir}, memTable: config.memTable, logger: config.Logger}
	found, err := s.inspect()
	if err != nil {
		return nil, err
	}
	if found == empty {
		if err := s.fs.MkdirAll(s.path, 0o700); err != nil {
			return nil, s.unwritable(err)
		}
	}
	if s.lock, err = pebble.LockDirectory(s.path, s.fs); err != nil {
		return nil, s.errorf("cannot be locked", "another emulator may be using it: stop that, or use another directory", err)
	}
	s.turn = newTurn() // for a helper, in case that the disk fails at once
	err = s.begin()
	s.mu.Lock()
	s.closed = err != nil
	s.end(s.turn)
	s.mu.Unlock()
	if err != nil {
		s.helpers.Wait()
		return nil, errors.Join(err, s.lock.Close())
	}
	return s, nil
}

// begin opens the database of a directory that is locked. The caller has the turn.
func (s *Store) begin() error {
	found, err := s.inspect() // again, since it was not locked the first time
	if err != nil {
		return err
	}
	if found == empty {
		if err := s.mark(); err != nil {
			return err
		}
	}
	s.db, err = s.openDatabase(found == existing)
	if err != nil {
		return s.explain(err)
	}
	return nil
}

// Set buffers a pair. It does not wait for the disk. The caller must not change the slices afterwards.
func (s *Store) Set(key, value []byte) { s.buffer(operation{set, key, value}) }

// Delete buffers the end of a pair.
func (s *Store) Delete(key []byte) { s.buffer(operation{remove, key, nil}) }

// DeleteRange buffers the end of all pairs whose keys are at least from and below to.
func (s *Store) DeleteRange(from, to []byte) { s.buffer(operation{removeRange, from, to}) }

func (s *Store) buffer(o operation) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.pending = append(s.pending, o)
	s.buffered++
}

// Sync returns when everything that was buffered before is durable. One write serves all who wait. After an error
// everything is still buffered, and a later Sync tries again to write all of it.
func (s *Store) Sync() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.durable == s.buffered {
		return nil
	}
	return s.writeTogether()
}

// Ready tells whether the disk takes writes, as far as is known: it is nil unless the last write has failed, and
// then it tries again. Ask before making a change that could not be acknowledged.
func (s *Store) Ready() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == nil {
		return nil
	}
	return s.writeTogether()
}

// Flush starts writing what is buffered, a little later, and waits for nothing.
func (s *Store) Flush() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.lazy != nil || len(s.pending) == 0 {
		return
	}
	s.helpers.Add(1)
	s.lazy = time.AfterFunc(lazyDelay, func() {
		defer s.helpers.Done()
		s.mu.Lock()
		s.lazy = nil
		s.mu.Unlock()
		_ = s.Sync() // the next one who waits is told
	})
}

// Scan calls f for each durable pair whose key begins with prefix, in the order of the keys. The slices are
// good only during the call. It ends with the first error, and is meant for a start: writes wait for it.
func (s *Store) Scan(prefix []byte, f func(key, value []byte) error) error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.end(s.alone())
	s.mu.Unlock()
	defer s.mu.Lock()
	if err := s.reopen(); err != nil {
		return err
	}
	stopped, err := s.db.scan(prefix, f)
	if err != nil {
		return s.explain(err)
	}
	return stopped
}

// Close writes what is buffered and closes the directory. It may be called twice.
func (s *Store) Close() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	s.retryAt = time.Time{}
	if s.lazy != nil && s.lazy.Stop() {
		s.lazy = nil
		s.helpers.Done()
	}
	s.mu.Unlock()
	err := s.Sync()

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	t := s.alone()
	s.mu.Unlock()
	if s.db != nil {
		err = errors.Join(err, s.db.close())
		s.db = nil
	}
	err = errors.Join(err, s.lock.Close())
	s.mu.Lock()
	s.end(t)
	s.mu.Unlock()
	s.helpers.Wait()
	s.mu.Lock()
	return err
}
