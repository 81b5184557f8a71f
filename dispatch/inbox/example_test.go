package inbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/inbox"
)

type Order struct {
	Item  string
	Count int
}

// An order takes from the stock once, however often it is delivered.
func ExampleOnce() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "inbox")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "stock.db")+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, `CREATE TABLE stock (item text, count int); INSERT INTO stock VALUES ('chair', 10)`); err != nil {
		log.Fatal(err)
	}

	box, err := inbox.New(db, inbox.Config{Dialect: inbox.SQLite})
	if err != nil {
		log.Fatal(err)
	}
	if err := box.Migrate(ctx); err != nil {
		log.Fatal(err)
	}
	take := inbox.Once(box, func(ctx context.Context, tx *sql.Tx, o Order) error {
		_, err := tx.ExecContext(ctx, `UPDATE stock SET count = count - $1 WHERE item = $2`, o.Count, o.Item)
		return err
	})

	// In a service: dispatch.Handle(d, contracts.TakeOrder, take). Here the same message is delivered three times.
	ctx = dispatch.ContextWithMessage(ctx, dispatch.Message{ID: "019ab1f0-5b7c-7c3e-9d5a-0123456789ab", Route: "take-order"})
	for range 3 {
		fmt.Println("handled:", take(ctx, Order{Item: "chair", Count: 2}) == nil)
	}
	var left int
	if err := db.QueryRowContext(ctx, `SELECT count FROM stock`).Scan(&left); err != nil {
		log.Fatal(err)
	}
	fmt.Println("chairs left:", left)
	// Output:
	// handled: true
	// handled: true
	// handled: true
	// chairs left: 8
}
