package dispatchtest_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/dispatchtest"
	"waybill.dev/dispatch/inbox"
	"waybill.dev/dispatch/outbox"
)

func openSQLite(t *testing.T, name, schema string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), name)+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if _, err := db.ExecContext(t.Context(), schema); err != nil {
		t.Fatal(err)
	}
	return db
}

// An outbox sends what was committed, and an inbox handles once what comes twice.
func TestOutboxAndInbox(t *testing.T) {
	ctx := t.Context()
	bench := dispatchtest.New(t, App)
	login, mailer := bench.Open(Login), bench.Open(Mailer)

	users := openSQLite(t, "login.db", `CREATE TABLE users (id text)`)
	out, err := outbox.New(login, users, outbox.Config{Dialect: outbox.SQLite, MinBackoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	mails := openSQLite(t, "mailer.db", `CREATE TABLE mails (addressee text)`)
	in, err := inbox.New(mails, inbox.Config{Dialect: inbox.SQLite})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(out.Migrate(ctx), in.Migrate(ctx)); err != nil {
		t.Fatal(err)
	}
	dispatch.Handle(mailer, SendWelcome, inbox.Once(in, func(ctx context.Context, tx *sql.Tx, w Welcome) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO mails VALUES ($1)`, w.To)
		return err
	}))
	signUp := func(id string, commit bool) {
		t.Helper()
		tx, err := users.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(ctx, `INSERT INTO users VALUES ($1)`, id); err != nil {
			t.Fatal(err)
		}
		if _, err := dispatch.Send(ctx, out.In(tx), SendWelcome, Welcome{To: id}); err != nil {
			t.Fatal(err)
		}
		if commit {
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
		}
	}
	signUp("ann", true)
	signUp("mallory", false)
	if sent := dispatchtest.Sent(bench, SendWelcome); len(sent) != 0 {
		t.Errorf("%v were sent before the flush", sent)
	}
	// The task is kept and the answer lost, so the outbox sends it again; it is delivered, the answer lost, and then delivered twice.
	bench.FailSend(SendWelcome, 1, dispatch.ErrAmbiguous)
	bench.LoseAnswer(SendWelcome, 1)
	bench.Duplicate(SendWelcome, 1)
	if err := out.Flush(ctx); !errors.Is(err, dispatch.ErrAmbiguous) {
		t.Errorf("the first flush: %v", err)
	}
	for again := true; again; { // its pause is a few milliseconds, by the database's clock
		if err := out.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		stats, err := out.Stats(ctx)
		if err != nil {
			t.Fatal(err)
		}
		again = stats.Waiting > 0
	}
	bench.Advance(time.Minute)

	var n int
	if err := mails.QueryRowContext(ctx, `SELECT count(*) FROM mails WHERE addressee = 'ann'`).Scan(&n); err != nil || n != 1 {
		t.Errorf("ann has %d mails, want 1; %v", n, err)
	}
	diff(t, "sent", dispatchtest.Sent(bench, SendWelcome), []Welcome{{To: "ann"}})
	diff(t, "outcomes", outcomes(bench, SendWelcome), []string{"1: 0 to be tried again", "2: 204 done", "2: 204 done"})
}
