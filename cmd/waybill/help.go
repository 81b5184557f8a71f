package main

import (
	"context"
	"fmt"
	"io"
)

func runHelp(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 || args[0] == "help" {
		printUsage(stdout)
		return exitOK
	}
	c, ok := commandNamed(args[0])
	if !ok {
		fmt.Fprintf(stderr, "waybill: there is no command %q; run: waybill help\n", args[0])
		return exitUsage
	}
	return c.run(ctx, []string{"--help"}, stdout, stderr)
}

func printUsage(w io.Writer) {
	fmt.Fprint(w, "Waybill sends messages between services on Google Cloud, and on your machine.\n\nUsage: waybill COMMAND [FLAG...]\n\nCommands:\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-9s %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "\nwaybill help COMMAND says more about one.\n")
}
