package outbox

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"waybill.dev/dispatch"
)

// BenchmarkSend compares a transaction that writes one row with one that also sends. The server has fsync off, which makes the share of the
// outbox's statement larger than it is on a disk.
func BenchmarkSend(b *testing.B) {
	bench := func(b *testing.B, db *sql.DB, dialect Dialect) {
		w := newWorld(b, db, dialect)
		w.exec(`CREATE TABLE users (name text)`)
		box := w.box(Config{})
		for _, side := range []string{"bare", "waybill"} {
			b.Run("impl="+side, func(b *testing.B) {
				for b.Loop() {
					w.inTx(func(tx *sql.Tx) {
						if _, err := tx.ExecContext(b.Context(), `INSERT INTO users VALUES ($1)`, "ann"); err != nil {
							b.Fatal(err)
						}
						if side == "waybill" {
							w.send(box, tx, "ann", "signed up")
						}
					})
				}
				b.StopTimer()
				w.exec(`DELETE FROM waybill_outbox`)
			})
		}
	}
	b.Run("db=postgresql", func(b *testing.B) { bench(b, postgres.DB(b), PostgreSQL) })
	b.Run("db=sqlite", func(b *testing.B) { bench(b, openSQLite(b), SQLite) })
}

// BenchmarkRelay is how fast a backlog goes to a transport that costs nothing: the outbox's own share. Keys: none, many, and one, whose
// messages go one after the other.
func BenchmarkRelay(b *testing.B) {
	bench := func(b *testing.B, db *sql.DB, dialect Dialect) {
		w := newWorld(b, db, dialect)
		for _, keys := range []int{0, 100, 1} {
			b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
				box := w.box(Config{})
				w.backlog(box, b.N, keys)
				var sent atomic.Int64
				all := make(chan struct{})
				box.forward = func(context.Context, dispatch.Envelope) (dispatch.Receipt, error) {
					if sent.Add(1) == int64(b.N) {
						close(all)
					}
					return dispatch.Receipt{}, nil
				}
				b.ResetTimer()
				stop := w.start(box)
				<-all
				stop() // marks included
				b.StopTimer()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
				w.left(0)
			})
		}
	}
	b.Run("db=postgresql", func(b *testing.B) { bench(b, postgres.DB(b), PostgreSQL) })
	b.Run("db=sqlite", func(b *testing.B) { bench(b, openSQLite(b), SQLite) })
}

// backlog commits n messages with so many ordering keys.
func (w *world) backlog(b *Outbox, n, keys int) {
	w.Helper()
	const each = 1000 // in a transaction
	for i := 0; i < n; i += each {
		w.inTx(func(tx *sql.Tx) {
			for j := i; j < min(i+each, n); j++ {
				var err error
				if keys == 0 {
					_, err = dispatch.Send(w.Context(), b.In(tx), noticed, signedUp{"ann", time.Now().String()})
				} else {
					_, err = dispatch.Send(w.Context(), b.In(tx), userChanged, signedUp{fmt.Sprint(j % keys), time.Now().String()})
				}
				if err != nil {
					w.Fatal(err)
				}
			}
		})
	}
}
