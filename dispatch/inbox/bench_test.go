package inbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"
	"testing"

	"waybill.dev/dispatch/inbox"
)

// BenchmarkOnce compares a handler's transaction with and without the inbox. The server has fsync off, which makes the share of the
// inbox's statement larger than it is on a disk.
func BenchmarkOnce(b *testing.B) {
	bench := func(b *testing.B, db *sql.DB, dialect inbox.Dialect) {
		box := newInbox(b, db, inbox.Config{Dialect: dialect})
		var n atomic.Int64
		once := inbox.Once(box, effect)
		bare := func(ctx context.Context, p payment) error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer tx.Rollback()
			if err := effect(ctx, tx, p); err != nil {
				return err
			}
			return tx.Commit()
		}
		for _, side := range []struct {
			name   string
			handle func(context.Context, payment) error
		}{{"bare", bare}, {"waybill", once}} {
			b.Run("impl="+side.name, func(b *testing.B) {
				for b.Loop() {
					if err := side.handle(message(b.Context(), fmt.Sprintf("019ab1f0-5b7c-7c3e-9d5a-%012d", n.Add(1))), payment{}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
	b.Run("db=postgresql", func(b *testing.B) { bench(b, postgres.DB(b), inbox.PostgreSQL) })
	b.Run("db=sqlite", func(b *testing.B) { bench(b, openSQLite(b), inbox.SQLite) })
}
