package inbox

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/internal/database"
)

// Dialect is the SQL that the database understands.
type Dialect = database.Dialect

// The dialects.
const (
	PostgreSQL = database.PostgreSQL
	SQLite     = database.SQLite
)

// Migrations are the statements that [Inbox.Migrate] runs, as files: migrations/postgresql and migrations/sqlite. Who has a tool of
// their own for migrations takes them from here. The names of the tables begin with waybill_.
//
//go:embed migrations
var Migrations embed.FS

// Config configures an [Inbox]. Dialect is required.
type Config struct {
	// Dialect is PostgreSQL or SQLite. Required.
	Dialect Dialect
	// Prefix begins the tables' names: PREFIXinbox and PREFIXmigrations. At most 30 lower-case letters, digits and
	// underscores. Default: waybill_.
	Prefix string
	// Retention is how long a message is remembered after it was handled. Default: 32 days, longer than any duplicate can
	// take: Cloud Tasks keeps a task for 31 days, Pub/Sub a message for 31 days at most, 7 as Waybill creates subscriptions.
	// A shorter one saves space and trusts that the receiver is never down for that long between a commit and its answer.
	Retention time.Duration
	// CleanInterval is how often Run forgets what is older. Default: 1 hour.
	CleanInterval time.Duration
	// TxOptions are those of the transactions. Default: the database's own. READ COMMITTED and anything stricter will do.
	TxOptions *sql.TxOptions
	// Logger reports what Run does. Default: slog.Default().
	Logger *slog.Logger
}

const (
	defaultRetention     = 32 * 24 * time.Hour
	defaultCleanInterval = time.Hour
)

func (c Config) withDefaults() Config {
	if c.Prefix == "" {
		c.Prefix = database.DefaultPrefix
	}
	if c.Retention == 0 {
		c.Retention = defaultRetention
	}
	if c.CleanInterval == 0 {
		c.CleanInterval = defaultCleanInterval
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func (c Config) validate() error {
	problems := database.Check(c.Dialect, c.Prefix, "inbox")
	if c.Retention < time.Minute {
		problems = append(problems, fmt.Errorf("Retention is %v: use 1 minute or more, or 0 for 32 days", c.Retention))
	}
	if c.CleanInterval < 0 {
		problems = append(problems, fmt.Errorf("CleanInterval is %v: use a positive time, or 0 for 1 hour", c.CleanInterval))
	}
	return errors.Join(problems...)
}

// Inbox remembers which messages were handled. Make it with [New], and its handlers with [Once].
type Inbox struct {
	db     *sql.DB
	config Config
	sql    statements
}

// New returns an inbox in db, or all that is wrong with its configuration. It does not touch the database; see [Inbox.Migrate].
func New(db *sql.DB, config Config) (*Inbox, error) {
	config = config.withDefaults()
	err := config.validate()
	if db == nil {
		err = errors.Join(errors.New("the database is nil: pass the one of the handler's own tables"), err)
	}
	if err != nil {
		return nil, fmt.Errorf("inbox: the configuration is wrong: %w", err)
	}
	return &Inbox{db: db, config: config, sql: statementsFor(config.Dialect, config.Prefix)}, nil
}

// Migrate creates the inbox's table or brings it to the newest version, in one transaction. Call it at every start: it changes nothing
// where nothing is to be done, and several processes may call it at once. It needs the right to create tables.
func (b *Inbox) Migrate(ctx context.Context) error {
	s := database.Schema{DB: b.db, Dialect: b.config.Dialect, Prefix: b.config.Prefix, Component: "inbox", Files: Migrations}
	if err := s.Migrate(ctx); err != nil {
		return fmt.Errorf("inbox: migrating %sinbox: %w", b.config.Prefix, err)
	}
	return nil
}

// Once makes a handler for dispatch.Handle that runs at most once for each message ID and route: it writes the message down in a
// transaction, runs handler in it, and commits. A message that was handled before is done without running. The handler works through tx
// and neither commits nor rolls it back; its error, its panic and its deadline roll it back.
func Once[M any](b *Inbox, handler func(ctx context.Context, tx *sql.Tx, message M) error) func(context.Context, M) error {
	if handler == nil {
		return nil // dispatch.Handle says what is missing
	}
	return func(ctx context.Context, message M) error {
		return b.once(ctx, func(tx *sql.Tx) error { return handler(ctx, tx, message) })
	}
}

func (b *Inbox) once(ctx context.Context, run func(*sql.Tx) error) error {
	m := dispatch.MessageFrom(ctx)
	if m.ID == "" || m.Route == "" {
		return errors.New("inbox: there is no message in the context; pass what Once returns to dispatch.Handle")
	}
	tx, err := b.db.BeginTx(ctx, b.config.TxOptions)
	if err != nil {
		return fmt.Errorf("inbox: no transaction for message %s, it will be delivered again: %w", m.ID, err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing; after a panic it is the end
	first, err := b.remember(ctx, tx, m)
	if err != nil {
		return fmt.Errorf("inbox: message %s could not be written down, it will be delivered again: %w", m.ID, err)
	}
	if !first {
		return nil
	}
	if err := run(tx); err != nil {
		return err
	}
	switch err := tx.Commit(); {
	case errors.Is(err, sql.ErrTxDone) && ctx.Err() == nil:
		return fmt.Errorf("inbox: the handler of %s has ended its transaction itself; let it only return nil or an error: %w", m.Route, err)
	case err != nil:
		return fmt.Errorf("inbox: message %s was handled but not committed, it will be delivered again: %w", m.ID, err)
	}
	return nil
}

// remember inserts the message's row, and reports whether this transaction is the first. It waits for another that has inserted
// the same row and not ended yet: PostgreSQL by its unique index, SQLite because it has one writer.
func (b *Inbox) remember(ctx context.Context, tx *sql.Tx, m dispatch.Message) (first bool, err error) {
	result, err := tx.ExecContext(ctx, b.sql.remember, m.Route, m.ID)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n == 1, err
}
