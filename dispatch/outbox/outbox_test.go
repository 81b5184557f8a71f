package outbox

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"waybill.dev/dispatch"
)

func TestWhatIsCommittedArrivesAsItWasSent(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		b := w.box(Config{})
		var receipts []dispatch.Receipt
		w.inTx(func(tx *sql.Tx) {
			receipt, err := dispatch.Send(t.Context(), b.In(tx), sendWelcome, welcome{To: "ann \u00e9 \U0001F600"}, dispatch.Key("welcome:ann"), dispatch.After(10*time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			receipts = append(receipts, receipt, w.send(b, tx, "ann", "signed up"))
		})
		if r := receipts[0]; r.Via != dispatch.ViaCloudTasks || r.Name != "" || r.Duplicate || time.Until(r.ScheduledFor) < 9*time.Minute {
			t.Errorf("the receipt is %+v", r)
		}
		w.want() // nothing before the relay
		w.flush(b)
		w.left(0)
		w.mu.Lock()
		defer w.mu.Unlock()
		byID := map[string]dispatch.Envelope{}
		for _, e := range w.arrived {
			byID[e.ID] = e
		}
		task, event := byID[receipts[0].ID], byID[receipts[1].ID]
		if !task.ScheduledFor.Equal(receipts[0].ScheduledFor) || task.Route != "send-welcome" || string(task.Body) != `{"To":"ann é 😀"}` || task.OrderingKey != "" {
			t.Errorf("the task arrived as %+v", task)
		}
		if event.OrderingKey != "ann" || event.Version != dispatch.EnvelopeVersion || !event.ScheduledFor.IsZero() {
			t.Errorf("the event arrived as %+v", event)
		}
		for _, name := range []string{"ce-id", "ce-source", "ce-type", "ce-time", "content-type", "traceparent"} {
			if task.Attributes[name] == "" || event.Attributes[name] == "" {
				t.Errorf("the attribute %s was lost", name)
			}
		}
	})
}

func TestARollbackLeavesNothing(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		b := w.box(Config{})
		tx := w.begin()
		w.send(b, tx, "ann", "signed up")
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		w.flush(b)
		w.want()
		w.left(0)
	})
}

// Sequences are not committed in their order. A relay that remembered how far it had come would lose the first.
func TestATransactionThatBeganFirstAndCommitsLast(t *testing.T) {
	w := newWorld(t, postgres.DB(t), PostgreSQL) // SQLite has one writer at a time
	b := w.box(Config{})
	first, second := w.begin(), w.begin()
	early := w.send(b, first, "ann", "early").ID
	late := w.send(b, second, "ben", "late").ID
	if err := second.Commit(); err != nil {
		t.Fatal(err)
	}
	w.flush(b)
	w.want(late)
	if err := first.Commit(); err != nil {
		t.Fatal(err)
	}
	w.flush(b)
	w.want(late, early)
}

func TestSendChecksBeforeItKeeps(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		b := w.box(Config{})
		tx := w.begin()
		defer tx.Rollback()
		for _, test := range []struct {
			name string
			err  error
			want error
			text string
		}{
			{"a task that is too large", send(t, b.In(tx), sendWelcome, welcome{To: strings.Repeat("x", 2<<20)}), dispatch.ErrTooLarge, ""},
			{"an event that is too large", send(t, b.In(tx), noticed, signedUp{What: strings.Repeat("x", 10<<20)}), dispatch.ErrTooLarge, ""},
			{"a delayed event", send(t, b.In(tx), noticed, signedUp{}, dispatch.After(time.Hour)), dispatch.ErrOption, ""},
			{"an empty ordering key", send(t, b.In(tx), userChanged, signedUp{}), nil, "this message's key is empty"},
			{"no transaction", send(t, b.In(nil), noticed, signedUp{}), nil, "there is no transaction"},
		} {
			if test.err == nil || test.want != nil && !errors.Is(test.err, test.want) || !strings.Contains(test.err.Error(), test.text) {
				t.Errorf("%s: %v", test.name, test.err)
			}
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		w.left(0)
	})
}

func send[M any](t *testing.T, s dispatch.Sender, to dispatch.Route[M], m M, options ...dispatch.SendOption) error {
	_, err := dispatch.Send(t.Context(), s, to, m, options...)
	return err
}

func TestSendInATransactionThatHasEnded(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		b := w.box(Config{})
		tx := w.begin()
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := send(t, b.In(tx), noticed, signedUp{}); !errors.Is(err, sql.ErrTxDone) {
			t.Errorf("got %v, want sql.ErrTxDone", err)
		}
	})
}

func TestMigrateAtOnceAndAgain(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				if err := w.box(Config{Prefix: fmt.Sprintf("app%d_", i%2)}).Migrate(t.Context()); err != nil {
					t.Errorf("migration %d: %v", i, err)
				}
			})
		}
		all.Wait()
		b := w.box(Config{Prefix: "app1_"}) // the prefix is in every statement
		id := w.commit(b, "ann", "signed up")
		w.flush(b)
		w.want(id)
		if s, err := b.Stats(t.Context()); s != (Stats{}) || err != nil {
			t.Errorf("stats: %+v, %v", s, err)
		}
	})
}

func TestNewReportsEveryProblem(t *testing.T) {
	_, err := New(nil, nil, Config{Prefix: "1x", PollInterval: -1, BatchSize: -1, Parallel: -1, Lease: time.Millisecond, MinBackoff: time.Hour, MaxBackoff: time.Second, MaxAttempts: -1, ReportInterval: -1})
	for _, want := range []string{"the Dispatcher is nil", "the database is nil", "Dialect is not set: use outbox.PostgreSQL", `Prefix is "1x"`, "PollInterval", "BatchSize", "Parallel", "Lease", "MinBackoff 1h", "MaxAttempts", "ReportInterval"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q: %v", want, err)
		}
	}
}

func TestOneStatementForEachMessage(t *testing.T) {
	db, recorder := postgres.RecordedDB(t)
	w := newWorld(t, db, PostgreSQL)
	b := w.box(Config{})
	recorder.Take()
	w.inTx(func(tx *sql.Tx) {
		w.send(b, tx, "ann", "one")
		w.send(b, tx, "ann", "two")
	})
	var verbs []string
	for _, s := range recorder.Take() {
		verb, _, _ := strings.Cut(s, " (")
		verbs = append(verbs, verb)
	}
	if diff := cmp.Diff([]string{"BEGIN", "INSERT INTO waybill_outbox", "INSERT INTO waybill_outbox", "COMMIT"}, verbs); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
