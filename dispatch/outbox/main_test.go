package outbox

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"waybill.dev/dispatch"
	"waybill.dev/internal/pgtest"
)

var postgres pgtest.Server

func TestMain(m *testing.M) {
	code := m.Run()
	postgres.Stop()
	if code == 0 {
		// A dependency of Google's clients starts this one when the program is loaded, and offers no way to stop it.
		if err := goleak.Find(goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// patience bounds a failure, not a success.
const patience = 20 * time.Second

type (
	welcome  struct{ To string }
	signedUp struct{ User, What string }
)

// The contracts of these tests.
var (
	app    = dispatch.NewApp("shop")
	login  = app.Service("login")
	mailer = app.Service("mailer")

	sendWelcome = dispatch.NewTask[welcome](mailer, "send-welcome", dispatch.From(login))
	userChanged = dispatch.NewEvent(login, "user-changed", dispatch.OrderBy(func(e signedUp) string { return e.User }))
	noticed     = dispatch.NewEvent[signedUp](login, "noticed")
)

// onEach runs a test on PostgreSQL and on SQLite.
func onEach(t *testing.T, test func(t *testing.T, w *world)) {
	t.Run("postgresql", func(t *testing.T) { test(t, newWorld(t, postgres.DB(t), PostgreSQL)) })
	t.Run("sqlite", func(t *testing.T) { test(t, newWorld(t, openSQLite(t), SQLite)) })
}

func openSQLite(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "test.db")+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// world is a service with a database, and a transport that the test plays.
type world struct {
	testing.TB
	db         *sql.DB
	dialect    Dialect
	dispatcher *dispatch.Dispatcher

	mu      sync.Mutex
	arrived []dispatch.Envelope                      // in their order, failures left out
	refuse  func(e dispatch.Envelope) error          // nil: everything is accepted
	reach   func(context.Context, dispatch.Envelope) // called before anything else, without the lock
}

func newWorld(t testing.TB, db *sql.DB, dialect Dialect) *world {
	t.Helper()
	w := &world{TB: t, db: db, dialect: dialect}
	var err error
	w.dispatcher, err = dispatch.Open(t.Context(), login, dispatch.Config{
		Environment: &dispatch.Environment{Project: "waybill-local", Location: "us-central1", Emulator: "127.0.0.1:9"},
		Logger:      slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.dispatcher.Close() })
	if err := w.box(Config{}).Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

// box is an outbox as one process has it; several boxes are several processes.
func (w *world) box(config Config) *Outbox {
	w.Helper()
	config.Dialect = w.dialect
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	b, err := New(w.dispatcher, w.db, config)
	if err != nil {
		w.Fatal(err)
	}
	b.forward = w.accept
	return b
}

func (w *world) accept(ctx context.Context, e dispatch.Envelope) (dispatch.Receipt, error) {
	if w.reach != nil {
		w.reach(ctx, e)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse != nil {
		if err := w.refuse(e); err != nil {
			return dispatch.Receipt{}, err
		}
	}
	w.arrived = append(w.arrived, e)
	return dispatch.Receipt{ID: e.ID}, nil
}

// refuseBy changes what the transport refuses.
func (w *world) refuseBy(f func(dispatch.Envelope) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refuse = f
}

// ids are the messages that arrived, in their order.
func (w *world) ids() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []string
	for _, e := range w.arrived {
		list = append(list, e.ID)
	}
	return list
}

// bodies are the texts of the events that arrived, in their order.
func (w *world) bodies() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []string
	for _, e := range w.arrived {
		_, what, _ := strings.Cut(string(e.Body), `"What":"`)
		list = append(list, strings.TrimSuffix(what, `"}`))
	}
	return list
}

// inTx runs f in a transaction and commits it.
func (w *world) inTx(f func(tx *sql.Tx)) {
	w.Helper()
	tx := w.begin()
	f(tx)
	if err := tx.Commit(); err != nil {
		w.Fatal(err)
	}
}

func (w *world) begin() *sql.Tx {
	w.Helper()
	tx, err := w.db.BeginTx(w.Context(), nil)
	if err != nil {
		w.Fatal(err)
	}
	return tx
}

// send sends an event in tx.
func (w *world) send(b *Outbox, tx *sql.Tx, user, what string) dispatch.Receipt {
	w.Helper()
	receipt, err := dispatch.Send(w.Context(), b.In(tx), userChanged, signedUp{user, what})
	if err != nil {
		w.Fatal(err)
	}
	return receipt
}

// commit sends an event in a transaction of its own.
func (w *world) commit(b *Outbox, user, what string) (id string) {
	w.Helper()
	w.inTx(func(tx *sql.Tx) { id = w.send(b, tx, user, what).ID })
	return id
}

func (w *world) flush(b *Outbox) {
	w.Helper()
	if err := b.Flush(w.Context()); err != nil {
		w.Fatal(err)
	}
}

// want checks what has arrived, in its order.
func (w *world) want(ids ...string) {
	w.Helper()
	if got := w.ids(); !slices.Equal(got, ids) {
		w.Fatalf("%d messages arrived: %q\nwant %d: %q", len(got), got, len(ids), ids)
	}
}

// await waits until n messages have arrived.
func (w *world) await(n int) {
	w.Helper()
	for deadline := time.Now().Add(patience); len(w.ids()) < n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("%d messages arrived within %v, want %d", len(w.ids()), patience, n)
		}
	}
}

func (w *world) exec(query string, args ...any) {
	w.Helper()
	if _, err := w.db.ExecContext(context.WithoutCancel(w.Context()), query, args...); err != nil {
		w.Fatalf("%s: %v", query, err)
	}
}

// hasten lets everything that pauses or is leased be due, as if the time had passed.
func (w *world) hasten() {
	w.Helper()
	if w.dialect == SQLite {
		w.exec(`UPDATE waybill_outbox SET due_at = 0`)
		return
	}
	w.exec(`UPDATE waybill_outbox SET due_at = to_timestamp(0)`)
}

func (w *world) stats() Stats {
	w.Helper()
	s, err := w.box(Config{}).Stats(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return s
}

// left checks how many messages the outbox still has.
func (w *world) left(want int64) {
	w.Helper()
	if s := w.stats(); s.Waiting+s.Parked != want {
		w.Errorf("the outbox has %+v, want %d messages", s, want)
	}
}
