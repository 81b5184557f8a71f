package store_test

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"waybill.dev/emulator/internal/store"
)

// While eight goroutines write, the power fails at random moments: of what was written and not synced, nothing,
// some or all remains. Everything that was acknowledged before must be there, and what is there must be the
// first writes of each goroutine, without a gap.
func TestPowerLossKeepsWhatWasAcknowledged(t *testing.T) {
	const (
		writers = 8
		writes  = 20 // of each, per loss
		live    = 30 // pairs of each that are not deleted
	)
	losses := 100
	if testing.Short() {
		losses = 10
	}
	rng := rand.New(rand.NewPCG(1, 2))
	disk := vfs.NewCrashableMem()
	s, err := store.Open(store.WithMemTable(store.Config{Dir: dir, FS: disk, Logger: slog.New(slog.DiscardHandler)}, 128<<10))
	must(t, err)
	key := func(w, n int) []byte { return fmt.Appendf(nil, "%d/%06d", w, n) }
	value := make([]byte, 1000)
	var acknowledged [writers]atomic.Int64
	for loss := 0; loss < losses && !t.Failed(); loss++ {
		moment := make(chan struct{}) // closed by the write that the power fails after
		nth := rng.Int64N(writers * writes)
		var done atomic.Int64
		var writing sync.WaitGroup
		for w := range writers {
			writing.Go(func() {
				for n := loss * writes; n < (loss+1)*writes; n++ {
					s.Set(key(w, n), value)
					s.Delete(key(w, n-live))
					if err := s.Sync(); err != nil {
						t.Error(err)
					}
					acknowledged[w].Store(int64(n + 1))
					if done.Add(1) == nth+1 {
						close(moment)
					}
				}
			})
		}
		<-moment
		var before [writers]int
		for w := range before {
			before[w] = int(acknowledged[w].Load())
		}
		after := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(3) * 50, RNG: rng})
		writing.Wait()

		survivor := open(t, after, dir)
		got := content(t, survivor)
		for w, n := range before {
			there := 0
			for i := max(n-live, 0); i < n+writes+1; i++ {
				if _, ok := got[string(key(w, i))]; ok {
					there = i + 1
				} else if there > 0 && i < n {
					t.Errorf("loss %d, writer %d: there is a gap at %d", loss, w, i)
				}
			}
			if there < n {
				t.Errorf("loss %d, writer %d: %d writes were acknowledged, and %d are there", loss, w, n, there)
			}
		}
		survivor.Set([]byte("last"), []byte("1"))
		must(t, survivor.Sync())
		got["last"] = "1"
		again := open(t, after.CrashClone(vfs.CrashCloneCfg{}), dir)
		if !maps.Equal(got, content(t, again)) {
			t.Errorf("loss %d: what was there after it did not outlive the next one", loss)
		}
		must(t, again.Close())
		must(t, survivor.Close())
	}
	must(t, s.Close())
}
