package outbox_test

import (
	"context"
	"database/sql"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2"
	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	gpubsub "cloud.google.com/go/pubsub/v2"
	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/deploy"
	"waybill.dev/dispatch/outbox"
	"waybill.dev/emulator"
	"waybill.dev/pubsub"
	"waybill.dev/tasks"
)

const (
	farAhead = 24 * time.Hour // keeps tasks in their queue, so that deliveries do not disturb the measurement
	senders  = 64             // at once, on both sides: the default of Config.Parallel
)

// BenchmarkRelayTo puts a relay that sends a backlog from PostgreSQL to the emulator beside Google's client that sends as many messages from as many
// goroutines, and keeps none of them anywhere. The event has no subscriptions. Use a fixed -benchtime, such as 5000x.
func BenchmarkRelayTo(b *testing.B) {
	app := dispatch.NewApp("bench")
	login, mailer := app.Service("login"), app.Service("mailer")
	keep := dispatch.NewTask[Welcome](mailer, "keep", dispatch.From(login))
	noticed := dispatch.NewEvent[Welcome](login, "noticed")

	emu := must(emulator.Start(b.Context(), emulator.Config{Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)}))
	b.Cleanup(func() { emu.Close() })
	env := &dispatch.Environment{Project: "demo", Location: "us-central1", Emulator: emu.Addr()}
	must(deploy.Create(b.Context(), must(deploy.NewPlan(app, env)), deploy.Options{}))

	relay := func(send func(*outbox.Outbox, *sql.Tx) error) func(*testing.B) {
		return func(b *testing.B) {
			d := must(dispatch.Open(b.Context(), login, dispatch.Config{Environment: env, Logger: slog.New(slog.DiscardHandler)}))
			defer d.Close()
			db := outbox.Postgres().DB(b)
			box := must(outbox.New(d, db, outbox.Config{Dialect: outbox.PostgreSQL, Logger: slog.New(slog.DiscardHandler)}))
			if err := box.Migrate(b.Context()); err != nil {
				b.Fatal(err)
			}
			tx := must(db.BeginTx(b.Context(), nil))
			for range b.N {
				if err := send(box, tx); err != nil {
					b.Fatal(err)
				}
			}
			if err := tx.Commit(); err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			ctx, stop := context.WithCancel(b.Context())
			ended := make(chan error, 1)
			go func() { ended <- box.Run(ctx) }()
			for left := true; left; time.Sleep(5 * time.Millisecond) {
				if err := db.QueryRowContext(b.Context(), `SELECT EXISTS (SELECT 1 FROM waybill_outbox)`).Scan(&left); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
			stop()
			if err := <-ended; err != nil {
				b.Fatal(err)
			}
		}
	}
	bare := func(open func(*testing.B) (send func(context.Context) error, stop func())) func(*testing.B) {
		return func(b *testing.B) {
			send, stop := open(b)
			defer stop()
			var next atomic.Int64
			var all sync.WaitGroup
			b.ResetTimer()
			for range senders {
				all.Go(func() {
					for next.Add(1) <= int64(b.N) {
						if err := send(b.Context()); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		}
	}
	const body = `{"To":"ann"}`
	const account, mailbox = "login@demo.iam.gserviceaccount.com", "http://127.0.0.1:8102"
	headers := map[string]string{
		"ce-id": "019ab1f0-5b7c-7c3e-9d5a-0123456789ab", "ce-source": "/bench/login", "ce-type": "bench.keep", "ce-specversion": "1.0",
		"ce-time": "2026-11-24T12:00:00Z", "content-type": "application/json", "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
	}

	b.Run("to=tasks/impl=bare", bare(func(b *testing.B) (func(context.Context) error, func()) {
		client := must(cloudtasks.NewClient(b.Context(), tasks.EmulatorOptions(emu.Addr())...))
		const parent = "projects/demo/locations/us-central1/queues/bench--keep"
		return func(ctx context.Context) error {
			_, err := client.CreateTask(ctx, &cloudtaskspb.CreateTaskRequest{Parent: parent, Task: &cloudtaskspb.Task{
				Name: parent + "/tasks/" + uuid.NewString(), ScheduleTime: timestamppb.New(time.Now().Add(farAhead)),
				MessageType: &cloudtaskspb.Task_HttpRequest{HttpRequest: &cloudtaskspb.HttpRequest{
					Url: mailbox + "/_waybill/tasks/keep", HttpMethod: cloudtaskspb.HttpMethod_POST, Headers: headers, Body: []byte(body),
					AuthorizationHeader: &cloudtaskspb.HttpRequest_OidcToken{OidcToken: &cloudtaskspb.OidcToken{ServiceAccountEmail: account, Audience: mailbox}},
				}},
			}})
			return err
		}, func() { client.Close() }
	}))
	b.Run("to=tasks/impl=waybill", relay(func(box *outbox.Outbox, tx *sql.Tx) error {
		_, err := dispatch.Send(b.Context(), box.In(tx), keep, Welcome{To: "ann"}, dispatch.After(farAhead))
		return err
	}))
	b.Run("to=events/impl=bare", bare(func(b *testing.B) (func(context.Context) error, func()) {
		client := must(gpubsub.NewClient(b.Context(), "demo", pubsub.EmulatorOptions(emu.Addr())...))
		publisher := client.Publisher("bench--noticed")
		publisher.EnableMessageOrdering = true
		publisher.PublishSettings.DelayThreshold = time.Millisecond // as waybill.dev/pubsub's
		return func(ctx context.Context) error {
				_, err := publisher.Publish(ctx, &gpubsub.Message{Data: []byte(body), Attributes: headers}).Get(ctx)
				return err
			}, func() {
				publisher.Stop()
				client.Close()
			}
	}))
	b.Run("to=events/impl=waybill", relay(func(box *outbox.Outbox, tx *sql.Tx) error {
		_, err := dispatch.Send(b.Context(), box.In(tx), noticed, Welcome{To: "ann"})
		return err
	}))
}
