package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"waybill.dev/emulator"
)

const emulatorUsage = `Usage: waybill emulator [FLAG...]

Runs Cloud Tasks, Pub/Sub and an issuer of ID tokens on one port, over gRPC and
HTTP, until it is interrupted. It prints what to export, so that Google's clients
and Waybill use it, and each delivery that fails. The keys are kept in FILE, so that
key files outlive a restart; everything else is in memory, unless --data says where
to keep it.
`

// shutdownGrace is how long deliveries in flight may take to end. Docker, for one, kills after ten seconds.
const shutdownGrace = 8 * time.Second

func runEmulator(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags, f := emulatorFlags()
	if code, ok := parse(flags, args, emulatorUsage, stdout, stderr, emulatorSections()...); !ok {
		return code
	}
	f.config.Logger = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{ReplaceAttr: shortTime}))
	failed := func(err error) int {
		fmt.Fprintf(stderr, "waybill emulator: %s\n", inFlags(err))
		return exitFailed
	}

	if err := f.addResources(); err != nil {
		return failed(err)
	}
	defer runtime.KeepAlive(newBallast())
	e, err := emulator.Start(ctx, f.config)
	if err != nil {
		return failed(err)
	}
	defer e.Close()
	w := welcome{emulator: e, config: f.config, services: f.services}
	if err := w.open(ctx, f.gates, f.metadata); err != nil {
		return failed(err)
	}
	if f.quiet {
		fmt.Fprintln(stdout, e.Addr())
	} else {
		w.print(ctx, stdout)
	}
	<-ctx.Done()

	if !f.quiet {
		fmt.Fprintf(stdout, "\nStopping. Deliveries in flight have %v to end; another Ctrl-C ends at once.\n", f.grace)
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.grace)
	defer cancel()
	// What was cut off is among the leftovers: it is no failure.
	if err := e.Shutdown(grace); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		fmt.Fprintf(stderr, "waybill emulator: stopping: %v\n", err)
		return exitFailed
	}
	if !f.quiet {
		fmt.Fprintf(stdout, "Stopped. %v\n", e.Leftovers())
	}
	return exitOK
}

// resource is a resource's place in a Config. Its name follows, by which it is found in a flag or a file.
var resource = regexp.MustCompile(`Config\.Resources\.(Schema|Topic|Subscription|Queue)s\[[0-9]+\]`)

// inFlags says what is wrong with a Config in words of the command line.
func inFlags(err error) string {
	words := strings.NewReplacer(
		"Config.Listen", "--listen",
		"Config.Project", "--project",
		"Config.Location", "--location",
		"Config.Keys", "--keys",
		"Config.Data", "--data",
		"Config.PubSubUpstream", "--pubsub-upstream",
		"Config.Hosts", "--host",
		"Config.AllowNonLoopback", "--allow-non-loopback",
		"Config.AppEngine", "--app-engine",
		"Config.QueueTombstone", "--queue-tombstone",
		"Config.TaskTombstone", "--task-tombstone",
		"set AllowNonLoopback", "add --allow-non-loopback",
		"Config.Resources cannot have schemas, topics or subscriptions", "schemas, topics and subscriptions cannot be created",
		"GateConfig.Service", "--gate service",
		"GateConfig.Target", "--gate target",
		"GateConfig.Listen", "--gate listen",
		"GateConfig.Audiences", "--gate audience",
	)
	lines := strings.Split(err.Error(), "\n")
	for i, line := range lines {
		line = resource.ReplaceAllStringFunc(strings.TrimPrefix(line, "emulator: "), func(field string) string {
			return strings.ToLower(resource.ReplaceAllString(field, "$1"))
		})
		lines[i] = words.Replace(line)
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
