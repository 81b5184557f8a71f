// Command demo runs five services and the emulator in one process, and shows what Waybill does: messages that go three
// ways, and callers that are refused.
//
//	go run ./cmd/demo         tell the story, then stay up to be tried by hand
//	go run ./cmd/demo -once   tell the story and exit: 0 only if all of it happened
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"
)

// storyTime is how long the whole story may take.
const storyTime = 15 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr, term.IsTerminal(int(os.Stdout.Fd())))
	stop()
	os.Exit(code)
}

// run is main without the process around it. It returns the exit code: 0, 1 for a story that went wrong, 2 for bad flags.
func run(ctx context.Context, args []string, stdout, stderr io.Writer, terminal bool) int {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	once := flags.Bool("once", false, "tell the story and exit; 0 only if all of it happened")
	asJSON := flags.Bool("json", false, "print the events as JSON lines")
	listen := flags.String("listen", "127.0.0.1:0", "the emulator's `address`; port 0 picks a free one")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "demo: unknown argument %q; see demo -h\n", flags.Arg(0))
		return 2
	}
	out := newPrinter(stdout, *asJSON, terminal && os.Getenv("NO_COLOR") == "")
	ok, err := demo(ctx, out, *listen, *once)
	switch {
	case err != nil && ctx.Err() == nil:
		fmt.Fprintf(stderr, "demo: %v\n", err)
		return 1
	case !ok:
		return 1
	}
	return 0
}

// demo starts the shop, tells the story, and, unless once, stays up until ctx ends.
func demo(ctx context.Context, out printer, listen string, once bool) (ok bool, err error) {
	stage := newStage(out)
	shop, err := openShop(ctx, stage, listen)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, shop.close()) }()
	out.opening(shop.opening())

	telling, cancel := context.WithTimeout(ctx, storyTime)
	results := tell(telling, stage, shop)
	cancel()
	if ctx.Err() != nil {
		return false, nil
	}
	ok = out.table(results)
	if once {
		return ok, nil
	}
	out.closing(shop.byHand())
	<-ctx.Done()
	return ok, nil
}
