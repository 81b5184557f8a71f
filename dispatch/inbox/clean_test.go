package inbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"waybill.dev/dispatch/inbox"
)

// age makes all that is remembered older.
func age(t *testing.T, db *sql.DB, dialect inbox.Dialect, by time.Duration) {
	t.Helper()
	if dialect == inbox.SQLite {
		mustExec(t, db, `UPDATE waybill_inbox SET done_at = done_at - $1`, by.Milliseconds())
		return
	}
	mustExec(t, db, `UPDATE waybill_inbox SET done_at = done_at - $1::bigint * interval '1 millisecond'`, by.Milliseconds())
}

// fill remembers n messages.
func fill(t *testing.T, db *sql.DB, dialect inbox.Dialect, n int) {
	t.Helper()
	if dialect == inbox.SQLite {
		mustExec(t, db, `INSERT INTO waybill_inbox SELECT 'charge', 'old ' || value, 0 FROM (
			WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < $1) SELECT value FROM n)`, n)
		return
	}
	mustExec(t, db, `INSERT INTO waybill_inbox SELECT 'charge', 'old ' || n, to_timestamp(0) FROM generate_series(1, $1::int) AS n`, n)
}

func TestCleanForgetsWhatIsOlderThanTheRetention(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB, dialect inbox.Dialect) {
		box := newInbox(t, db, inbox.Config{Dialect: dialect, Retention: time.Hour})
		handle := inbox.Once(box, effect)
		if err := handle(message(t.Context(), "old"), payment{}); err != nil {
			t.Fatal(err)
		}
		age(t, db, dialect, time.Hour+time.Second)
		if err := handle(message(t.Context(), "new"), payment{}); err != nil {
			t.Fatal(err)
		}
		age(t, db, dialect, 0)
		if n, err := box.Clean(t.Context()); n != 1 || err != nil {
			t.Errorf("Clean forgot %d messages (%v), want 1", n, err)
		}
		if got := count(t, db, `SELECT count(*) FROM waybill_inbox WHERE message_id = 'new'`); got != 1 {
			t.Error("the newer message was forgotten")
		}
	})
}

// More than one batch, and two that clean at once: together they forget each row once.
func TestCleanWorksInBatchesAndBesideAnother(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB, dialect inbox.Dialect) {
		box := newInbox(t, db, inbox.Config{Dialect: dialect})
		const rows = 4500
		fill(t, db, dialect, rows)
		var mu sync.Mutex
		var total int64
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				n, err := box.Clean(t.Context())
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				total += n
			})
		}
		both.Wait()
		left := count(t, db, `SELECT count(*) FROM waybill_inbox`)
		if total+int64(left) != rows || left > 1000 { // one of them may stop when the other holds the last batch
			t.Errorf("%d rows were forgotten and %d are left of %d", total, left, rows)
		}
	})
}

func TestRunCleansUntilItsContextEnds(t *testing.T) {
	db := openSQLite(t)
	box := newInbox(t, db, inbox.Config{Dialect: inbox.SQLite, CleanInterval: time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- box.Run(ctx) }()
	for round := range 2 { // the second round needs the loop, not only its first pass
		fill(t, db, inbox.SQLite, 10)
		deadline := time.Now().Add(patience)
		for count(t, db, `SELECT count(*) FROM waybill_inbox`) > 0 {
			if time.Now().After(deadline) {
				t.Fatalf("round %d was not cleaned", round)
			}
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run returned %v", err)
	}
}

func TestMigrateAtOnceAndAgain(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB, dialect inbox.Dialect) {
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				box, err := inbox.New(db, inbox.Config{Dialect: dialect, Prefix: fmt.Sprintf("app%d_", i%2)})
				if err == nil {
					err = box.Migrate(t.Context())
				}
				if err != nil {
					t.Errorf("migration %d: %v", i, err)
				}
			})
		}
		all.Wait()
		for i := range 2 {
			if got := count(t, db, fmt.Sprintf(`SELECT count(*) FROM app%d_migrations`, i)); got != 1 {
				t.Errorf("app%d_ has %d migrations, want 1", i, got)
			}
			if got := count(t, db, fmt.Sprintf(`SELECT count(*) FROM app%d_inbox`, i)); got != 0 {
				t.Errorf("app%d_inbox has %d rows", i, got)
			}
		}
	})
}

// Processes that start at once have no connection pool in common.
func TestMigrateSQLiteFromSeveralConnections(t *testing.T) {
	file := filepath.Join(t.TempDir(), "test.db")
	var all sync.WaitGroup
	for range 6 {
		db, err := sql.Open("sqlite", "file:"+file) // without a busy timeout
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		all.Go(func() {
			box, err := inbox.New(db, inbox.Config{Dialect: inbox.SQLite})
			if err == nil {
				err = box.Migrate(t.Context())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestAFailedMigrationLeavesNothing(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB, dialect inbox.Dialect) {
		mustExec(t, db, `CREATE TABLE waybill_inbox (something text)`)
		box, err := inbox.New(db, inbox.Config{Dialect: dialect})
		if err != nil {
			t.Fatal(err)
		}
		if err := box.Migrate(t.Context()); err == nil {
			t.Error("a table of somebody else's was taken for the inbox's")
		}
		mustExec(t, db, `DROP TABLE waybill_inbox`)
		if err := box.Migrate(t.Context()); err != nil {
			t.Errorf("with the obstacle gone: %v", err)
		}
	})
}
