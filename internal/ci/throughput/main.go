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
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
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
	waybill  string
	rounds   int
	duration time.Duration
	sleepers int
	disk     string
	parts    string
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("throughput", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var o options
	flags.StringVar(&o.waybill, "waybill", "", "`FILE` of the built command; default: it is built first")
	flags.IntVar(&o.rounds, "rounds", 5, "how often each side runs")
	flags.DurationVar(&o.duration, "duration", time.Second, "how long each side runs")
	flags.IntVar(&o.sleepers, "sleepers", 1_000_000, "tasks that are scheduled for next week")
	flags.StringVar(&o.disk, "disk", "", "`DIR` below which the durable emulator keeps its data; default: the one for temporary files")
	flags.StringVar(&o.parts, "parts", "rates,lateness,readiness,idle,sleepers,signatures", "what is measured")
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
	if err != nil {
		fmt.Fprintln(stderr, "throughput:", err)
		return 1
	}
	if !met {
		return 1
	}
	return 0
}

// measureAll runs everything and prints the table.
func measureAll(ctx context.Context, o options, stdout, stderr io.Writer) (met bool, err error) {
	work, err := os.MkdirTemp("", "throughput-")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.RemoveAll(work) }() // a folder for temporary files
	command := measure.Waybill(o.waybill)
	if command == "" {
		if command, err = measure.Build(ctx, work, stderr); err != nil {
			return false, err
		}
	}
	if o.disk == "" {
		o.disk = work
	}
	m := &measurement{options: o, command: command, progress: stderr, receiver: newReceiver()}
	defer m.receiver.close()
	m.report.Columns = []string{"measured"}
	if busy := measure.Busyness(ctx); busy != "" {
		m.report.Remarks = append(m.report.Remarks, busy)
	}
	parts := map[string]func(context.Context) error{
		"rates": m.rates, "lateness": m.lateness, "readiness": m.readiness, "idle": m.idleness, "sleepers": m.besideSleepers, "signatures": m.signatures,
	}
	for name := range strings.SplitSeq(o.parts, ",") {
		part, ok := parts[name]
		if !ok {
			return false, fmt.Errorf("there is no part %q", name)
		}
		if err := part(ctx); err != nil {
			return false, err
		}
	}
	return m.report.Print(stdout), nil
}
