package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2"
	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/deploy"
	"waybill.dev/dispatch/inbox"
	"waybill.dev/dispatch/outbox"
	"waybill.dev/emulator"
	"waybill.dev/tasks"
)

const (
	queue        = "projects/demo/locations/us-central1/queues/shop--send-welcome"
	subscription = "projects/demo/subscriptions/shop--count-user"
)

// shop is a sender with an outbox and a receiver with an inbox, each with a database.
type shop struct {
	*local
	t          *testing.T
	users, did *sql.DB
	login      *dispatch.Dispatcher
	box        *outbox.Outbox
}

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{local: startLocally(t.Context()), t: t, users: openSQLite(t, "login.db"), did: openSQLite(t, "mailer.db")}
	t.Cleanup(s.Close)
	exec(t, s.users, `CREATE TABLE users (id text)`)
	exec(t, s.did, `CREATE TABLE effects (route text, user text)`)
	in := must(inbox.New(s.did, inbox.Config{Dialect: inbox.SQLite}))
	if err := in.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	effect := func(ctx context.Context, tx *sql.Tx, user string) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO effects VALUES ($1, $2)`, dispatch.MessageFrom(ctx).Route, user)
		return err
	}
	mailer := s.open(t.Context(), Mailer)
	dispatch.Handle(mailer, SendWelcome, inbox.Once(in, func(ctx context.Context, tx *sql.Tx, w Welcome) error { return effect(ctx, tx, w.To) }))
	dispatch.Handle(mailer, CountUser, inbox.Once(in, func(ctx context.Context, tx *sql.Tx, e UserSignedUp) error { return effect(ctx, tx, e.UserID) }))
	s.serve(t.Context(), mailer)
	s.login = s.open(t.Context(), Login)
	t.Cleanup(func() { s.login.Close() })
	s.box = must(outbox.New(s.login, s.users, outbox.Config{Dialect: outbox.SQLite, Logger: slog.New(slog.DiscardHandler)}))
	if err := s.box.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// signUp commits a user and flushes.
func (s *shop) signUp(id string) error {
	s.t.Helper()
	if err := signUp(s.t.Context(), s.users, s.box, id); err != nil {
		s.t.Fatal(err)
	}
	return s.box.Flush(s.t.Context())
}

// want has everything delivered that is due within the hour, retries included: then the user must have one effect of each route.
func (s *shop) want(id string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	for {
		_, err := s.emulator.Skip(ctx, time.Hour)
		if errors.Is(err, emulator.ErrNothingDue) {
			break
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	if n := s.effects(id); n != 2 {
		s.t.Errorf("%s has %d effects, want one of each route", id, n)
	}
}

func (s *shop) effects(id string) (n int) {
	s.t.Helper()
	if err := s.did.QueryRowContext(s.t.Context(), `SELECT count(*) FROM (SELECT * FROM effects WHERE user = $1)`, id).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

func TestADeliveryThatGoesWrongHasOneEffect(t *testing.T) {
	s := newShop(t)
	for name, fault := range map[string]emulator.Fault{
		"the answer is lost":            {Drop: emulator.DropAnswer},
		"the request is lost":           {Drop: emulator.DropRequest},
		"it comes twice":                {Duplicate: true},
		"it comes late":                 {Latency: 50 * time.Millisecond},
		"something in between says 503": {Status: 503},
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			var faults []*emulator.ActiveFault
			for _, of := range []emulator.Fault{{Queue: queue}, {Subscription: subscription}} {
				fault.Times, fault.Queue, fault.Subscription = 1, of.Queue, of.Subscription
				faults = append(faults, must(s.emulator.AddFault(fault)))
			}
			if err := s.signUp(name); err != nil {
				t.Fatal(err)
			}
			s.want(name)
			for i, f := range faults {
				if f.Hits() != 1 {
					t.Errorf("fault %d acted %d times", i, f.Hits())
				}
			}
		})
	}
}

func TestADeletedQueueDelaysAndLosesNothing(t *testing.T) {
	s := newShop(t)
	client := must(cloudtasks.NewClient(t.Context(), tasks.EmulatorOptions(s.emulator.Addr())...))
	defer client.Close()
	if err := client.DeleteQueue(t.Context(), &cloudtaskspb.DeleteQueueRequest{Name: queue}); err != nil {
		t.Fatal(err)
	}
	if err := s.signUp("ann"); err == nil {
		t.Error("the task was sent without a queue")
	}
	if stats := must(s.box.Stats(t.Context())); stats.Waiting != 1 || stats.Parked != 0 {
		t.Errorf("stats are %+v", stats)
	}
	must(deploy.Create(t.Context(), must(deploy.NewPlan(App, s.env)), deploy.Options{}))
	exec(t, s.users, `UPDATE waybill_outbox SET due_at = 0`) // its pause passes
	if err := s.box.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.want("ann")
}
