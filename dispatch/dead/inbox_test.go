package dead_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/dead"
	"waybill.dev/dispatch/inbox"
)

// Behind an inbox, the replay of a message whose effect was rolled back runs, and one whose effect is there does not.
func TestAnInboxAbsorbsTheReplayOfWhatIsDone(t *testing.T) {
	t.Parallel()
	s := newShop()
	w := newWorld(t, s.app)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "mailer.db")+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	box, err := inbox.New(db, inbox.Config{Dialect: inbox.SQLite})
	if err != nil {
		t.Fatal(err)
	}
	if err := box.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE welcomes (id text)"); err != nil {
		t.Fatal(err)
	}
	effects := func() (n int) {
		t.Helper()
		if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM welcomes").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	mailer, login, letters := w.open(s.mailer), w.open(s.login), w.letters(s.app)
	failures := []error{errBroken, nil, nil} // of each run, in turn
	dispatch.Handle(mailer, s.sendWelcome, inbox.Once(box, func(ctx context.Context, tx *sql.Tx, _ welcome) error {
		if _, err := tx.ExecContext(ctx, "INSERT INTO welcomes VALUES ($1)", dispatch.MessageFrom(ctx).ID); err != nil {
			return err
		}
		err := failures[0]
		failures = failures[1:]
		return err
	}))
	w.serve(s.mailer, mailer)
	answered := w.endpoints["mailer"].answered

	send(t, login, s.sendWelcome, welcome{"ann"})
	receive(t, answered, "the death")
	if n := effects(); n != 0 {
		t.Errorf("the failed run left %d effects", n)
	}
	w.buried(letters, 1)
	letter := w.peek("send-welcome--dead")
	replay(t, letters, dead.Query{})
	receive(t, answered, "the replay")
	if n := effects(); n != 1 {
		t.Errorf("the replay left %d effects", n)
	}
	// Somebody buries it once more, and it is replayed under another name.
	letter.Attributes["waybill-replay"] = "7"
	letter.MessageId, letter.PublishTime = "", nil
	w.publish("send-welcome--dead", letter)
	w.buried(letters, 1)
	if results := replay(t, letters, dead.Query{}); results[0].Number != 8 || results[0].Duplicate {
		t.Errorf("the second replay: %+v", results)
	}
	receive(t, answered, "the second replay")
	if n := effects(); n != 1 || len(failures) != 1 {
		t.Errorf("there are %d effects, and %d runs too many", n, 1-len(failures))
	}
	w.none(letters)
}
