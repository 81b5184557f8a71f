package outbox

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"waybill.dev/dispatch"
)

// row is a message that waits.
type row struct {
	seq        int64
	attempts   int // that failed
	rejections int
	envelope   dispatch.Envelope
	broken     error // the row is no envelope
}

// batch is the rows of one lease, in the order of their sending.
type batch struct {
	lease  string
	until  time.Time // by this process's clock, and before the database's
	rows   []row
	looked int // how many were looked at, those included that have to wait for others of their key
}

// isWaiting reports whether anything is due. It takes no lock, so that idle relays disturb nobody.
func (b *Outbox) isWaiting(ctx context.Context) (waiting bool, err error) {
	err = b.db.QueryRowContext(ctx, b.sql.waiting).Scan(&waiting)
	return waiting, err
}

// lease takes the next rows whose turn it is. For as long as the lease lasts no other relay takes them, nor later ones of their keys.
func (b *Outbox) lease(ctx context.Context) (batch, error) {
	taken := batch{lease: uuid.NewString(), until: time.Now().Add(b.config.Lease)}
	err := b.locked(ctx, func(tx *sql.Tx) error {
		result, err := tx.QueryContext(ctx, b.sql.lease, taken.lease, b.config.Lease.Milliseconds(), b.config.BatchSize)
		if err != nil {
			return err
		}
		return taken.read(result)
	})
	// What RETURNING returns is in no order.
	slices.SortFunc(taken.rows, func(x, y row) int { return cmp.Compare(x.seq, y.seq) })
	return taken, err
}

func (taken *batch) read(result *sql.Rows) error {
	defer result.Close()
	for result.Next() {
		var r row
		var held bool
		if err := r.scan(result, &held, &r.seq, &r.attempts, &r.rejections); err != nil {
			return err
		}
		taken.looked++
		if !held {
			taken.rows = append(taken.rows, r)
		}
	}
	return result.Err()
}

// locked runs f in a transaction while no other relay changes whose turn it is.
func (b *Outbox) locked(ctx context.Context, f func(*sql.Tx) error) error {
	// Statements after the lock must see what was committed while it was waited for.
	var options *sql.TxOptions
	if b.sql.lock != "" {
		options = &sql.TxOptions{Isolation: sql.LevelReadCommitted}
	}
	tx, err := b.db.BeginTx(ctx, options)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if b.sql.lock != "" {
		if _, err := tx.ExecContext(ctx, b.sql.lock); err != nil {
			return err
		}
	}
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// scan reads columns into first and the envelope's after them into the row.
func (r *row) scan(result *sql.Rows, first ...any) error {
	e := &r.envelope
	var scheduled, attributes string
	if err := result.Scan(append(first, &e.Version, &e.ID, &e.Route, &e.OrderingKey, &scheduled, &attributes, &e.Body)...); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(attributes), &e.Attributes); err != nil {
		r.broken = errors.Join(r.broken, fmt.Errorf("outbox: the row of message %s was changed: its attributes are no JSON", e.ID))
	}
	if scheduled != "" {
		at, err := time.Parse(time.RFC3339Nano, scheduled)
		if err != nil {
			r.broken = errors.Join(r.broken, fmt.Errorf("outbox: the row of message %s was changed: its time is none: %w", e.ID, err))
		}
		e.ScheduledFor = at
	}
	return nil
}

// failure is what becomes of a row that was not sent.
type failure struct {
	Seq        int64   `json:"seq"`
	Pause      int64   `json:"pause"` // milliseconds
	Attempts   int     `json:"attempts"`
	Rejections int     `json:"rejections"`
	Error      *string `json:"error"` // nil leaves the last one
	Park       bool    `json:"park"`
	Hold       bool    `json:"hold"` // until the row that failed before it in its key is sent
}

// key is an ordering key of a route.
type key struct {
	Route       string `json:"route"`
	OrderingKey string `json:"ordering_key"`
}

// marks are what became of a batch.
type marks struct {
	sent     []int64
	failures []failure
	free     []key // of which everything was sent: what is held may follow
}

const (
	markTimeout = 5 * time.Second
	markPause   = 50 * time.Millisecond
)

// mark writes down what became of a batch, unless its lease has passed to another: then it is the other's to say. It tries for a few
// seconds, also when ctx has ended, since what is not marked is sent again.
func (b *Outbox) mark(ctx context.Context, lease string, m marks) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), markTimeout)
	defer cancel()
	for {
		err := b.markOnce(ctx, lease, m)
		if err == nil || wait(ctx, markPause) != nil {
			return err
		}
	}
}

func (b *Outbox) markOnce(ctx context.Context, lease string, m marks) error {
	if len(m.free) == 0 && len(m.failures) == 0 {
		return tell(ctx, b.db, b.sql.sent, m.sent, lease) // a statement of its own: nobody's turn depends on it
	}
	err := b.locked(ctx, func(tx *sql.Tx) error {
		if err := tell(ctx, tx, b.sql.failed, m.failures, lease); err != nil {
			return err
		}
		if err := tell(ctx, tx, b.sql.sent, m.sent, lease); err != nil {
			return err
		}
		return tell(ctx, tx, b.sql.promote, m.free, b.turnsOf(len(m.free)))
	})
	if err == nil && len(m.free) > 0 {
		b.Wake()
	}
	return err
}

// turnsOf is how many rows of each key are promoted when so many keys are free: a batch's worth in all. More would only be held again by the
// next lease, all of a long backlog each time.
func (b *Outbox) turnsOf(keys int) int { return max(1, b.config.BatchSize/max(1, keys)) }

// tell runs a statement about a list, if there is anything in it.
func tell[T any](ctx context.Context, db execer, query string, list []T, more any) error {
	if len(list) == 0 {
		return nil
	}
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, query, string(text), more)
	return err
}

// execer is a *sql.DB or a *sql.Tx.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// sweep lets rows be due that wait for a row which is gone.
func (b *Outbox) sweep(ctx context.Context) error {
	return b.locked(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, b.sql.sweep)
		return err
	})
}

// wait returns after d, or with the context's error when that ends first.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
