package pubsub

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"waybill.dev/emulator/internal/clock"
	"waybill.dev/emulator/internal/store"
)

const (
	kill      = 100 // percent of what was written and not synced that survives
	powerLoss = 0
)

// life is a Service on a store, from its start to its end.
type life struct {
	*Service
	t     testing.TB
	store *store.Store
}

// begin starts a life on a disk. It fails as the store does.
func begin(t testing.TB, fs vfs.FS, c Config) (*life, error) {
	logger := slog.New(slog.DiscardHandler)
	s, err := store.Open(store.Config{Dir: "data", FS: fs, Logger: logger})
	if err != nil {
		return nil, err
	}
	if c.Clock == nil {
		c.Clock = clock.New()
	}
	c.Logger, c.Store = logger, s
	l := &life{New(c), t, s}
	if err := l.Load(); err != nil {
		l.die()
		return nil, err
	}
	l.Start()
	return l, nil
}

func mustBegin(t testing.TB, fs vfs.FS, c Config) *life {
	t.Helper()
	l, err := begin(t, fs, c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// die ends a life whose disk is of no interest any more, or fails.
func (l *life) die() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := l.Service.Close(ctx); err != nil {
		l.t.Error(err)
	}
	l.clock.Close()
	_ = l.store.Close()
}

// end ends a life in good order.
func (l *life) end() {
	l.t.Helper()
	l.die()
	if err := l.store.Sync(); err != nil {
		l.t.Error(err)
	}
}

// crash is what a disk has after the process was killed, or after a loss of power.
func crash(fs *vfs.MemFS, survives int) *vfs.MemFS {
	return fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: survives, RNG: rand.New(rand.NewPCG(1, 2))})
}

// lives runs the parts of a test in lives that follow each other. Each but the last ends by a kill, by a loss of
// power, and in good order, as far as the disk is concerned. The parts get their number of the run.
func lives(t *testing.T, parts ...func(t *testing.T, l *life)) {
	t.Helper()
	for name, end := range map[string]func(disk *vfs.MemFS, l *life) *vfs.MemFS{
		"kill":       func(disk *vfs.MemFS, l *life) *vfs.MemFS { after := crash(disk, kill); l.die(); return after },
		"power loss": func(disk *vfs.MemFS, l *life) *vfs.MemFS { after := crash(disk, powerLoss); l.die(); return after },
		"close":      func(disk *vfs.MemFS, l *life) *vfs.MemFS { l.end(); return disk },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := vfs.NewCrashableMem()
				for _, part := range parts {
					l := mustBegin(t, disk, Config{})
					func() {
						defer func() { disk = end(disk, l) }()
						part(t, l)
					}()
				}
			})
		})
	}
}

// settle lets what nobody waits for reach the disk.
func settle() {
	time.Sleep(10 * time.Millisecond)
	synctest.Wait()
}
