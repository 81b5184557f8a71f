// Package storetest makes the disk below a store fail, for tests of what is built on it.
package storetest

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// failing fails the calls to the disk from the nth on, so many of them.
type failing struct {
	calls    atomic.Int64
	nth, run int64
	err      error
	what     atomic.Value // of the last call that failed
}

func (f *failing) String() string { return "failing" }

// MaybeError implements errorfs.Injector.
func (f *failing) MaybeError(op errorfs.Op) error {
	if n := f.calls.Add(1); n < f.nth || n >= f.nth+f.run {
		return nil
	}
	f.what.Store(fmt.Sprintf("%d %s", op.Kind, op.Path))
	return f.err
}

// Full is a disk's calls, all of which fail with ENOSPC while it is set.
type Full struct{ atomic.Bool }

func (f *Full) String() string { return "full" }

// MaybeError implements errorfs.Injector.
func (f *Full) MaybeError(errorfs.Op) error {
	if f.Load() {
		return syscall.ENOSPC
	}
	return nil
}

// Failure is how calls to a disk fail.
type Failure struct {
	Err  error
	Run  int64 // calls that fail, one after the other
	Step int64 // how many calls lie between the first failures of two scenarios
}

// Failures fail each call once with EIO and once with ENOSPC, and now and then many in a row.
func Failures() map[string]Failure {
	return map[string]Failure{
		"EIO":           {syscall.EIO, 1, 1},
		"ENOSPC":        {syscall.ENOSPC, 1, 1},
		"EIO for long":  {syscall.EIO, 50, 9},
		"full for long": {syscall.ENOSPC, 50, 9},
	}
}

// EachCall runs a scenario on a disk that works, to count its calls, and then on a disk of its own for each of them, where that
// call and those after it fail. A scenario works on failing, which stands before disk, and in the end it checks what disk has. Fewer calls
// fail under -short.
func EachCall(t *testing.T, failures map[string]Failure, scenario func(t *testing.T, failing vfs.FS, disk *vfs.MemFS)) {
	t.Helper()
	run := func(f *failing) {
		disk := vfs.NewCrashableMem()
		scenario(t, errorfs.Wrap(disk, f), disk)
	}
	count := &failing{}
	run(count)
	calls := count.calls.Load()
	for name, c := range failures {
		if testing.Short() {
			c.Step *= 11
		}
		for n := int64(1); n <= calls; n += c.Step {
			f := &failing{nth: n, run: c.Run, err: c.Err}
			run(f)
			if t.Failed() {
				t.Fatalf("%s in call %d of %d, %v", name, n, calls, f.what.Load())
			}
		}
	}
	t.Logf("%d calls", calls)
}
