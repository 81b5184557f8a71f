package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/outbox"
)

// signUp writes a user and sends two messages: all three, or none.
func signUp(ctx context.Context, db *sql.DB, box *outbox.Outbox, id string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, `INSERT INTO users (id) VALUES ($1)`, id); err != nil {
		return err
	}
	if _, err := dispatch.Send(ctx, box.In(tx), SendWelcome, Welcome{To: id}); err != nil {
		return err
	}
	if _, err := dispatch.Send(ctx, box.In(tx), SignedUp, UserSignedUp{UserID: id}); err != nil {
		return err
	}
	if id == "mallory" {
		return errors.New("not wanted here")
	}
	return tx.Commit()
}

// A service that sends with its transactions, and one that receives.
func Example() {
	ctx := context.Background()
	local := startLocally(ctx)
	defer local.Close()

	greeted := make(chan string, 10)
	mailer := local.open(ctx, Mailer)
	dispatch.Handle(mailer, SendWelcome, func(_ context.Context, w Welcome) error {
		greeted <- "welcome, " + w.To
		return nil
	})
	dispatch.Handle(mailer, CountUser, func(_ context.Context, e UserSignedUp) error {
		greeted <- "counted " + e.UserID
		return nil
	})
	local.serve(ctx, mailer)

	dir, err := os.MkdirTemp("", "outbox")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "login.db")+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_txlock=immediate")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, `CREATE TABLE users (id text)`); err != nil {
		log.Fatal(err)
	}

	login := local.open(ctx, Login)
	defer login.Close() // ends the relay, too
	box, err := outbox.New(login, db, outbox.Config{Dialect: outbox.SQLite})
	if err != nil {
		log.Fatal(err)
	}
	if err := box.Migrate(ctx); err != nil {
		log.Fatal(err)
	}
	login.Background("outbox relay", box.Run)

	for _, id := range []string{"ann", "mallory", "ben"} {
		if err := signUp(ctx, db, box, id); err != nil {
			fmt.Println(err)
		}
	}
	for range 4 {
		fmt.Println(<-greeted)
	}
	// Unordered output:
	// not wanted here
	// welcome, ann
	// counted ann
	// welcome, ben
	// counted ben
}
