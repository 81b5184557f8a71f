package store_test

import (
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"waybill.dev/emulator/internal/store"
	"waybill.dev/emulator/internal/store/storetest"
)

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
	failures := storetest.Failures()
	failures["full for hours"] = storetest.Failure{Err: syscall.ENOSPC, Run: 400, Step: 101}
	felt := 0
	storetest.EachCall(t, failures, func(t *testing.T, failing vfs.FS, disk *vfs.MemFS) {
		synctest.Test(t, func(t *testing.T) {
			m := newModel()
			if scenario(t, failing, m) > 0 {
				felt++
			}
			if err := m.check(content(t, open(t, disk, dir))); err != nil {
				t.Error(err)
			}
		})
	})
	t.Logf("%d failures were felt by calls", felt)
	if felt == 0 {
		t.Error("no failure was felt: if so, this test sees nothing")
	}
}
