// Throughput measures the Cloud Tasks emulator beside its own ceiling, on this machine.
//
//	go run ./internal/ci/throughput
//
// The load and the receiver of the deliveries are in this process; the server, which is the built waybill
// command or a server that does nothing, is in another. 16 goroutines create tasks by Google's Go client. With
//
//	C  the rate of CreateTask against the server that does nothing,
//	H  the rate at which the other process posts the deliveries' headers and bodies to the receiver,
//
// no emulator can create and deliver more than 1/(1/C + 1/H) tasks a second on these processors. Machines
// drift, so the sides take turns, and the medians count. It also measures how late deliveries are, how soon the
// emulator is ready, what it costs when idle, and what a million tasks for next week change.
//
// It prints a table and exits with status 1 if a goal is missed or something fails.
package main

import (
	"context"
	"flag"
	"io"
	"os"
	"os/signal"
	"time"

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
	duration time.Duration
	sleepers int
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	const name = "throughput"
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	var o options
	o.Register(flags, 5, "rates,lateness,readiness,idle,sleepers,signatures")
	flags.DurationVar(&o.duration, "duration", time.Second, "how long each side runs")
	flags.IntVar(&o.sleepers, "sleepers", 1_000_000, "tasks that are scheduled for next week")
	role := flags.String("role", "", "what this process is: empty, serve or post")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	var err error
	met := true
	switch *role {
	case "serve":
		err = serveNothing(ctx, stdout)
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
	m := &measurement{options: o, progress: stderr, receiver: newReceiver()}
	defer m.receiver.close()
	m.report.Columns = []string{"measured"}
	if busy := measure.Busyness(ctx); busy != "" {
		m.report.Remarks = append(m.report.Remarks, busy)
	}
	err = o.Measure(ctx, stderr, map[string]func(context.Context) error{
		"rates": m.rates, "lateness": m.lateness, "readiness": m.readiness, "idle": m.idleness, "sleepers": m.besideSleepers, "signatures": m.signatures,
	})
	if err != nil {
		return false, err
	}
	return m.report.Print(stdout), nil
}
