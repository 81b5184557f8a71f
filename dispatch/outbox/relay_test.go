package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"waybill.dev/dispatch"
)

var errUnavailable = status.Error(codes.Unavailable, "connection refused")

// start runs a relay until the test, or stop, ends it.
func (w *world) start(b *Outbox) (stop func()) {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.Errorf("Run: %v", err)
		}
	})
	w.Cleanup(stop)
	return stop
}

func TestRunIsWokenByACommitOfItsProcess(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		b := w.box(Config{PollInterval: time.Hour})
		w.start(b)
		for i := range 3 { // between them the relay goes to rest
			w.commit(b, "ann", "something")
			w.await(i + 1)
		}
	})
}

func TestRunFindsWhatOtherProcessesCommit(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		w.start(w.box(Config{PollInterval: 10 * time.Millisecond}))
		w.commit(w.box(Config{}), "ann", "something")
		w.await(1)
	})
}

func TestRunSendsWhatIsDueBeforeItEnds(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		b := w.box(Config{PollInterval: time.Hour})
		stop := w.start(b)
		id := w.commit(w.box(Config{}), "ann", "the last handler's") // this process was not told
		stop()
		w.want(id)
		w.left(0)
	})
}

func TestTwoRelaysSendEachMessageOnce(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		const messages = 600
		var want []string
		b := w.box(Config{})
		w.inTx(func(tx *sql.Tx) {
			for i := range messages {
				want = append(want, w.send(b, tx, fmt.Sprint("user ", i%50), "something").ID)
			}
		})
		for range 3 {
			w.start(w.box(Config{BatchSize: 20, PollInterval: 5 * time.Millisecond}))
		}
		w.await(messages)
		got := w.ids()
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%d messages arrived, %d of them different; want %d", len(got), len(slices.Compact(got)), messages)
		}
	})
}

// Several senders, several relays, and a transport that fails one time in eight: each key's messages arrive in the order of their commits.
func TestTheOrderOfAKeyHolds(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		const users, each = 8, 40
		w.refuse = func(dispatch.Envelope) error {
			if rand.N(8) == 0 {
				return errUnavailable
			}
			return nil
		}
		for range 3 {
			w.start(w.box(Config{BatchSize: 16, PollInterval: 2 * time.Millisecond, MinBackoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond}))
		}
		b := w.box(Config{})
		var senders sync.WaitGroup
		for user := range users {
			senders.Go(func() {
				for i := range each {
					w.commit(b, fmt.Sprint(user), fmt.Sprintf("%d-%03d", user, i))
				}
			})
		}
		senders.Wait()
		w.await(users * each)
		last := map[byte]string{}
		for _, text := range w.bodies() {
			if text <= last[text[0]] {
				t.Fatalf("%s came after %s", text, last[text[0]])
			}
			last[text[0]] = text
		}
	})
}

func TestAFailedMessageHoldsBackOnlyItsKey(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		b := w.box(Config{MinBackoff: time.Hour, MaxBackoff: time.Hour})
		var ann, ben []string
		w.inTx(func(tx *sql.Tx) {
			for range 2 {
				ann = append(ann, w.send(b, tx, "ann", "something").ID)
				ben = append(ben, w.send(b, tx, "ben", "something").ID)
			}
		})
		w.refuseBy(func(e dispatch.Envelope) error {
			if e.OrderingKey == "ann" {
				return errUnavailable
			}
			return nil
		})
		if err := b.Flush(t.Context()); !errors.Is(err, errUnavailable) {
			t.Errorf("Flush returned %v, want the failure", err)
		}
		w.want(ben...)
		w.refuseBy(nil)
		ann = append(ann, w.commit(b, "ann", "something")) // due, but not its turn
		w.flush(b)
		w.want(ben...)
		if s := w.stats(); s.Waiting != 3 || s.Retrying != 1 || s.Parked != 0 {
			t.Errorf("stats are %+v", s)
		}
		w.hasten()
		w.flush(b)
		w.want(append(ben, ann...)...)
		w.left(0)
	})
}

// What a crash between send and mark leaves is a row with a lease that nobody marks.
func TestACrashBetweenSendAndMark(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		crashed, other := w.box(Config{}), w.box(Config{})
		id := w.commit(crashed, "ann", "something")
		taken, err := crashed.lease(t.Context())
		if err != nil || len(taken.rows) != 1 {
			t.Fatalf("leased %d rows: %v", len(taken.rows), err)
		}
		if err := crashed.sendOne(t.Context(), &taken.rows[0]); err != nil {
			t.Fatal(err)
		}
		later := w.commit(other, "ann", "later")
		w.flush(other) // the lease holds, and the key with it
		w.want(id)
		w.hasten() // the lease ends
		w.flush(other)
		w.want(id, id, later) // the same ID: a task is dropped by its name, an event absorbed by the inbox
		w.left(0)
	})
}

