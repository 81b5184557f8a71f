package store_test

import (
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"waybill.dev/emulator/internal/store"
)

// failing is an injector that fails the calls from the nth on, so many of them, and counts all.
type failing struct {
	calls    atomic.Int64
	nth, run int64
	err      error
	what     atomic.Value
}

func (f *failing) String() string { return "failing" }

func (f *failing) MaybeError(op errorfs.Op) error {
	n := f.calls.Add(1)
	if n < f.nth || n >= f.nth+f.run {
		return nil
	}
	f.what.Store(fmt.Sprintf("%d %s", op.Kind, op.Path))
	return f.err
}

// scenario writes, deletes and closes so that the database makes, fills, merges and drops files of every kind. A call that fails
// is made again once the disk has had time to recover.
func scenario(t *testing.T, fs vfs.FS, m *model) (failures int) {
	t.Helper()
	retry := func(do func() error) {
		t.Helper()
		for range 401 { // more than calls that fail
			err := do()
			if err == nil {
				return
			}
			failures++
			if strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), `store: the directory "data"`) {
				t.Errorf("not a clear error: %v", err)
			}
			time.Sleep(time.Second)
		}
		t.Errorf("still fails: %v", do())
	}
	big := strings.Repeat("x", 9<<10)
	for round := range 2 {
		var s *store.Store
		retry(func() (err error) {
			s, err = store.Open(store.WithMemTable(store.Config{Dir: dir, FS: fs, Logger: slog.New(slog.DiscardHandler)}, 128<<10))
			return err
		})
		if s == nil {
			return failures
		}
		retry(func() error { return s.Scan(nil, func(_, _ []byte) error { return nil }) })
		for i := range 24 {
			m.set(s, fmt.Sprint("t", i%7), fmt.Sprint(round, i, big))
			m.set(s, fmt.Sprint("u", round, i), "small")
			m.remove(s, fmt.Sprint("u", round, i-3))
			if i%5 == 0 {
				s.Flush()
				time.Sleep(time.Minute)
				continue
			}
			retry(s.Ready)
			retry(func() error { return m.sync(s) })
		}
		if err := s.Close(); err != nil {
			failures++
		}
	}
	return failures
}

func TestEveryCallToTheDiskFails(t *testing.T) {
	count := &failing{}
	synctest.Test(t, func(t *testing.T) {
		scenario(t, errorfs.Wrap(vfs.NewMem(), count), newModel())
	})
	calls := count.calls.Load()
	for name, c := range map[string]struct {
		err  error
		run  int64 // calls that fail, one after the other
		step int64
	}{
		"EIO":            {syscall.EIO, 1, 1},
		"ENOSPC":         {syscall.ENOSPC, 1, 1},
		"EIO for long":   {syscall.EIO, 40, 7},
		"full for long":  {syscall.ENOSPC, 40, 7},
		"full for hours": {syscall.ENOSPC, 400, 101},
	} {
		if testing.Short() {
			c.step *= 17
		}
		felt := 0
		for n := int64(1); n <= calls; n += c.step {
			f := &failing{nth: n, run: c.run, err: c.err}
			synctest.Test(t, func(t *testing.T) {
				fs := vfs.NewMem()
				m := newModel()
				if scenario(t, errorfs.Wrap(fs, f), m) > 0 {
					felt++
				}
				s := open(t, fs, dir)
				if err := m.check(content(t, s)); err != nil {
					t.Error(err)
				}
			})
			if t.Failed() {
				t.Fatalf("%s in call %d, %v", name, n, f.what.Load())
			}
		}
		t.Logf("%s: of %d calls, %d were felt", name, calls, felt)
	}
}
