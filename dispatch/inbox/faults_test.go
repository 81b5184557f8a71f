package inbox_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waybill.dev/dispatch/inbox"
)

// The faults of docs/guarantees.md that the inbox answers for and no other test here shows.

func TestAnInboxWithoutItsDatabaseFailsAndRunsLater(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB, dialect inbox.Dialect) {
		handle := inbox.Once(newInbox(t, db, inbox.Config{Dialect: dialect}), effect)
		mustExec(t, db, `ALTER TABLE waybill_inbox RENAME TO waybill_elsewhere`)
		err := handle(message(t.Context(), "1"), payment{})
		if err == nil || !strings.Contains(err.Error(), "it will be delivered again") {
			t.Errorf("got %v", err)
		}
		wantEffects(t, db, 0)
		mustExec(t, db, `ALTER TABLE waybill_elsewhere RENAME TO waybill_inbox`)
		if err := handle(message(t.Context(), "1"), payment{}); err != nil {
			t.Errorf("the next delivery: %v", err)
		}
		wantEffects(t, db, 1)
	})
}

func TestAFullDiskRollsBackAndRunsLater(t *testing.T) {
	db := openSQLite(t)
	db.SetMaxOpenConns(1) // the pragma below is one connection's
	box := newInbox(t, db, inbox.Config{Dialect: inbox.SQLite})
	mustExec(t, db, `CREATE TABLE letters (body text)`)
	mustExec(t, db, `PRAGMA max_page_count = 15`)
	handle := inbox.Once(box, func(ctx context.Context, tx *sql.Tx, p payment) error {
		if err := effect(ctx, tx, p); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO letters VALUES ($1)`, strings.Repeat("x", 100_000))
		return err
	})
	if err := handle(message(t.Context(), "1"), payment{}); err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("on a full disk: %v", err)
	}
	wantEffects(t, db, 0)
	mustExec(t, db, `PRAGMA max_page_count = 1000`)
	if err := handle(message(t.Context(), "1"), payment{}); err != nil {
		t.Errorf("with room again: %v", err)
	}
	wantEffects(t, db, 1)
}

// The commit happens and its answer is lost: the handler has failed for all that anybody knows, and the next delivery finds the row.
func TestACommitWhoseAnswerIsLost(t *testing.T) {
	inner := openSQLite(t)
	file := filepath.Join(t.TempDir(), "test.db")
	lost := sql.OpenDB(forgetful{inner.Driver(), "file:" + file + "?_pragma=busy_timeout(10000)"})
	t.Cleanup(func() { lost.Close() })
	db := openSQLiteFile(t, file)
	newInbox(t, db, inbox.Config{Dialect: inbox.SQLite})
	box, err := inbox.New(lost, inbox.Config{Dialect: inbox.SQLite})
	if err != nil {
		t.Fatal(err)
	}
	handle := inbox.Once(box, effect)
	if err := handle(message(t.Context(), "1"), payment{}); !errors.Is(err, errAnswerLost) || !strings.Contains(err.Error(), "it will be delivered again") {
		t.Errorf("got %v", err)
	}
	wantEffects(t, db, 1)
	if err := handle(message(t.Context(), "1"), payment{}); err != nil {
		t.Errorf("the next delivery: %v", err)
	}
	wantEffects(t, db, 1)
}

var errAnswerLost = errors.New("connection reset by peer")

// forgetful is a driver that loses the answer of each commit.
type forgetful struct {
	inner driver.Driver
	dsn   string
}

func (f forgetful) Connect(context.Context) (driver.Conn, error) {
	conn, err := f.inner.Open(f.dsn)
	return forgetfulConn{conn}, err
}

type forgetfulConn struct{ driver.Conn }

func (c forgetfulConn) BeginTx(ctx context.Context, options driver.TxOptions) (driver.Tx, error) {
	tx, err := c.Conn.(driver.ConnBeginTx).BeginTx(ctx, options)
	return forgetfulTx{tx}, err
}

type forgetfulTx struct{ driver.Tx }

func (t forgetfulTx) Commit() error {
	if err := t.Tx.Commit(); err != nil {
		return err
	}
	return errAnswerLost
}

func (f forgetful) Driver() driver.Driver { return f.inner }

// What is not promised: once a message is forgotten, a duplicate runs. A clock that jumps further than the retention has the same effect.
func TestADuplicateAfterTheRetentionRunsAgain(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB, dialect inbox.Dialect) {
		box := newInbox(t, db, inbox.Config{Dialect: dialect})
		handle := inbox.Once(box, effect)
		for _, want := range []int{1, 2} {
			if err := handle(message(t.Context(), "1"), payment{}); err != nil {
				t.Fatal(err)
			}
			wantEffects(t, db, want)
			age(t, db, dialect, 33*24*time.Hour)
			if n, err := box.Clean(t.Context()); n != 1 || err != nil {
				t.Fatalf("Clean forgot %d messages: %v", n, err)
			}
		}
	})
}

// A clock that is set back keeps messages longer, and forgets none.
func TestAClockThatIsSetBackForgetsNothing(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB, dialect inbox.Dialect) {
		box := newInbox(t, db, inbox.Config{Dialect: dialect})
		handle := inbox.Once(box, effect)
		if err := handle(message(t.Context(), "1"), payment{}); err != nil {
			t.Fatal(err)
		}
		age(t, db, dialect, -365*24*time.Hour)
		if n, err := box.Clean(t.Context()); n != 0 || err != nil {
			t.Errorf("Clean forgot %d messages: %v", n, err)
		}
		if err := handle(message(t.Context(), "1"), payment{}); err != nil {
			t.Fatal(err)
		}
		wantEffects(t, db, 1)
	})
}
