package store

import (
	"errors"
	"fmt"
	"log/slog"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
)

// What the database may use. The emulator's data is small, and its working set is in the engines' own memory.
const (
	memTableBytes = 4 << 20
	cacheBytes    = 1 << 20
	maxOpenFiles  = 200
)

// database is one opened pebble.DB. It is used by one goroutine at a time.
type database struct {
	db       *pebble.DB
	disk     *disk
	readOnly bool
}

// openDatabase opens the directory's database. A read-only one does not change a byte.
func (s *Store) openDatabase(readOnly bool) (*database, error) {
	d := &database{disk: &disk{FS: s.fs, readOnly: readOnly}, readOnly: readOnly}
	if readOnly {
		d.disk.freeze(errReadOnly)
	} else {
		d.disk.failed = s.retire
	}
	cache := pebble.NewCache(cacheBytes)
	defer cache.Unref()
	options := &pebble.Options{
		FS:                 d.disk,
		Lock:               s.lock,
		ReadOnly:           readOnly,
		Cache:              cache,
		MemTableSize:       s.memTable,
		MaxOpenFiles:       maxOpenFiles,
		FormatMajorVersion: pebble.FormatWALSyncChunks, // from which on a damaged log can be told from one that ends early
		Logger:             libraryLog{disk: d.disk, logger: s.logger},
		EventListener: &pebble.EventListener{
			BackgroundError: d.disk.freeze,
			DataCorruption: func(info pebble.DataCorruptionInfo) {
				d.disk.freeze(errDamaged{fmt.Errorf("%s", info)})
			},
		},
	}
	// One compaction at a time is enough. The default scheduler looks ten times a second whether there may be more.
	options.CompactionConcurrencyRange = func() (lower, upper int) { return 1, 1 }
	options.Experimental.CompactionScheduler = pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest()
	err := guard(func() (err error) {
		d.db, err = pebble.Open(s.path, options)
		return err
	})
	if !readOnly && d.disk.err() != nil {
		return nil, errors.Join(d.disk.err(), d.close())
	}
	if err != nil {
		return nil, d.misread(err)
	}
	return d, nil
}

// apply makes the operations durable.
func (s *database) apply(ops []operation) error {
	err := guard(func() error {
		b := s.db.NewBatch()
		for _, o := range ops {
			if err := o.addTo(b); err != nil {
				return errors.Join(err, b.Close())
			}
		}
		return errors.Join(s.db.Apply(b, pebble.Sync), b.Close())
	})
	if err != nil {
		s.disk.freeze(err)
	}
	return s.disk.err()
}

// scan calls f for each pair below the prefix, in the order of the keys. The error is f's own, or tells what could not be read.
func (s *database) scan(prefix []byte, f func(key, value []byte) error) (stopped, failed error) {
	failed = guard(func() error {
		var bounds pebble.IterOptions
		if len(prefix) > 0 {
			bounds.LowerBound, bounds.UpperBound = prefix, after(prefix)
		}
		i, err := s.db.NewIter(&bounds)
		if err != nil {
			return err
		}
		for ok := i.First(); ok; ok = i.Next() {
			value, err := i.ValueAndErr()
			if err != nil {
				return errors.Join(err, i.Close())
			}
			if stopped = f(i.Key(), value); stopped != nil {
				break
			}
		}
		return errors.Join(i.Error(), i.Close())
	})
	return stopped, s.misread(failed)
}

// misread makes an error of a file that is missing, too short or not as it was written one of damage. What the system says when
// it cannot read is none.
func (s *database) misread(err error) error {
	var system syscall.Errno
	if err == nil || !s.readOnly || errors.As(err, &system) && system != syscall.ENOENT {
		return err
	}
	return errDamaged{err}
}

// close ends the database's goroutines. What it says about a frozen disk is of no interest.
func (s *database) close() error {
	if s.db == nil {
		return nil
	}
	err := guard(func() error {
		if s.readOnly || s.disk.err() != nil {
			return s.db.Close()
		}
		// With everything in tables nothing depends on a log, whose end could be lost without a trace.
		return errors.Join(s.db.Flush(), s.db.Close())
	})
	if s.disk.frozen.Load() != nil {
		return nil
	}
	return err
}

// after is the first key beyond all that begin with prefix; nil if there is none.
func after(prefix []byte) []byte {
	for n := len(prefix); n > 0; n-- {
		if prefix[n-1] < 0xff {
			end := append([]byte(nil), prefix[:n]...)
			end[n-1]++
			return end
		}
	}
	return nil
}

var errReadOnly = errors.New("store: opened for reading")

// guard makes an error of the library's panic.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.Join(err, fmt.Errorf("the database panicked: %v", p))
		}
	}()
	return f()
}

// libraryLog passes on what matters. The library expects Fatalf to end the process; here it freezes the disk.
type libraryLog struct {
	disk   *disk
	logger *slog.Logger
}

// Infof implements pebble.Logger.
func (libraryLog) Infof(string, ...any) {}

// Errorf implements pebble.Logger.
func (l libraryLog) Errorf(format string, args ...any) {
	if l.disk.frozen.Load() == nil { // else it is a consequence
		l.logger.Error("emulator's store", "error", fmt.Sprintf(format, args...))
	}
}

// Fatalf implements pebble.Logger.
func (l libraryLog) Fatalf(format string, args ...any) {
	l.disk.freeze(fmt.Errorf(format, args...))
}
