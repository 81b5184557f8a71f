package inbox_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/inbox"
	"waybill.dev/internal/pgtest"
)

var postgres pgtest.Server

func TestMain(m *testing.M) {
	code := m.Run()
	postgres.Stop()
	if code == 0 {
		// A dependency of Google's clients starts this one when the program is loaded, and offers no way to stop it.
		if err := goleak.Find(goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start")); err != nil {
			println(err.Error())
			code = 1
		}
	}
	os.Exit(code)
}

// patience bounds a failure, not a success.
const patience = 20 * time.Second

// onEach runs a test on PostgreSQL and on SQLite.
func onEach(t *testing.T, test func(t *testing.T, db *sql.DB, dialect inbox.Dialect)) {
	t.Run("postgresql", func(t *testing.T) { test(t, postgres.DB(t), inbox.PostgreSQL) })
	t.Run("sqlite", func(t *testing.T) { test(t, openSQLite(t), inbox.SQLite) })
}

func openSQLite(t testing.TB) *sql.DB {
	t.Helper()
	return openSQLiteFile(t, filepath.Join(t.TempDir(), "test.db"))
}

func openSQLiteFile(t testing.TB, file string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// newInbox makes an inbox and a table of effects, one row for each run that was committed.
func newInbox(t testing.TB, db *sql.DB, config inbox.Config) *inbox.Inbox {
	t.Helper()
	box, err := inbox.New(db, config)
	if err != nil {
		t.Fatal(err)
	}
	if err := box.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, `CREATE TABLE IF NOT EXISTS effects (message_id text)`)
	return box
}

type payment struct{ Amount int }

// effect is a handler that leaves one row.
func effect(ctx context.Context, tx *sql.Tx, _ payment) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO effects VALUES ($1)`, dispatch.MessageFrom(ctx).ID)
	return err
}

// message is a handler's context.
func message(ctx context.Context, id string) context.Context {
	return dispatch.ContextWithMessage(ctx, dispatch.Message{ID: id, Route: "charge"})
}

func mustExec(t testing.TB, db *sql.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(context.WithoutCancel(t.Context()), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func count(t testing.TB, db *sql.DB, query string, args ...any) int {
	t.Helper()
	var n int
	if err := db.QueryRowContext(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

func wantEffects(t testing.TB, db *sql.DB, want int) {
	t.Helper()
	if got := count(t, db, `SELECT count(*) FROM effects`); got != want {
		t.Errorf("there are %d effects, want %d", got, want)
	}
}
