package outbox

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
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

// Migrations are the statements that [Outbox.Migrate] runs, as files: migrations/postgresql and migrations/sqlite. Who has a tool of
// their own for migrations takes them from here. The names of the tables begin with waybill_.
//
//go:embed migrations
var Migrations embed.FS

// Config configures an [Outbox]. Dialect is required.
type Config struct {
	// Dialect is PostgreSQL or SQLite. Required.
	Dialect Dialect
	// Prefix begins the tables' names: PREFIXoutbox and PREFIXmigrations. At most 30 lower-case letters, digits and
	// underscores. Default: waybill_.
	Prefix string
	// PollInterval is how often an idle relay looks for messages of other processes, give or take a tenth. A Send of this process wakes it at
	// once. Default: 1 s.
	PollInterval time.Duration
	// BatchSize is how many messages a relay leases at a time, 2000 at most. Default: 200.
	BatchSize int
	// Parallel is how many messages this process sends at once; those of one ordering key go one after the other. Default: 64.
	Parallel int
	// Lease is how long a relay may take for a batch before others may send it too: how long messages wait after a crash between
	// send and mark. Default: 1 min; at least 1 s.
	Lease time.Duration
	// MinBackoff and MaxBackoff bound the pauses of a message that could not be sent; they double and vary by half. Defaults: 1 s and 5 min.
	MinBackoff, MaxBackoff time.Duration
	// MaxAttempts is how often a message may be refused for a reason of its own before it is parked: its route was removed, it is
	// too large, Google calls it invalid. Failures of the way there, such as an outage or a missing permission, do not count.
	// Default: 20, which with the default pauses takes about an hour.
	MaxAttempts int
	// ReportInterval is how often Run logs the backlog while there is something to say. Default: 1 min.
	ReportInterval time.Duration
	// Logger gets what could not be sent, what was parked, and the backlog. Default: slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	set(&c.Prefix, database.DefaultPrefix)
	set(&c.PollInterval, time.Second)
	set(&c.BatchSize, 200)
	set(&c.Parallel, 64)
	set(&c.Lease, time.Minute)
	set(&c.MinBackoff, time.Second)
	set(&c.MaxBackoff, max(5*time.Minute, c.MinBackoff))
	set(&c.MaxAttempts, 20)
	set(&c.ReportInterval, time.Minute)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// set puts a default in the place of a zero.
func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

const maxBatch = 2000

func (c Config) validate() error {
	problems := database.Check(c.Dialect, c.Prefix, "outbox")
	p := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if c.PollInterval < 0 {
		p("PollInterval is %v: use a positive time, or 0 for 1 s", c.PollInterval)
	}
	if c.BatchSize < 1 || c.BatchSize > maxBatch {
		p("BatchSize is %d: use 1 to %d, or 0 for 200", c.BatchSize, maxBatch)
	}
	if c.Parallel < 1 {
		p("Parallel is %d: use 1 or more, or 0 for 64", c.Parallel)
	}
	if c.Lease < time.Second {
		p("Lease is %v: use 1 s or more, or 0 for 1 min", c.Lease)
	}
	if c.MinBackoff < 0 || c.MaxBackoff < c.MinBackoff {
		p("MinBackoff %v and MaxBackoff %v: neither may be negative, nor the first above the second", c.MinBackoff, c.MaxBackoff)
	}
	if c.MaxAttempts < 1 {
		p("MaxAttempts is %d: use 1 or more, or 0 for 20", c.MaxAttempts)
	}
	if c.ReportInterval < 0 {
		p("ReportInterval is %v: use a positive time, or 0 for 1 min", c.ReportInterval)
	}
	return errors.Join(problems...)
}

// Outbox keeps messages in a database until they are sent. Make it with [New].
type Outbox struct {
	dispatcher *dispatch.Dispatcher
	db         *sql.DB
	config     Config
	log        *slog.Logger
	sql        statements

	forward func(context.Context, dispatch.Envelope) (dispatch.Receipt, error) // the dispatcher's
	hints   chan struct{}                                                      // something was kept, or will be once it is committed
	sending chan struct{}                                                      // as many slots as Config.Parallel
}

// New returns an outbox in db, or all that is wrong with its configuration. It touches the database no more than it starts a relay: see
// [Outbox.Migrate] and [Outbox.Run].
func New(d *dispatch.Dispatcher, db *sql.DB, config Config) (*Outbox, error) {
	config = config.withDefaults()
	err := config.validate()
	if db == nil {
		err = errors.Join(errors.New("the database is nil: pass the one whose transactions send"), err)
	}
	if d == nil {
		err = errors.Join(errors.New("the Dispatcher is nil: pass the one that dispatch.Open returned"), err)
	}
	if err != nil {
		return nil, fmt.Errorf("outbox: the configuration is wrong: %w", err)
	}
	return &Outbox{
		dispatcher: d,
		db:         db,
		config:     config,
		log:        config.Logger.With(slog.String("service", d.Service().Name())),
		sql:        statementsFor(config.Dialect, config.Prefix),
		forward:    d.Forward,
		hints:      make(chan struct{}, 1),
		sending:    make(chan struct{}, config.Parallel),
	}, nil
}

// Migrate creates the outbox's table or brings it to the newest version, in one transaction. Call it at every start: it changes nothing
// where nothing is to be done, and several processes may call it at once. It needs the right to create tables.
func (b *Outbox) Migrate(ctx context.Context) error {
	s := database.Schema{DB: b.db, Dialect: b.config.Dialect, Prefix: b.config.Prefix, Component: "outbox", Files: Migrations}
	if err := s.Migrate(ctx); err != nil {
		return fmt.Errorf("outbox: migrating %soutbox: %w", b.config.Prefix, err)
	}
	return nil
}

// In returns a Sender that sends within tx: [dispatch.Send] through it makes all its checks, and inserts the message in one statement.
// The message is sent if tx commits, and never was if it does not. The receipt has the ID under which it will be delivered.
//
// After an error of Send roll the transaction back: in PostgreSQL a failed statement has spoilt it anyway.
func (b *Outbox) In(tx *sql.Tx) dispatch.Sender {
	return dispatch.Deferred(b.dispatcher, func(ctx context.Context, e dispatch.Envelope) error { return b.keep(ctx, tx, e) })
}

func (b *Outbox) keep(ctx context.Context, tx *sql.Tx, e dispatch.Envelope) error {
	if tx == nil {
		return errors.New("outbox: there is no transaction; pass the one that the message belongs to")
	}
	attributes, err := json.Marshal(e.Attributes)
	if err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	scheduled := ""
	if !e.ScheduledFor.IsZero() {
		scheduled = e.ScheduledFor.UTC().Format(time.RFC3339Nano)
	}
	body := e.Body
	if body == nil {
		body = []byte{} // not NULL
	}
	if _, err := tx.ExecContext(ctx, b.sql.keep, e.Version, e.ID, e.Route, e.OrderingKey, scheduled, string(attributes), body); err != nil {
		return fmt.Errorf("outbox: inserting into %soutbox: %w", b.config.Prefix, err)
	}
	b.Wake() // a little early: the relay looks again in short steps until it finds what is being committed
	return nil
}

// Wake has this process's relay look at once. A Send through [Outbox.In] does the same, before its transaction is committed, and the relay
// then looks again after 5, 10, 20 ms and so on; Wake after the commit saves these.
func (b *Outbox) Wake() {
	select {
	case b.hints <- struct{}{}:
	default: // one hint is as good as two
	}
}
