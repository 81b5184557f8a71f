// Pubsubthroughput measures the Pub/Sub emulator beside Google's own and beside pstest, Google's fake for Go, on this machine.
//
//	go run ./internal/ci/pubsubthroughput
//
// The load, which is Google's Go client with its defaults, and the receiver of the pushes are in this process. Each server is
// in another: the built waybill command, Google's emulator if it is installed, and pstest served by a copy of this command.
// Messages have 1 KB. Machines drift, so the sides take turns, and the medians count. A side that is slow gets fewer
// messages, so that a run of each takes about a second; rates and times per message are compared.
//
// Every run has a topic and a subscription of its own, which are deleted after it: Google's emulator keeps a processor busy
// as long as subscriptions are left.
//
// It prints a table and exits with status 1 if a goal is missed or something fails. Where Google's emulator is missing,
// it says so and compares with pstest alone.
package main

import (
	"context"
	"flag"
	"io"
	"os"
	"os/signal"

	"waybill.dev/internal/ci/measure"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// options are the command line's.
type options struct {
	measure.Options
	scale float64
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	const name = "pubsubthroughput"
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	var o options
	o.Register(flags, 10, "publish,stream,push,latency,backlog,readiness")
	flags.Float64Var(&o.scale, "scale", 1, "`FACTOR` of all numbers of messages")
	role := flags.String("role", "", "what this process is: empty, pstest or post")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	var err error
	met := true
	switch *role {
	case "pstest":
		err = servePstest(ctx, stdout)
	case "post":
		err = post(ctx, stdin, stdout)
	default:
		met, err = measureAll(ctx, o, stdout, stderr)
	}
	return measure.Status(stderr, name, met, err)
}

// measureAll runs everything and prints the table.
func measureAll(ctx context.Context, o options, stdout, stderr io.Writer) (met bool, err error) {
	clean, err := o.Prepare(ctx, stderr)
	if err != nil {
		return false, err
	}
	defer clean()
	m, err := newMeasurement(ctx, o, stderr)
	if err != nil {
		return false, err
	}
	defer m.receiver.close()
	err = o.Measure(ctx, stderr, map[string]func(context.Context) error{
		"publish": m.publish, "stream": m.stream, "push": m.push, "latency": m.latency, "backlog": m.backlog, "readiness": m.readiness,
	})
	if err != nil {
		return false, err
	}
	return m.report.Print(stdout), nil
}