// A relay that was slow and has lost its lease says nothing about its rows any more.
func TestALateMarkIsIgnored(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		slow, other := w.box(Config{}), w.box(Config{})
		w.commit(slow, "ann", "something")
		w.commit(slow, "ben", "something")
		taken, err := slow.lease(t.Context())
		if err != nil || len(taken.rows) != 2 {
			t.Fatalf("leased %d rows: %v", len(taken.rows), err)
		}
		w.hasten()
		again, err := other.lease(t.Context())
		if err != nil || len(again.rows) != 2 {
			t.Fatalf("leased %d rows again: %v", len(again.rows), err)
		}
		if err := slow.mark(t.Context(), taken.lease, marks{failures: []failure{{Seq: taken.rows[0].seq}}, sent: []int64{taken.rows[1].seq}}); err != nil {
			t.Fatal(err)
		}
		w.left(2)
		w.flush(other) // nothing is due: the other's lease holds
		w.want()
		if err := other.mark(t.Context(), again.lease, marks{sent: []int64{again.rows[0].seq, again.rows[1].seq}}); err != nil {
			t.Fatal(err)
		}
		w.left(0)
	})
}

// A send ends before its lease does, so that no other relay sends at the same time.
func TestSendsEndBeforeTheirLease(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		b := w.box(Config{Lease: time.Second, Parallel: 1})
		var deadline atomic.Pointer[time.Time]
		w.reach = func(ctx context.Context, _ dispatch.Envelope) {
			if d, ok := ctx.Deadline(); ok {
				deadline.Store(&d)
			}
		}
		began := time.Now()
		w.commit(b, "ann", "something")
		w.flush(b)
		const most = 750 * time.Millisecond
		if d := deadline.Load(); d == nil || d.Before(began.Add(most)) || d.After(time.Now().Add(most)) {
			t.Errorf("the deadline of a send is %v, want 250 ms before the end of its lease of 1 s", d)
		}
	})
}

func TestAMessageIsParkedAndNeverDropped(t *testing.T) {
	invalid := status.Error(codes.InvalidArgument, "the ordering key is too long")
	onEach(t, func(t *testing.T, w *world) {
		b := w.box(Config{MaxAttempts: 3})
		bad := w.commit(b, "ann", "bad")
		behind := w.commit(b, "ann", "behind")
		w.refuseBy(func(e dispatch.Envelope) error {
			if e.ID == bad {
				return invalid
			}
			return nil
		})
		for range 5 {
			if err := b.Flush(t.Context()); err != nil && !errors.Is(err, invalid) {
				t.Fatal(err)
			}
			w.hasten()
		}
		other := w.commit(b, "ben", "something")
		w.flush(b)
		w.want(other)
		if s := w.stats(); s.Parked != 1 || s.Waiting != 1 || s.Lag < 0 {
			t.Errorf("stats are %+v", s)
		}
		var parked []Parked
		if err := b.Parked(t.Context(), func(p Parked) bool { parked = append(parked, p); return true }); err != nil {
			t.Fatal(err)
		}
		if len(parked) != 1 || parked[0].Envelope.ID != bad || parked[0].Attempts != 3 || parked[0].Error != invalid.Error() || time.Since(parked[0].KeptAt) > time.Minute {
			t.Fatalf("parked: %+v", parked)
		}

		// It is tried as often again.
		if n, err := b.Retry(t.Context(), bad, behind); n != 1 || err != nil {
			t.Errorf("%d were retried, %v", n, err)
		}
		if err := b.Flush(t.Context()); !errors.Is(err, invalid) {
			t.Errorf("Flush: %v", err)
		}
		if s := w.stats(); s.Parked != 0 || s.Waiting != 2 {
			t.Errorf("stats are %+v", s)
		}
		w.refuseBy(nil)
		w.hasten()
		w.flush(b)
		w.want(other, bad, behind)
		w.left(0)
	})
}

func TestDiscardFreesTheKey(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		b := w.box(Config{MaxAttempts: 1})
		bad := w.commit(b, "ann", "bad")
		behind := w.commit(b, "ann", "behind")
		w.refuseBy(func(e dispatch.Envelope) error {
			if e.ID == bad {
				return dispatch.ErrNotDeclared
			}
			return nil
		})
		if err := b.Flush(t.Context()); !errors.Is(err, dispatch.ErrNotDeclared) {
			t.Fatal(err)
		}
		if n, err := b.Discard(t.Context(), bad, behind); n != 1 || err != nil { // what is not parked stays
			t.Errorf("%d were discarded, %v", n, err)
		}
		w.flush(b)
		w.want(behind)
		w.left(0)
	})
}

