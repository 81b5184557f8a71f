package inbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/inbox"
)

func TestAMessageIsHandledOncePerRoute(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB, dialect inbox.Dialect) {
		handle := inbox.Once(newInbox(t, db, inbox.Config{Dialect: dialect}), effect)
		for _, m := range []dispatch.Message{{ID: "1", Route: "charge"}, {ID: "1", Route: "charge"}, {ID: "1", Route: "refund"}, {ID: "2", Route: "charge"}} {
			if err := handle(dispatch.ContextWithMessage(t.Context(), m), payment{}); err != nil {
				t.Errorf("%s of %s: %v", m.ID, m.Route, err)
			}
		}
		wantEffects(t, db, 3)
	})
}

// Duplicates at the same moment: all but one must wait for the one that runs, and then be done without running.
func TestDuplicatesAtTheSameMomentRunOnce(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB, dialect inbox.Dialect) {
		box := newInbox(t, db, inbox.Config{Dialect: dialect})
		const messages, copies = 20, 6
		var runs atomic.Int32
		handle := inbox.Once(box, func(ctx context.Context, tx *sql.Tx, p payment) error {
			runs.Add(1)
			return effect(ctx, tx, p)
		})
		var all sync.WaitGroup
		start := make(chan struct{})
		for i := range messages {
			for range copies {
				all.Go(func() {
					<-start
					if err := handle(message(t.Context(), fmt.Sprint(i)), payment{}); err != nil {
						t.Errorf("message %d: %v", i, err)
					}
				})
			}
		}
		close(start)
		all.Wait()
		wantEffects(t, db, messages)
		if got := runs.Load(); got != messages {
			t.Errorf("handlers ran %d times, want %d", got, messages)
		}
	})
}

// A duplicate that came while the first runs answers only after the first has ended.
func TestADuplicateWaitsForTheOneThatRuns(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB, dialect inbox.Dialect) {
		for _, test := range []struct {
			name    string
			outcome error
			runs    int32
		}{{"and is done when it commits", nil, 1}, {"and runs when it rolls back", errors.New("the database of stock is full"), 2}} {
			t.Run(test.name, func(t *testing.T) {
				box := newInbox(t, db, inbox.Config{Dialect: dialect})
				running, end := make(chan struct{}), make(chan struct{})
				var runs atomic.Int32
				handle := inbox.Once(box, func(ctx context.Context, tx *sql.Tx, p payment) error {
					if err := effect(ctx, tx, p); err != nil {
						return err
					}
					if runs.Add(1) > 1 {
						return nil
					}
					close(running)
					<-end
					return test.outcome
				})
				id := t.Name()
				first, second := make(chan error, 1), make(chan error, 1)
				go func() { first <- handle(message(t.Context(), id), payment{}) }()
				<-running
				go func() { second <- handle(message(t.Context(), id), payment{}) }()
				select {
				case err := <-second:
					t.Fatalf("the duplicate did not wait; it returned %v", err)
				case <-time.After(50 * time.Millisecond): // it can only be shown that it has not answered yet
				}
				close(end)
				if err := <-first; !errors.Is(err, test.outcome) {
					t.Errorf("the first returned %v, want %v", err, test.outcome)
				}
				if err := <-second; err != nil {
					t.Errorf("the duplicate returned %v", err)
				}
				if got := runs.Load(); got != test.runs {
					t.Errorf("the handler ran %d times, want %d", got, test.runs)
				}
				if got := count(t, db, `SELECT count(*) FROM effects WHERE message_id = $1`, id); got != 1 {
					t.Errorf("there are %d effects, want 1", got)
				}
			})
		}
	})
}

func TestWhatFailsRollsBackAndRunsAgain(t *testing.T) {
	broken := errors.New("no such customer")
	for name, fail := range map[string]func(ctx context.Context, tx *sql.Tx) error{
		"an error":          func(context.Context, *sql.Tx) error { return broken },
		"a permanent error": func(context.Context, *sql.Tx) error { return dispatch.Permanent(broken) },
		"a panic":           func(context.Context, *sql.Tx) error { panic(broken) },
		"a failed statement": func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `SELECT nonsense`)
			return err
		},
		"its own rollback": func(_ context.Context, tx *sql.Tx) error { return tx.Rollback() },
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, db *sql.DB, dialect inbox.Dialect) {
				attempt := 0
				handle := inbox.Once(newInbox(t, db, inbox.Config{Dialect: dialect}), func(ctx context.Context, tx *sql.Tx, p payment) error {
					if err := effect(ctx, tx, p); err != nil {
						return err
					}
					if attempt++; attempt == 1 {
						return fail(ctx, tx)
					}
					return nil
				})
				if err := recovered(func() error { return handle(message(t.Context(), "1"), payment{}) }); err == nil {
					t.Error("the first attempt failed and returned nil")
				}
				wantEffects(t, db, 0)
				if got := count(t, db, `SELECT count(*) FROM waybill_inbox`); got != 0 {
					t.Errorf("the message is remembered although its handler failed")
				}
				if err := handle(message(t.Context(), "1"), payment{}); err != nil {
					t.Errorf("the second attempt: %v", err)
				}
				wantEffects(t, db, 1)
			})
		})
	}
}

