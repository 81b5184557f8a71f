package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"waybill.dev/dispatch/dead"
)

const deadUsage = `Usage: waybill dead list               [--route ROUTE] [FLAG...]
       waybill dead show ID            [--route ROUTE] [--body] [FLAG...]
       waybill dead replay ID|--all    [--route ROUTE] [--dry-run] [FLAG...]
       waybill dead discard ID         [--route ROUTE] [FLAG...]

Shows the messages that their receivers gave up, and sends them again: each to the
route that it came from, with its ID. Looking leaves them where they are. A letter is
removed once its replay was accepted, or by discard, for good.

It looks where WAYBILL_ENV or the emulators' variables say, and learns about the routes
from the labels that dispatch/deploy sets. On Google Cloud it uses your own credentials
(gcloud auth application-default login). The exit status is 1 if anything failed.
`

// deadOptions are the flags of all verbs.
type deadOptions struct {
	app, route             string
	limit                  int
	wait                   time.Duration
	body, all, dry, asJSON bool
}

// deadVerb is one of the things to do with dead letters.
type deadVerb struct {
	flags  []string // those that not every verb has
	takeID bool
	run    func(ctx context.Context, c *dead.Client, id string, o deadOptions, stdout, stderr io.Writer) error
}

func deadVerbs() map[string]deadVerb {
	return map[string]deadVerb{
		"list":    {flags: []string{"limit"}, run: deadList},
		"show":    {flags: []string{"body", "limit"}, takeID: true, run: deadShow},
		"replay":  {flags: []string{"all", "dry-run"}, takeID: true, run: deadReplay},
		"discard": {takeID: true, run: deadDiscard},
	}
}

func runDead(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	name, args := word1(args)
	id, args := word1(args)
	flags := newFlags("dead")
	var o deadOptions
	flags.StringVar(&o.app, "app", "", "name of the `APP`; needed if the project has several")
	flags.StringVar(&o.route, "route", "", "only the task or subscription `ROUTE`")
	flags.IntVar(&o.limit, "limit", 0, "read at most `N` dead letters of each route; 0 stands for 1000")
	flags.DurationVar(&o.wait, "wait", 0, "a route is read when nothing came for this `TIME`; 0s stands for 3s, and for none on an emulator")
	flags.BoolVar(&o.body, "body", false, "print the message's body, too")
	flags.BoolVar(&o.all, "all", false, "replay all dead letters, or all of the route")
	flags.BoolVar(&o.dry, "dry-run", false, "say what would be sent, and send nothing")
	flags.BoolVar(&o.asJSON, "json", false, "print JSON")
	if code, ok := parse(flags, args, deadUsage, stdout, stderr); !ok {
		return code
	}
	verb, err := deadVerbOf(name, id, flags, o)
	if err != nil {
		fmt.Fprintf(stderr, "waybill dead: %v; run: waybill help dead\n", err)
		return exitUsage
	}
	if err := withLetters(ctx, o, func(c *dead.Client) error { return verb.run(ctx, c, id, o, stdout, stderr) }); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintf(stderr, "waybill dead %s: %s\n", name, printable(strings.TrimPrefix(line, "dead: ")))
		}
		return exitFailed
	}
	return exitOK
}

// word1 takes an argument that is no flag.
func word1(args []string) (string, []string) {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return "", args
	}
	return args[0], args[1:]
}

// deadVerbOf finds the verb, and what is wrong with its arguments.
func deadVerbOf(name, id string, flags *flag.FlagSet, o deadOptions) (deadVerb, error) {
	verb, ok := deadVerbs()[name]
	switch {
	case name == "":
		return verb, errors.New("say what to do: list, show, replay or discard")
	case !ok:
		return verb, fmt.Errorf("there is no %q; say list, show, replay or discard", name)
	case id != "" && !verb.takeID:
		return verb, fmt.Errorf("unexpected argument %q", id)
	case name == "replay" && (id == "") != o.all:
		return verb, errors.New("say what to replay: an ID or --all, and not both")
	case id == "" && verb.takeID && !o.all:
		return verb, fmt.Errorf("say which: waybill dead %s ID", name)
	case o.limit < 0 || o.wait < 0:
		return verb, errors.New("--limit and --wait are 0 at least")
	}
	var err error
	flags.Visit(func(f *flag.Flag) {
		if !slices.Contains(append([]string{"app", "route", "json", "wait"}, verb.flags...), f.Name) {
			err = fmt.Errorf("--%s is not for %s", f.Name, name)
		}
	})
	return verb, err
}

// withLetters opens the dead letters of the environment that this process runs in.
func withLetters(ctx context.Context, o deadOptions, do func(*dead.Client) error) (err error) {
	c, err := dead.OpenDeployed(ctx, o.app, dead.Config{Wait: o.wait})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	return do(c)
}

func deadList(ctx context.Context, c *dead.Client, _ string, o deadOptions, stdout, stderr io.Writer) error {
	listing, err := c.List(ctx, dead.Query{Route: o.route, Limit: o.limit})
	if listing.More {
		fmt.Fprintln(stderr, "waybill dead list: not all were read; name a --route, or raise --limit")
	}
	if o.asJSON {
		return errors.Join(err, printJSON(stdout, lettersJSON(listing.Letters, false)))
	}
	if err == nil && len(listing.Letters) == 0 {
		fmt.Fprintf(stderr, "app %s has no dead letters\n", c.App())
	}
	return errors.Join(err, printLetters(stdout, listing.Letters))
}

func deadShow(ctx context.Context, c *dead.Client, id string, o deadOptions, stdout, _ io.Writer) error {
	listing, err := c.List(ctx, dead.Query{Route: o.route, ID: id, Limit: o.limit})
	if err == nil && len(listing.Letters) == 0 {
		_, err = c.Find(ctx, o.route, id) // it says why, or has it by now
	}
	if err != nil {
		return err
	}
	if o.asJSON {
		return printJSON(stdout, lettersJSON(listing.Letters, o.body))
	}
	for i := range listing.Letters {
		printLetter(stdout, &listing.Letters[i], o.body)
	}
	return nil
}

func deadReplay(ctx context.Context, c *dead.Client, id string, o deadOptions, stdout, stderr io.Writer) error {
	do, verb := c.Replay, "replayed"
	if o.dry {
		do, verb = c.Preview, "would replay"
	}
	results, err := do(ctx, dead.Query{Route: o.route, ID: id})
	switch {
	case o.asJSON:
		err = errors.Join(err, printJSON(stdout, resultsJSON(results)))
	default:
		printResults(stdout, verb, results)
	}
	if err == nil && len(results) == 0 {
		if id != "" {
			return fmt.Errorf("%w %s: it may be sent again by now, or somebody else looks at it", dead.ErrNotFound, id)
		}
		fmt.Fprintf(stderr, "app %s has no dead letters there\n", c.App())
	}
	return err
}

func deadDiscard(ctx context.Context, c *dead.Client, id string, o deadOptions, stdout, _ io.Writer) error {
	l, err := c.Find(ctx, o.route, id)
	if err != nil {
		return err
	}
	if err := c.Discard(ctx, l.Route, l.ID); err != nil {
		return err
	}
	if o.asJSON {
		return printJSON(stdout, lettersJSON([]dead.Letter{l}, false))
	}
	fmt.Fprintf(stdout, "discarded %s %s\n", l.Route, printable(l.ID))
	return nil
}
