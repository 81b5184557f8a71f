package crashtest

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/deploy"
	"waybill.dev/dispatch/inbox"
	"waybill.dev/dispatch/outbox"
	"waybill.dev/emulator"
)

// roleVariable makes the test binary one of the three processes.
const (
	roleVariable   = "WAYBILL_CRASHTEST_ROLE"
	configVariable = "WAYBILL_CRASHTEST_CONFIG"
)

// config is what a process is told, as JSON.
type config struct {
	Environment *dispatch.Environment // as this process sees it
	Listen      string                // where it listens
	Data, Keys  string                // the emulator's files
	Database    database
	Orders      int // how many of each key the sender commits
}

// database is PostgreSQL if it has a DSN, and a file of SQLite otherwise.
type database struct{ DSN, File string }

func (d database) open() (*sql.DB, error) {
	if d.DSN != "" {
		return sql.Open("pgx", d.DSN)
	}
	return sql.Open("sqlite", "file:"+d.File+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_txlock=immediate")
}

// dialect is the same number in both packages.
func (d database) dialect() inbox.Dialect {
	if d.DSN != "" {
		return inbox.PostgreSQL
	}
	return inbox.SQLite
}

// play is a process's life: until it is killed, or its parent closes its standard input.
func play(ctx context.Context, role string) error {
	var c config
	if err := json.Unmarshal([]byte(os.Getenv(configVariable)), &c); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the parent
		stop()
	}()
	switch role {
	case "emulator":
		return emulate(ctx, c)
	case "sender":
		return send(ctx, c)
	case "receiver":
		return receive(ctx, c)
	default:
		return fmt.Errorf("no such role: %s", role)
	}
}

// What a process prints, a line each.
const (
	saidReady   = "ready"
	saidHandled = "handled" // the receiver, for each delivery that it answers as done
)

func say(word string) { fmt.Fprintln(os.Stdout, word) }

var quiet = slog.New(slog.DiscardHandler)

func emulate(ctx context.Context, c config) error {
	e, err := emulator.Start(ctx, emulator.Config{Listen: c.Listen, Data: c.Data, Keys: c.Keys, Logger: quiet})
	if err != nil {
		return err
	}
	defer e.Close()
	plan, err := deploy.NewPlan(app, c.Environment)
	if err != nil {
		return err
	}
	if _, err := deploy.Create(ctx, plan, deploy.Options{}); err != nil && ctx.Err() == nil {
		return err
	}
	say(saidReady)
	<-ctx.Done()
	return e.Close()
}

// keys is how many ordering keys there are, each with a goroutine of the sender.
const keys = 6

func send(ctx context.Context, c config) error {
	db, err := c.Database.open()
	if err != nil {
		return err
	}
	defer db.Close()
	d, err := dispatch.Open(ctx, counter, dispatch.Config{Environment: c.Environment, Logger: quiet})
	if err != nil {
		return err
	}
	defer d.Close()
	box, err := outbox.New(d, db, outbox.Config{
		Dialect: c.Database.dialect(), BatchSize: 20, PollInterval: 50 * time.Millisecond, Lease: 2 * time.Second,
		MinBackoff: 50 * time.Millisecond, MaxBackoff: 500 * time.Millisecond, Logger: quiet,
	})
	if err != nil {
		return err
	}
	if err := box.Migrate(ctx); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS orders (key text, n integer, PRIMARY KEY (key, n))`); err != nil {
		return err
	}
	d.Background("outbox relay", box.Run)
	say(saidReady)
	errs := make([]error, keys)
	var all sync.WaitGroup
	for k := range keys {
		all.Go(func() { errs[k] = place(ctx, db, box, fmt.Sprint("key", k), c.Orders) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil && ctx.Err() == nil {
		return err
	}
	<-ctx.Done()
	return d.Close()
}

// place commits a key's next orders, one after the other. One in eight is rolled back, and its number used again.
func place(ctx context.Context, db *sql.DB, box *outbox.Outbox, key string, orders int) error {
	var last int
	if err := db.QueryRowContext(ctx, `SELECT coalesce(max(n), 0) FROM orders WHERE key = $1`, key).Scan(&last); err != nil {
		return err
	}
	for range orders {
		o := order{Key: key, N: last + 1}
		if rand.N(8) == 0 {
			o.N = -o.N // what is rolled back can be told from what is not
		}
		if err := transact(ctx, db, box, o); err != nil {
			return err
		}
		last = max(last, o.N)
		select {
		case <-time.After(rand.N(30 * time.Millisecond)): // orders come at random
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

func transact(ctx context.Context, db *sql.DB, box *outbox.Outbox, o order) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, `INSERT INTO orders VALUES ($1, $2)`, o.Key, o.N); err != nil {
		return err
	}
	if _, err := dispatch.Send(ctx, box.In(tx), pack, o); err != nil {
		return err
	}
	if _, err := dispatch.Send(ctx, box.In(tx), placed, o); err != nil {
		return err
	}
	if o.N < 0 {
		return tx.Rollback()
	}
	return tx.Commit()
}

func receive(ctx context.Context, c config) error {
	db, err := c.Database.open()
	if err != nil {
		return err
	}
	defer db.Close()
	box, err := inbox.New(db, inbox.Config{Dialect: c.Database.dialect(), Logger: quiet})
	if err != nil {
		return err
	}
	if err := box.Migrate(ctx); err != nil {
		return err
	}
	id := `integer PRIMARY KEY AUTOINCREMENT`
	if c.Database.DSN != "" {
		id = `bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY`
	}
	if _, err := db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS effects (id `+id+`, route text, key text, n integer)`); err != nil {
		return err
	}
	d, err := dispatch.Open(ctx, warehouse, dispatch.Config{Environment: c.Environment, Logger: quiet, Middleware: []dispatch.Middleware{announce}})
	if err != nil {
		return err
	}
	defer d.Close()
	effect := func(ctx context.Context, tx *sql.Tx, o order) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO effects (route, key, n) VALUES ($1, $2, $3)`, dispatch.MessageFrom(ctx).Route, o.Key, o.N); err != nil {
			return err
		}
		if rand.N(20) == 0 {
			return errors.New("one in twenty fails after its effect")
		}
		return nil
	}
	dispatch.Handle(d, pack, inbox.Once(box, effect))
	dispatch.Handle(d, book, inbox.Once(box, effect))
	served := make(chan error, 1)
	go func() { served <- d.ListenAndServe(ctx) }()
	say(saidReady)
	return <-served
}

// announce tells the test of each delivery that is answered as done.
func announce(next dispatch.HandlerFunc) dispatch.HandlerFunc {
	return func(ctx context.Context) error {
		err := next(ctx)
		if err == nil {
			say(saidHandled)
		}
		return err
	}
}
