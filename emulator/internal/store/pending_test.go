package store_test

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"waybill.dev/emulator/internal/store"
	"waybill.dev/emulator/internal/store/storetest"
)

// While the disk stays full, what waits for it grows with the number of keys, not with that of changes; and once there is room, the
// outcome is that of all changes in their order.
func TestWhatWaitsForAFullDiskIsBounded(t *testing.T) {
	const keys = 100
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		full := &storetest.Full{}
		s, err := store.Open(store.Config{Dir: dir, FS: errorfs.Wrap(fs, full), Logger: slog.New(slog.DiscardHandler)})
		must(t, err)
		want := map[string]string{}
		rng := rand.New(rand.NewPCG(3, 4))
		change := func(n int) {
			k := fmt.Sprintf("k%02d", rng.IntN(keys))
			switch rng.IntN(40) {
			case 0:
				from, to := k, "k"+string(k[1]+1)
				s.DeleteRange([]byte(from), []byte(to))
				maps.DeleteFunc(want, func(key, _ string) bool { return key >= from && key < to })
			case 1, 2, 3, 4, 5:
				s.Delete([]byte(k))
				delete(want, k)
			default:
				want[k] = fmt.Sprint(n)
				s.Set([]byte(k), []byte(want[k]))
			}
		}
		for n := range 200 {
			change(n)
		}
		must(t, s.Sync())

		full.Store(true)
		most := 0
		for n := range 50_000 {
			if n%50 != 0 { // of ranges there are few: they come from calls, which fail
				k := fmt.Sprintf("k%02d", rng.IntN(keys))
				want[k] = strings.Repeat("x", n%7+1)
				s.Set([]byte(k), []byte(want[k]))
			} else if n < 5000 {
				change(n)
			}
			if n%100 == 0 {
				if s.Sync() == nil {
					t.Fatal("acknowledged without room")
				}
				time.Sleep(time.Second)
				most = max(most, store.Pending(s))
			}
		}
		if most > 2500 {
			t.Errorf("%d changes waited, of %d keys", most, keys)
		}
		full.Store(false)
		must(t, s.Sync())
		must(t, s.Close())
		if got := content(t, open(t, fs, dir)); !maps.Equal(got, want) {
			t.Errorf("%d pairs, want %d: the outcome differs", len(got), len(want))
		}
	})
}

// meanwhile fails the calls to the disk while it is not nil, and does something else first.
type meanwhile struct{ do func() }

func (m *meanwhile) String() string { return "meanwhile" }

func (m *meanwhile) MaybeError(errorfs.Op) error {
	if m.do == nil {
		return nil
	}
	m.do()
	return syscall.EIO
}

// What is buffered while a write fails comes after what that could not write.
func TestChangesDuringAFailedWriteKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, failing := vfs.NewMem(), &meanwhile{}
		s, err := store.Open(store.Config{Dir: dir, FS: errorfs.Wrap(fs, failing), Logger: slog.New(slog.DiscardHandler)})
		must(t, err)
		s.Set([]byte("k"), []byte("first"))
		must(t, s.Sync())
		s.Set([]byte("k"), []byte("second"))
		failing.do = func() { s.Set([]byte("k"), []byte("third")) }
		if s.Sync() == nil {
			t.Error("acknowledged")
		}
		failing.do = nil
		time.Sleep(time.Second)
		must(t, s.Sync())
		must(t, s.Close())
		if got := content(t, open(t, fs, dir)); got["k"] != "third" {
			t.Errorf("it is %q", got["k"])
		}
	})
}