// An outage, a missing queue or a missing permission is no message's fault.
func TestFailuresOfTheWayNeverPark(t *testing.T) {
	for _, err := range []error{
		errUnavailable, status.Error(codes.NotFound, "no such queue"), status.Error(codes.PermissionDenied, ""), status.Error(codes.ResourceExhausted, ""),
		context.DeadlineExceeded, fmt.Errorf("no answer: %w", dispatch.ErrAmbiguous),
	} {
		w := newWorld(t, openSQLite(t), SQLite)
		b := w.box(Config{MaxAttempts: 1})
		w.refuse = func(dispatch.Envelope) error { return err }
		w.commit(b, "ann", "something")
		for range 3 {
			if got := b.Flush(t.Context()); !errors.Is(got, err) {
				t.Errorf("Flush: %v, want %v", got, err)
			}
			w.hasten()
		}
		if s := w.stats(); s.Parked != 0 || s.Retrying != 1 {
			t.Errorf("after %v: %+v", err, s)
		}
	}
}

func TestARowThatIsNoEnvelopeIsParked(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		b := w.box(Config{MaxAttempts: 1})
		bad := w.commit(b, "ann", "something")
		w.exec(`UPDATE waybill_outbox SET attributes = 'nonsense', scheduled_for = 'tomorrow'`)
		good := w.commit(b, "ben", "something")
		if err := b.Flush(t.Context()); err == nil {
			t.Error("nothing was said about a broken row")
		}
		w.want(good)
		var ids []string
		if err := b.Parked(t.Context(), func(p Parked) bool { ids = append(ids, p.Envelope.ID); return true }); err != nil || !slices.Equal(ids, []string{bad}) {
			t.Errorf("parked are %q, %v", ids, err)
		}
	})
}

// While nothing gets through, a backlog is tried in batches with pauses between, and not all of it over and over.
func TestAnOutageIsNotHammered(t *testing.T) {
	w := newWorld(t, postgres.DB(t), PostgreSQL)
	b := w.box(Config{BatchSize: 20, PollInterval: time.Millisecond})
	w.inTx(func(tx *sql.Tx) {
		for i := range 2000 {
			w.send(b, tx, fmt.Sprint(i), "something")
		}
	})
	var tried atomic.Int32
	w.refuse = func(dispatch.Envelope) error { tried.Add(1); return errUnavailable }
	stop := w.start(b)
	for deadline := time.Now().Add(patience); tried.Load() < 100 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(300 * time.Millisecond) // without pauses all would have been tried by now, see BenchmarkRelay
	before := tried.Load()
	if before > 400 {
		t.Errorf("%d messages were tried within a moment of an outage", before)
	}
	w.refuseBy(nil)
	w.hasten()
	w.await(2000 - int(before)) // those that are not due yet come later
	stop()
}

// A process that is frozen while it leases, as on Cloud Run, must not stop the others for long.
func TestAFrozenRelayHoldsNobodyUp(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits 5 s for PostgreSQL to end a session")
	}
	w := newWorld(t, postgres.DB(t), PostgreSQL)
	b := w.box(Config{})
	id := w.commit(b, "ann", "something")
	frozen := w.begin()
	defer frozen.Rollback()
	if _, err := frozen.ExecContext(t.Context(), b.sql.lock); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := b.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	w.want(id)
}

func TestRunEndsWithItsDispatcher(t *testing.T) {
	w := newWorld(t, openSQLite(t), SQLite)
	b := w.box(Config{PollInterval: time.Millisecond})
	w.refuse = func(dispatch.Envelope) error { return fmt.Errorf("nothing was sent: %w", dispatch.ErrClosed) }
	w.commit(b, "ann", "something")
	if err := b.Run(t.Context()); err == nil {
		t.Error("Run went on although its Dispatcher was shut down")
	}
	if s := w.stats(); s.Waiting != 1 || s.Retrying != 0 {
		t.Errorf("stats are %+v; the message was not at fault", s)
	}
}

func TestBackoff(t *testing.T) {
	for failures, most := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second, 10 * time.Second} {
		for range 100 {
			if d := backoff(time.Second, 10*time.Second, failures); d < most/2 || d > most {
				t.Errorf("after %d failures the pause is %v, want %v to %v", failures, d, most/2, most)
			}
		}
	}
	if d := backoff(time.Second, time.Minute, 1<<30); d < 30*time.Second {
		t.Errorf("after many failures the pause is %v", d)
	}
}
