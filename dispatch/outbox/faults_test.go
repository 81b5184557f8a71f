package outbox

import (
	"context"
	"database/sql"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waybill.dev/dispatch"
)

// The faults of docs/guarantees.md that the outbox answers for and no other test here shows.

func TestADeadRelaysLeaseEnds(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		dead, other := w.box(Config{}), w.box(Config{})
		id := w.commit(dead, "ann", "something")
		if taken, err := dead.lease(t.Context()); err != nil || len(taken.rows) != 1 { // and dies before it sends
			t.Fatalf("leased %d rows: %v", len(taken.rows), err)
		}
		w.flush(other)
		w.want()
		w.hasten()
		w.flush(other)
		w.want(id)
		w.left(0)
	})
}

// away makes the outbox's table unreachable until the function that it returns is called.
func (w *world) away() (back func()) {
	w.Helper()
	w.exec(`ALTER TABLE waybill_outbox RENAME TO waybill_elsewhere`)
	return sync.OnceFunc(func() { w.exec(`ALTER TABLE waybill_elsewhere RENAME TO waybill_outbox`) })
}

func TestARelayOutlivesTheOutageOfItsDatabase(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		log := &failures{}
		b := w.box(Config{PollInterval: time.Millisecond, Logger: log.logger()})
		w.start(b)
		w.commit(b, "ann", "before")
		w.await(1)
		back := w.away()
		log.await(t, "outbox cannot be read")
		back()
		w.commit(b, "ann", "after")
		w.await(2)
	})
}

// PostgreSQL restarts, or somebody ends its sessions.
func TestARelayOutlivesItsConnections(t *testing.T) {
	w := newWorld(t, postgres.DB(t), PostgreSQL)
	b := w.box(Config{PollInterval: time.Millisecond})
	w.start(b)
	for i := range 5 {
		w.commit(b, "ann", "something")
		w.await(i + 1)
		// The schema tells the sessions of this test from those of others.
		w.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE '%waybill_outbox%'`)
	}
}

// The database goes away while messages are being sent, and comes back within the seconds for which a mark is tried: nothing is sent twice.
func TestAMarkWaitsForTheDatabase(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		b := w.box(Config{})
		id := w.commit(b, "ann", "something")
		w.reach = func(context.Context, dispatch.Envelope) {
			back := w.away()
			timer := time.AfterFunc(3*markPause, back)
			t.Cleanup(func() { timer.Stop() })
		}
		w.flush(b)
		w.reach = nil
		w.hasten()
		w.flush(b)
		w.want(id)
		w.left(0)
	})
}

// Somebody holds the table for longer than a batch takes.
func TestASlowDatabaseDelaysAndRepeatsNothing(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		b := w.box(Config{PollInterval: time.Millisecond})
		id := w.commit(b, "ann", "something")
		slow := w.begin()
		hold := `LOCK TABLE waybill_outbox IN ACCESS EXCLUSIVE MODE`
		if w.dialect == SQLite {
			hold = `UPDATE waybill_outbox SET attempts = attempts` // the one writer
		}
		if _, err := slow.ExecContext(t.Context(), hold); err != nil {
			t.Fatal(err)
		}
		w.start(b)
		time.Sleep(100 * time.Millisecond) // it can only be shown that nothing has been sent yet
		w.want()
		if err := slow.Commit(); err != nil {
			t.Fatal(err)
		}
		w.await(1)
		w.want(id)
	})
}

// The message does not fit: neither does the transaction.
func TestAFullDiskLeavesNeitherRowNorMessage(t *testing.T) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1) // the pragma below is one connection's
	w := newWorld(t, db, SQLite)
	w.exec(`CREATE TABLE users (name text)`)
	w.exec(`PRAGMA max_page_count = 12`)
	b := w.box(Config{})
	tx := w.begin()
	if _, err := tx.ExecContext(t.Context(), `INSERT INTO users VALUES ('ann')`); err != nil {
		t.Fatal(err)
	}
	_, err = dispatch.Send(t.Context(), b.In(tx), userChanged, signedUp{"ann", strings.Repeat("x", 100_000)})
	if err == nil || !strings.Contains(err.Error(), "full") || !strings.Contains(err.Error(), "it was not kept") {
		t.Fatalf("Send on a full disk: %v", err)
	}
	_ = tx.Rollback() // what the documentation asks for; SQLite may have done it
	w.left(0)
	var users int
	if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM users`).Scan(&users); err != nil || users != 0 {
		t.Errorf("%d users, %v", users, err)
	}
	w.exec(`PRAGMA max_page_count = 1000`)
	id := w.commit(b, "ann", "there is room again")
	w.flush(b)
	w.want(id)
}

