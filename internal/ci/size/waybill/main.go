// Command waybill is the least service that sends and receives all three ways through Waybill. Its binary is measured
// beside that of internal/ci/size/bare; see docs/benchmarks.md.
package main

import (
	"context"
	"fmt"
	"os"

	"waybill.dev/dispatch"
)

type note struct{ Text string }

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	app := dispatch.NewApp("least")
	service := app.Service("service")
	task := dispatch.NewTask[note](service, "task", dispatch.From(service))
	event := dispatch.NewEvent[note](service, "event")
	subscription := event.To(service, "subscription")
	call := dispatch.NewCall[note, note](service, "call", dispatch.From(service))

	d, err := dispatch.Open(ctx, service)
	if err != nil {
		return err
	}
	defer d.Close()
	dispatch.Handle(d, task, func(ctx context.Context, n note) error {
		_, err := dispatch.Send(ctx, d, event, n)
		return err
	})
	dispatch.Handle(d, subscription, func(ctx context.Context, n note) error {
		_, err := dispatch.Request(ctx, d, call, n)
		return err
	})
	dispatch.Answer(d, call, func(ctx context.Context, n note) (note, error) {
		_, err := dispatch.Send(ctx, d, task, n)
		return n, err
	})
	return d.ListenAndServe(ctx)
}
