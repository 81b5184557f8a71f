package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

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

	db, remove := openExample(ctx)
	defer remove()

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

// On Cloud Run with throttled CPU a process has no time of its own between requests: what is committed is sent before the request ends.
func ExampleOutbox_Flush() {
	ctx := context.Background()
	local := startLocally(ctx)
	defer local.Close()
	db, remove := openExample(ctx)
	defer remove()
	login := local.open(ctx, Login)
	defer login.Close()
	box, err := outbox.New(login, db, outbox.Config{Dialect: outbox.SQLite})
	if err != nil {
		log.Fatal(err)
	}
	if err := box.Migrate(ctx); err != nil {
		log.Fatal(err)
	}

	if err := signUp(ctx, db, box, "ann"); err != nil {
		log.Fatal(err)
	}
	soon, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := box.Flush(soon); err != nil {
		log.Printf("messages wait for the scheduler: %v", err) // they are committed: the request has succeeded
	}

	stats, err := box.Stats(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("waiting:", stats.Waiting)
	// Output: waiting: 0
}

// What a crash or an outage has left is sent when a Cloud Scheduler job calls, each minute, with its own account's token.
func ExampleOutbox_Handler() {
	ctx := context.Background()
	local := startLocally(ctx)
	defer local.Close()
	db, remove := openExample(ctx)
	defer remove()
	login := local.open(ctx, Login)
	defer login.Close()
	box, err := outbox.New(login, db, outbox.Config{Dialect: outbox.SQLite})
	if err != nil {
		log.Fatal(err)
	}

	scheduler, err := login.Verifier("shop-scheduler@my-project.iam.gserviceaccount.com")
	if err != nil {
		log.Fatal(err)
	}
	login.Mount("/_waybill/outbox", box.Handler(scheduler))

	// Anybody else is refused.
	answer := httptest.NewRecorder()
	login.ServeHTTP(answer, httptest.NewRequestWithContext(ctx, http.MethodPost, "/_waybill/outbox", nil))
	fmt.Println(answer.Code)
	// Output: 401
}

// openExample opens a database in a file that is removed afterwards.
func openExample(ctx context.Context) (db *sql.DB, remove func()) {
	dir, err := os.MkdirTemp("", "outbox")
	if err != nil {
		log.Fatal(err)
	}
	db, err = sql.Open("sqlite", "file:"+filepath.Join(dir, "login.db")+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_txlock=immediate")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := db.ExecContext(ctx, `CREATE TABLE users (id text)`); err != nil {
		log.Fatal(err)
	}
	return db, func() {
		db.Close()
		os.RemoveAll(dir)
	}
}