// A database whose clock is set back finds its rows in the future: they wait for as long as it was set back by, and others do not.
func TestAClockThatIsSetBackDelaysAndLosesNothing(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		b := w.box(Config{})
		early := w.commit(b, "ann", "before")
		if w.dialect == SQLite {
			w.exec(`UPDATE waybill_outbox SET due_at = due_at + 3600000, created_at = created_at + 3600000`)
		} else {
			w.exec(`UPDATE waybill_outbox SET due_at = due_at + interval '1 hour', created_at = created_at + interval '1 hour'`)
		}
		late := w.commit(b, "ben", "after")
		w.flush(b)
		w.want(late)
		if s := w.stats(); s.Waiting != 1 || s.Lag != 0 {
			t.Errorf("stats are %+v, want one that waits and no negative lag", s)
		}
		w.hasten() // the hour passes
		w.flush(b)
		w.want(late, early)
		w.left(0)
	})
}

// A clock that jumps forward ends the leases of relays that are alive: both send, under one ID, and neither's mark disturbs the other's.
func TestAClockThatJumpsForwardRepeatsUnderTheSameID(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		b, other := w.box(Config{}), w.box(Config{})
		id := w.commit(b, "ann", "something")
		var jumped atomic.Bool
		w.reach = func(context.Context, dispatch.Envelope) {
			if jumped.CompareAndSwap(false, true) {
				w.hasten()
				w.flush(other)
			}
		}
		w.flush(b)
		w.want(id, id)
		w.left(0)
	})
}

// Somebody deletes a row by hand that others of its key wait for. The scheduler's endpoint and the relay's report let them go.
func TestWhatWaitsForARowThatIsGoneIsSwept(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		b := w.box(Config{BatchSize: 1})
		first := w.commit(b, "ann", "first")
		second := w.commit(b, "ann", "second")
		if taken, err := b.lease(t.Context()); err != nil || len(taken.rows) != 1 {
			t.Fatalf("leased %d rows: %v", len(taken.rows), err)
		}
		if taken, err := b.lease(t.Context()); err != nil || len(taken.rows) != 0 || taken.looked != 1 { // now the second is held
			t.Fatalf("leased %d rows: %v", len(taken.rows), err)
		}
		w.exec(`DELETE FROM waybill_outbox WHERE message_id = $1`, first)
		w.flush(b)
		w.want()
		if err := b.sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.flush(b)
		w.want(second)
	})
}

// Many keys behind one batch: each mark lets a batch's worth of turns go, and all arrive in their order.
func TestALongBacklogOfManyKeysArrivesInOrder(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		const users, each = 30, 10
		b := w.box(Config{BatchSize: 7}) // fewer than there are keys
		var want []string
		w.inTx(func(tx *sql.Tx) {
			for range each {
				for user := range users {
					want = append(want, w.send(b, tx, strings.Repeat("u", 1+user), "something").ID)
				}
			}
		})
		for range 2 {
			w.start(w.box(Config{BatchSize: 7, PollInterval: time.Millisecond}))
		}
		w.await(users * each)
		last := map[string]int{}
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, e := range w.arrived {
			at := slices.Index(want, e.ID)
			if before, ok := last[e.OrderingKey]; ok && at < before {
				t.Fatalf("message %d of a key came after %d", at, before)
			}
			last[e.OrderingKey] = at
		}
	})
}
