package measure

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// Options are what every measuring command takes.
type Options struct {
	Rounds  int
	Waybill Waybill
	Disk    string

	parts string
}

// Register adds the flags. Parts are the names of all that is measured, separated by commas.
func (o *Options) Register(flags *flag.FlagSet, rounds int, parts string) {
	flags.IntVar(&o.Rounds, "rounds", rounds, "how often each side runs")
	flags.StringVar((*string)(&o.Waybill), "waybill", "", "`FILE` of the built command; default: it is built first")
	flags.StringVar(&o.Disk, "disk", "", "`DIR` below which the durable emulator keeps its data; default: the one for temporary files")
	flags.StringVar(&o.parts, "parts", parts, "what is measured")
}

// Prepare builds the command and makes a directory, unless they were given. Clean removes what it has made.
func (o *Options) Prepare(ctx context.Context, progress io.Writer) (clean func(), err error) {
	work, err := os.MkdirTemp("", "measure-")
	if err != nil {
		return nil, err
	}
	clean = func() { _ = os.RemoveAll(work) } // a folder for temporary files
	if o.Disk == "" {
		o.Disk = work
	}
	if o.Waybill == "" {
		if o.Waybill, err = build(ctx, work, progress); err != nil {
			clean()
			return nil, err
		}
	}
	return clean, nil
}

// Measure runs the parts that were asked for.
func (o *Options) Measure(ctx context.Context, progress io.Writer, parts map[string]func(context.Context) error) error {
	for name := range strings.SplitSeq(o.parts, ",") {
		part, ok := parts[name]
		if !ok {
			return fmt.Errorf("there is no part %q", name)
		}
		fmt.Fprintln(progress, name)
		if err := part(ctx); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// Status is a command's exit status. It prints the error, if there is one.
func Status(stderr io.Writer, command string, met bool, err error) int {
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", command, err)
	}
	if err != nil || !met {
		return 1
	}
	return 0
}
