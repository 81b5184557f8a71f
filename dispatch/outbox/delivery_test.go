package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"waybill.dev/auth"
	"waybill.dev/dispatch"
	"waybill.dev/dispatch/inbox"
	"waybill.dev/dispatch/outbox"
)

const patience = 30 * time.Second

func openSQLite(t *testing.T, name string) *sql.DB {
	t.Helper()
	db := must(sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), name)+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)&_txlock=immediate"))
	t.Cleanup(func() { db.Close() })
	return db
}

func exec(t *testing.T, db *sql.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// Sender with an outbox, receiver with an inbox, the emulator between them. Half-way, all leases are broken again and again, as by relays that crash
// after their sends: what is sent twice must have one effect.
func TestEachCommitHasOneEffect(t *testing.T) {
	const users = 60
	local := startLocally(t.Context())
	defer local.Close()

	mail := openSQLite(t, "mailer.db")
	exec(t, mail, `CREATE TABLE effects (route text, user text)`)
	in := must(inbox.New(mail, inbox.Config{Dialect: inbox.SQLite}))
	if err := in.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	mailer := local.open(t.Context(), Mailer)
	dispatch.Handle(mailer, SendWelcome, inbox.Once(in, func(ctx context.Context, tx *sql.Tx, w Welcome) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO effects VALUES ('welcome', $1)`, w.To)
		return err
	}))
	dispatch.Handle(mailer, CountUser, inbox.Once(in, func(ctx context.Context, tx *sql.Tx, e UserSignedUp) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO effects VALUES ('count', $1)`, e.UserID)
		return err
	}))
	local.serve(t.Context(), mailer)

	db := openSQLite(t, "login.db")
	exec(t, db, `CREATE TABLE users (id text)`)
	login := local.open(t.Context(), Login)
	config := outbox.Config{Dialect: outbox.SQLite, BatchSize: 10, PollInterval: 5 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)}
	box := must(outbox.New(login, db, config))
	if err := box.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		login.Background("outbox relay", must(outbox.New(login, db, config)).Run)
	}
	ctx, stop := context.WithCancel(t.Context())
	var breaking sync.WaitGroup
	breaking.Go(func() {
		for ctx.Err() == nil {
			exec(t, db, `UPDATE waybill_outbox SET due_at = 0, lease = 'of a relay that crashed' WHERE seq % 3 = 0`)
		}
	})
	for i := range users {
		if err := signUp(t.Context(), db, box, fmt.Sprint("user ", i)); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	breaking.Wait()
	if err := signUp(t.Context(), db, box, "mallory"); err == nil {
		t.Fatal("mallory was let in")
	}
	var got int
	for deadline := time.Now().Add(patience); got < 2*users && time.Now().Before(deadline); {
		if err := mail.QueryRowContext(t.Context(), `SELECT count(*) FROM effects`).Scan(&got); err != nil {
			t.Fatal(err)
		}
	}
	if err := login.Close(); err != nil { // the relays have ended: whatever they sent twice was sent
		t.Error(err)
	}
	var effects, distinct int
	if err := mail.QueryRowContext(t.Context(), `SELECT count(*), count(DISTINCT route || user) FROM effects`).Scan(&effects, &distinct); err != nil {
		t.Fatal(err)
	}
	if effects != 2*users || distinct != 2*users {
		t.Errorf("%d effects, %d of them different; want %d", effects, distinct, 2*users)
	}
	if s, err := box.Stats(t.Context()); s.Waiting != 0 || s.Parked != 0 || err != nil {
		t.Errorf("the outbox has %+v, %v", s, err)
	}
}

func TestTheEndpointFlushesForItsScheduler(t *testing.T) {
	local := startLocally(t.Context())
	defer local.Close()
	db := openSQLite(t, "login.db")
	exec(t, db, `CREATE TABLE users (id text)`)
	login := local.open(t.Context(), Login)
	box := must(outbox.New(login, db, outbox.Config{Dialect: outbox.SQLite, Logger: slog.New(slog.DiscardHandler)}))
	if err := box.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	const scheduler = "shop-scheduler@demo.iam.gserviceaccount.com"
	login.Mount("/_waybill/outbox", box.Handler(must(login.Verifier(scheduler))))
	local.serve(t.Context(), login)
	audience := local.env.Service(App, "login").Audience
	call := func(method, account string) (status int, header http.Header) {
		t.Helper()
		request := must(http.NewRequestWithContext(t.Context(), method, audience+"/_waybill/outbox", strings.NewReader("{}")))
		if account != "" {
			minter := must(auth.NewMinter(auth.MinterConfig{CredentialsJSON: must(local.emulator.KeyFile(account))}))
			defer minter.Close()
			request.Header.Set("Authorization", "Bearer "+must(minter.Token(t.Context(), audience)))
		}
		response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		_, _ = io.Copy(io.Discard, response.Body)
		return response.StatusCode, response.Header
	}

	if err := signUp(t.Context(), db, box, "ann"); err != nil {
		t.Fatal(err)
	}
	for account, want := range map[string]int{"": http.StatusUnauthorized, "login@demo.iam.gserviceaccount.com": http.StatusForbidden} {
		if status, _ := call(http.MethodPost, account); status != want {
			t.Errorf("called by %q: %d, want %d", account, status, want)
		}
	}
	if status, _ := call(http.MethodGet, scheduler); status != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", status)
	}
	if s, err := box.Stats(t.Context()); s.Waiting != 2 || err != nil {
		t.Errorf("strangers had it flush: %+v, %v", s, err)
	}
	if status, _ := call(http.MethodPost, scheduler); status != http.StatusNoContent {
		t.Errorf("called by the scheduler: %d", status)
	}
	if s, err := box.Stats(t.Context()); s != (outbox.Stats{}) || err != nil {
		t.Errorf("something is left: %+v, %v", s, err)
	}
	exec(t, db, `DROP TABLE waybill_outbox`)
	if status, header := call(http.MethodPost, scheduler); status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
		t.Errorf("without a table: %d %v", status, header)
	}
}
