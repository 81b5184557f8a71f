package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"waybill.dev/emulator"
)

const emulatorUsage = `Usage: waybill emulator [FLAG...]

Runs Cloud Tasks, Pub/Sub and an issuer of ID tokens on one port, over gRPC and
HTTP, until it is interrupted. It prints what to export, so that Google's clients
and Waybill use it, and each delivery that fails. Everything is in memory but for
the keys, which are kept in FILE, so that key files outlive a restart.
`

// shutdownGrace is how long deliveries in flight may take to end.
const shutdownGrace = 10 * time.Second

func runEmulator(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := newFlags("emulator")
	var (
		config   emulator.Config
		services services
		quiet    bool
	)
	flags.StringVar(&config.Listen, "listen", "127.0.0.1:8085", "`HOST:PORT` to listen on; port 0 picks a free one")
	flags.StringVar(&config.Project, "project", "waybill-local", "project `ID` of the metadata server and of the accounts")
	flags.StringVar(&config.Location, "location", "us-central1", "location `ID` of the metadata server")
	flags.StringVar(&config.Keys, "keys", defaultKeys(), "`FILE` that keeps the keys; empty for new keys each time")
	flags.StringVar(&config.PubSubUpstream, "pubsub-upstream", "", "`HOST:PORT` of Google's own Pub/Sub emulator, to pass Pub/Sub on to and sign its pushes")
	flags.Var(&services, "service", "`NAME=URL` of a service of yours, for a WAYBILL_ENV to export; may be repeated")
	flags.BoolVar(&quiet, "quiet", false, "print the address alone, and deliveries that fail")
	flags.BoolVar(&config.AllowNonLoopback, "allow-non-loopback", false, "let other machines reach it: they may have any token and send requests from here")
	flags.Func("host", "further `NAME` by which clients reach it over HTTP, as that of a container; may be repeated", func(name string) error {
		config.Hosts = append(config.Hosts, name)
		return nil
	})
	if code, ok := parse(flags, args, emulatorUsage, stdout, stderr); !ok {
		return code
	}
	config.Logger = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{ReplaceAttr: shortTime}))

	e, err := emulator.Start(ctx, config)
	if err != nil {
		fmt.Fprintf(stderr, "waybill emulator: %s\n", inFlags(err))
		return exitFailed
	}
	defer e.Close()
	if quiet {
		fmt.Fprintln(stdout, e.Addr())
	} else {
		welcome{e, config, services}.print(ctx, stdout)
	}
	<-ctx.Done()

	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if err := e.Shutdown(grace); err != nil {
		fmt.Fprintf(stderr, "waybill emulator: stopping: %v\n", err)
		return exitFailed
	}
	if !quiet {
		fmt.Fprintln(stdout, "\nStopped.")
	}
	return exitOK
}

// inFlags says what is wrong with a Config in words of the command line.
func inFlags(err error) string {
	words := strings.NewReplacer(
		"Config.Listen", "--listen",
		"Config.Project", "--project",
		"Config.Location", "--location",
		"Config.Keys", "--keys",
		"Config.PubSubUpstream", "--pubsub-upstream",
		"Config.Hosts", "--host",
		"Config.AllowNonLoopback", "--allow-non-loopback",
		"set AllowNonLoopback", "add --allow-non-loopback",
	)
	lines := strings.Split(err.Error(), "\n")
	for i, line := range lines {
		lines[i] = words.Replace(strings.TrimPrefix(line, "emulator: "))
	}
	return strings.Join(lines, "\nwaybill emulator: ")
}

// defaultKeys is in the user's own cache folder; without one the keys are new each time.
func defaultKeys() string {
	folder, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(folder, "waybill", "emulator-keys.pem")
}

// shortTime leaves out the date: who reads these lines is at the terminal.
func shortTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.String(a.Key, a.Value.Time().Format("15:04:05.000"))
	}
	return a
}
