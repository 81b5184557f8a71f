package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2 // the command line itself is wrong, as in package flag
)

// maxShownArgument is the length, in bytes, up to which an argument is repeated in an error. What is longer may be a token.
const maxShownArgument = 40

// A command runs until it is done or ctx ends.
type command struct {
	name    string
	summary string
	run     func(ctx context.Context, args []string, stdout, stderr io.Writer) int
}

func commands() []command {
	return []command{
		{"emulator", "run Cloud Tasks, Pub/Sub and a token issuer on this machine", runEmulator},
		{"dead", "list and replay the messages that their receivers gave up", runDead},
		{"token", "explain why an ID token is accepted or refused", runToken},
		{"version", "print the version", runVersion},
		{"help", "print this, or the help of a command", runHelp},
	}
}

// run is the whole program, but for signals and the end of the process.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		printUsage(stderr)
		return exitUsage
	}
	name := args[0]
	if name == "-h" || name == "-help" || name == "--help" {
		name = "help"
	}
	if c, ok := commandNamed(name); ok {
		return c.run(ctx, args[1:], stdout, stderr)
	}
	fmt.Fprintf(stderr, "waybill: there is no command %q; run: waybill help\n", name)
	return exitUsage
}

func commandNamed(name string) (command, bool) {
	for _, c := range commands() {
		if c.name == name {
			return c, true
		}
	}
	return command{}, false
}

// newFlags returns an empty set whose errors and usage are left to parse.
func newFlags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	return flags
}

// parse reads flags, and nothing but flags. If it returns false the command ends with code.
// The help shows the flags by section, where there are any.
func parse(flags *flag.FlagSet, args []string, usage string, stdout, stderr io.Writer, sections ...section) (code int, ok bool) {
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		printFlags(stdout, flags, usage, sections)
		return exitOK, false
	}
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
		if len(flags.Arg(0)) > maxShownArgument {
			err = errors.New("an argument too many, too long to be a word of a command line; is it a secret?")
		}
	}
	if err != nil {
		fmt.Fprintf(stderr, "waybill %s: %s; run: waybill help %[1]s\n", flags.Name(), twoHyphens(err))
		return exitUsage, false
	}
	return exitOK, true
}

// Package flag writes -name where our help writes --name. What stands in quotes is the user's own.
var flagInError = regexp.MustCompile(`^(flag provided but not defined: |flag needs an argument: |invalid (?:boolean )?value "(?:[^"\\]|\\.)*" for (?:flag )?)-`)

func twoHyphens(err error) string { return flagInError.ReplaceAllString(err.Error(), "${1}--") }

// section is a group of flags in a help.
type section struct {
	title string
	flags []string
}

// printFlags prints the flags by section, or in the order of the alphabet if there are none.
func printFlags(w io.Writer, flags *flag.FlagSet, usage string, sections []section) {
	fmt.Fprint(w, usage)
	if len(sections) == 0 {
		all := section{title: "Flags"}
		flags.VisitAll(func(f *flag.Flag) { all.flags = append(all.flags, f.Name) })
		if len(all.flags) > 0 {
			sections = []section{all}
		}
	}
	for _, s := range sections {
		fmt.Fprintf(w, "\n%s:\n", s.title)
		for _, name := range s.flags {
			printFlag(w, flags.Lookup(name))
		}
	}
}

func printFlag(w io.Writer, f *flag.Flag) {
	kind, text := flag.UnquoteUsage(f)
	fmt.Fprintf(w, "  %s\n        %s", strings.TrimSpace("--"+f.Name+" "+kind), text)
	if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0s" {
		fmt.Fprintf(w, " (default %s)", f.DefValue)
	}
	fmt.Fprintln(w)
}
