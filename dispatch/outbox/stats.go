package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"waybill.dev/dispatch"
)

// Stats is an outbox's backlog.
type Stats struct {
	// Waiting is how many messages are committed and not sent yet, without those that are parked.
	Waiting int64
	// Retrying is how many of those have failed at least once.
	Retrying int64
	// Parked is how many messages were given up until somebody calls [Outbox.Retry] or [Outbox.Discard].
	Parked int64
	// Lag is the age of the oldest that waits, from the begin of its transaction; 0 if none does.
	Lag time.Duration
}

func (s Stats) attrs() []any {
	return []any{slog.Int64("waiting", s.Waiting), slog.Int64("retrying", s.Retrying), slog.Int64("parked", s.Parked), slog.Duration("lag", s.Lag)}
}

// Stats counts what is in the outbox. It reads the whole table, which is as long as the backlog.
func (b *Outbox) Stats(ctx context.Context) (Stats, error) {
	var s Stats
	var lag int64
	if err := b.db.QueryRowContext(ctx, b.sql.stats).Scan(&s.Waiting, &s.Retrying, &s.Parked, &lag); err != nil {
		return Stats{}, fmt.Errorf("outbox: reading %soutbox: %w", b.config.Prefix, err)
	}
	s.Lag = time.Duration(max(lag, 0)) * time.Millisecond
	return s, nil
}

// Parked is a message that was refused too often.
type Parked struct {
	Envelope dispatch.Envelope
	Attempts int       // how often it was tried
	Error    string    // the last one
	KeptAt   time.Time // when its transaction began
}

// parkedPage is how many parked messages one statement reads.
const parkedPage = 100

// Parked calls f with each parked message, in the order of their sending, until f returns false. A parked message is never sent and never deleted by itself, and
// later messages of its ordering key wait behind it.
func (b *Outbox) Parked(ctx context.Context, f func(Parked) bool) error {
	after := int64(0)
	for {
		page, err := b.parkedAfter(ctx, &after)
		if err != nil {
			return fmt.Errorf("outbox: reading %soutbox: %w", b.config.Prefix, err)
		}
		for _, p := range page {
			if !f(p) {
				return nil
			}
		}
		if len(page) < parkedPage {
			return nil
		}
	}
}

func (b *Outbox) parkedAfter(ctx context.Context, after *int64) ([]Parked, error) {
	result, err := b.db.QueryContext(ctx, b.sql.parked, *after, parkedPage)
	if err != nil {
		return nil, err
	}
	defer result.Close()
	var page []Parked
	for result.Next() {
		var r row
		var p Parked
		var kept int64
		if err := r.scan(result, after, &p.Attempts, &p.Error, &kept); err != nil {
			return nil, err
		}
		p.Envelope, p.KeptAt = r.envelope, time.UnixMilli(kept)
		page = append(page, p)
	}
	return page, result.Err()
}

// Retry has parked messages, by their IDs, sent again as if they had never failed, and returns how many there were.
func (b *Outbox) Retry(ctx context.Context, ids ...string) (int64, error) {
	list, err := json.Marshal(ids)
	if err != nil {
		return 0, fmt.Errorf("outbox: %w", err)
	}
	result, err := b.db.ExecContext(ctx, b.sql.retry, string(list))
	if err != nil {
		return 0, fmt.Errorf("outbox: changing %soutbox: %w", b.config.Prefix, err)
	}
	b.Wake()
	return result.RowsAffected()
}

// Discard deletes parked messages, by their IDs, and returns how many there were. They are lost; what waited behind them is sent.
func (b *Outbox) Discard(ctx context.Context, ids ...string) (int64, error) {
	list, err := json.Marshal(ids)
	if err != nil {
		return 0, fmt.Errorf("outbox: %w", err)
	}
	var gone []key
	err = b.locked(ctx, func(tx *sql.Tx) error {
		result, err := tx.QueryContext(ctx, b.sql.discard, string(list))
		if err != nil {
			return err
		}
		if gone, err = keys(result); err != nil {
			return err
		}
		return tell(ctx, tx, b.sql.promote, gone, b.turnsOf(len(gone)))
	})
	if err != nil {
		return 0, fmt.Errorf("outbox: changing %soutbox: %w", b.config.Prefix, err)
	}
	b.Wake()
	return int64(len(gone)), nil
}

func keys(result *sql.Rows) ([]key, error) {
	defer result.Close()
	var list []key
	for result.Next() {
		var k key
		if err := result.Scan(&k.Route, &k.OrderingKey); err != nil {
			return nil, err
		}
		list = append(list, k)
	}
	return list, result.Err()
}
