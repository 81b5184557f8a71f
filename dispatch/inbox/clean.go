package inbox

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

// cleanBatch is how many rows one statement forgets: a few milliseconds of locks.
const cleanBatch = 1000

// Clean forgets the messages that were handled longer ago than [Config.Retention], and returns how many. It deletes a thousand at a
// time, each in a transaction of its own, until none is left or ctx ends; what it has deleted by then stays deleted. Several
// processes may clean at once.
func (b *Inbox) Clean(ctx context.Context) (int64, error) {
	var total int64
	for {
		result, err := b.db.ExecContext(ctx, b.sql.forget, b.config.Retention.Milliseconds(), cleanBatch)
		if err != nil {
			return total, fmt.Errorf("inbox: cleaning %sinbox: %w", b.config.Prefix, err)
		}
		n, err := result.RowsAffected()
		if err != nil {
			return total, fmt.Errorf("inbox: cleaning %sinbox: %w", b.config.Prefix, err)
		}
		total += n
		if n < cleanBatch {
			return total, nil
		}
	}
}

// Run cleans at once and then every [Config.CleanInterval], give or take a tenth, until ctx ends. What fails is logged and tried again the next time.
// It returns nil, and is made for [dispatch.Dispatcher.Background].
func (b *Inbox) Run(ctx context.Context) error {
	for {
		switch n, err := b.Clean(ctx); {
		case err != nil && ctx.Err() == nil:
			b.config.Logger.ErrorContext(ctx, "inbox not cleaned", slog.Any("error", err))
		case n > 0:
			b.config.Logger.InfoContext(ctx, "inbox cleaned", slog.Int64("messages", n))
		}
		wait := b.config.CleanInterval
		timer := time.NewTimer(wait - wait/10 + rand.N(wait/5+1)) // instances that were started together spread out
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}