func recovered(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = p.(error)
		}
	}()
	return f()
}

func TestTheHandlersErrorKeepsItsMeaning(t *testing.T) {
	want := dispatch.Permanent(errors.New("no such address"))
	handle := inbox.Once(newInbox(t, openSQLite(t), inbox.Config{Dialect: inbox.SQLite}), func(context.Context, *sql.Tx, payment) error { return want })
	if err := handle(message(t.Context(), "1"), payment{}); err != want { //nolint:errorlint // it must be this very error
		t.Errorf("got %v, want the handler's own error", err)
	}
}

// The route's deadline ends the handler's context: what is not committed by then is rolled back.
func TestTheDeadlineRollsBack(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB, dialect inbox.Dialect) {
		box := newInbox(t, db, inbox.Config{Dialect: dialect})
		ctx, cancel := context.WithCancel(t.Context())
		err := inbox.Once(box, func(ctx context.Context, tx *sql.Tx, p payment) error {
			err := effect(ctx, tx, p)
			cancel()
			return err
		})(message(ctx, "1"), payment{})
		if !errors.Is(err, context.Canceled) && !errors.Is(err, sql.ErrTxDone) {
			t.Errorf("got %v, want the end of the context", err)
		}
		wantEffects(t, db, 0)
	})
}

func TestADuplicateWaitsNoLongerThanItsDeadline(t *testing.T) {
	db := postgres.DB(t)
	box := newInbox(t, db, inbox.Config{Dialect: inbox.PostgreSQL})
	running, end := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	go func() {
		first <- inbox.Once(box, func(context.Context, *sql.Tx, payment) error { close(running); <-end; return nil })(message(t.Context(), "1"), payment{})
	}()
	<-running
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := inbox.Once(box, effect)(message(ctx, "1"), payment{}); err == nil {
		t.Error("the duplicate was answered as done while the first still ran")
	}
	close(end)
	if err := <-first; err != nil {
		t.Error(err)
	}
}

// A process that dies takes its connection with it, and the database rolls back.
func TestTheEndOfTheProcessRollsBack(t *testing.T) {
	db := postgres.DB(t)
	box := newInbox(t, db, inbox.Config{Dialect: inbox.PostgreSQL})
	err := inbox.Once(box, func(ctx context.Context, tx *sql.Tx, p payment) error {
		var pid int
		if err := tx.QueryRowContext(ctx, `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
			return err
		}
		if err := effect(ctx, tx, p); err != nil {
			return err
		}
		mustExec(t, db, `SELECT pg_terminate_backend($1)`, pid)
		return nil
	})(message(t.Context(), "1"), payment{})
	if err == nil || !strings.Contains(err.Error(), "was handled but not committed, it will be delivered again") {
		t.Errorf("got %v, want a failed commit", err)
	}
	wantEffects(t, db, 0)
	if err := inbox.Once(box, effect)(message(t.Context(), "1"), payment{}); err != nil {
		t.Errorf("the next delivery: %v", err)
	}
	wantEffects(t, db, 1)
}

func TestStricterIsolation(t *testing.T) {
	db := postgres.DB(t)
	box := newInbox(t, db, inbox.Config{Dialect: inbox.PostgreSQL, TxOptions: &sql.TxOptions{Isolation: sql.LevelSerializable}})
	handle := inbox.Once(box, effect)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for handle(message(t.Context(), "1"), payment{}) != nil { // a serialization failure is delivered again
			}
		})
	}
	all.Wait()
	wantEffects(t, db, 1)
}

func TestOutsideAHandlerThereIsNoMessage(t *testing.T) {
	err := inbox.Once(newInbox(t, openSQLite(t), inbox.Config{Dialect: inbox.SQLite}), effect)(t.Context(), payment{})
	if err == nil || !strings.Contains(err.Error(), "pass what Once returns to dispatch.Handle") {
		t.Errorf("got %v", err)
	}
}

func TestNewReportsEveryProblem(t *testing.T) {
	_, err := inbox.New(nil, inbox.Config{Prefix: "Way bill", Retention: time.Second, CleanInterval: -1})
	for _, want := range []string{"the database is nil", "Dialect is not set: use inbox.PostgreSQL or inbox.SQLite", `Prefix is "Way bill"`, "Retention is 1s", "CleanInterval is -1ns"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q: %v", want, err)
		}
	}
}
