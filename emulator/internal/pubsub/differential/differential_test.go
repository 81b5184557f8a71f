package differential

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"waybill.dev/emulator"
	"waybill.dev/internal/googletest"
	"waybill.dev/internal/testenv"
)

var (
	seed      = flag.Uint64("seed", 0, "run only this sequence, and show it")
	first     = flag.Uint64("from", 1, "the seed of the first sequence")
	sequences = flag.Int("sequences", 0, "how many sequences to run; 0: 200, or 5,000 with WAYBILL_REQUIRE=all")
	failures  = flag.Int("failures", 10, "after how many sequences that differ to stop")
	upstream  = flag.String("google", "", "HOST:PORT of Google's emulator; empty: start one")
)

// both starts the two emulators.
func both(t *testing.T) (ours, theirs *side) {
	t.Helper()
	address := *upstream
	if address == "" {
		address = googletest.PubSub(t)
	}
	e, err := emulator.Start(t.Context(), emulator.Config{Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return connect(t, waybill, e.Addr()), connect(t, google, address)
}

// parallel is how many sequences run at a time: each waits for its answers most of the time.
const parallel = 8

func TestDifferential(t *testing.T) {
	if testing.Short() {
		t.Skip("-short runs no other programs")
	}
	ours, theirs := both(t)
	if *seed != 0 {
		s := &sequence{ours: newRun(ours), theirs: newRun(theirs)}
		s.run(t.Context(), newGenerator(*seed))
		t.Logf("sequence %d:\n%s", *seed, s)
		if s.difference != "" {
			t.Errorf("%s", s.difference)
		}
		return
	}
	t.Run("sequences", func(t *testing.T) { testSequences(t, ours, theirs) })
	t.Run("timed", func(t *testing.T) { testTimed(t, ours, theirs) })
}

func testSequences(t *testing.T, ours, theirs *side) {
	n := *sequences
	if n == 0 {
		n = 200
		if testenv.Full() {
			n = 5000
		}
	}
	var at, failed, operations, whole atomic.Int64
	var allowedSeen sync.Map
	var running sync.WaitGroup
	for range parallel {
		running.Go(func() {
			for i := at.Add(1); i <= int64(n) && failed.Load() < int64(*failures) && t.Context().Err() == nil; i = at.Add(1) {
				s := &sequence{ours: newRun(ours), theirs: newRun(theirs)}
				number := *first + uint64(i) - 1
				s.run(t.Context(), newGenerator(number))
				operations.Add(int64(len(s.steps)))
				if s.whole {
					whole.Add(1)
				}
				for _, reason := range s.allowed {
					count, _ := allowedSeen.LoadOrStore(reason, new(atomic.Int64))
					count.(*atomic.Int64).Add(1)
				}
				if s.difference != "" {
					failed.Add(1)
					t.Errorf("sequence %d (repeat it with -seed %d):\n%s%s", number, number, s, s.difference)
				}
			}
		})
	}
	running.Wait()
	t.Logf("%d sequences, %d operations; %d sequences ran to their end, the others to a difference after which the two are not in the same state",
		n, operations.Load(), whole.Load())
	allowedSeen.Range(func(reason, count any) bool {
		t.Logf("allowed %d times: %s", count.(*atomic.Int64).Load(), reason)
		return true
	})
}

// partial reports whether Google's emulator may have carried out a part of what it refused: it takes the paths of a mask one by one.
func partial(s step) bool {
	masked, ok := s.request.(interface{ GetUpdateMask() *fieldmaskpb.FieldMask })
	return ok && len(masked.GetUpdateMask().GetPaths()) > 1 && s.ours.code != codes.OK
}

// step is an operation with both answers.
type step struct {
	operation
	ours, theirs result
}

// sequence runs operations on both sides until they differ.
type sequence struct {
	ours, theirs *run
	steps        []step
	allowed      []string // the reasons of the differences that were let pass
	difference   string   // that is not allowed
	whole        bool     // whether it ran to its end
}

func (s *sequence) String() string {
	var out strings.Builder
	for i, step := range s.steps {
		fmt.Fprintf(&out, "%3d %v\n    -> %v\n", i, step.operation, step.ours)
		if step.ours.String() != step.theirs.String() {
			fmt.Fprintf(&out, "  G -> %v\n", step.theirs)
		}
	}
	return out.String()
}

func (s *sequence) run(ctx context.Context, g *generator) {
	defer s.theirs.cleanUp(ctx)
	defer s.ours.cleanUp(ctx)
	for _, o := range g.first() {
		if !s.do(ctx, o) {
			return
		}
	}
	for range 5 + g.IntN(15) {
		if !s.do(ctx, g.next(s.ours.delivered)) {
			return
		}
	}
	for _, o := range g.last() {
		if !s.do(ctx, o) {
			return
		}
	}
	s.whole = true
}

// do carries out one operation on both sides and reports whether the sequence can go on.
func (s *sequence) do(ctx context.Context, o operation) bool {
	st := step{operation: o, ours: s.ours.do(ctx, o)}
	st.theirs = s.theirs.do(ctx, o)
	for range 25 { // half a second: Google's emulator makes ordered messages that were given back available a moment later
		if pulled(st.theirs) >= pulled(st.ours) {
			break
		}
		time.Sleep(20 * time.Millisecond)
		st.theirs = s.theirs.pullMore(ctx, o, st.theirs)
	}
	s.steps = append(s.steps, st)
	s.ours.settled(st)
	s.theirs.settled(st)
	if equal(st) {
		return !partial(st)
	}
	for _, a := range allowances {
		if a.covers(st, s.steps) {
			s.allowed = append(s.allowed, a.reason)
			return !changes(st) && !partial(st)
		}
	}
	s.difference = fmt.Sprintf("%v\nours:   %v\nGoogle: %v", o, st.ours, st.theirs)
	return false
}
