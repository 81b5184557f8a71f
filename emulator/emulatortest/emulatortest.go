package emulatortest

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"waybill.dev/emulator"
)

// Patience is how long deliveries that are in flight at the end of a test may take to end.
const Patience = 5 * time.Second

// Start starts an emulator for the test, and stops it at the test's end. It ends the test when the config is wrong.
//
// Config.Listen is a free port by default, and Config.Logger the test's log.
func Start(t testing.TB, config emulator.Config) *emulator.Emulator {
	t.Helper()
	if config.Listen == "" {
		config.Listen = "127.0.0.1:0"
	}
	log := newLog(t)
	if config.Logger == nil {
		config.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
	}
	e, err := emulator.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		t.Helper()
		// The test's own context is over by now.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), Patience)
		defer cancel()
		err := e.Shutdown(ctx)
		log.end()
		switch left := e.Leftovers(); {
		case err == nil, errors.Is(err, context.Canceled): // the latter when the test has closed it, without patience
		case left.CutOff > 0:
			t.Errorf("emulatortest: deliveries still in flight at the end of the test: %d; does a receiver hang, or does the test not wait for them?", left.CutOff)
		default:
			t.Errorf("emulatortest: stopping the emulator: %v", err)
		}
	})
	return e
}

// Setenv points Google's clients in this process, and Waybill, at the emulator until the test's end, as
// [emulator.Emulator.Environ] lists. Like [testing.T.Setenv] it cannot be used in parallel tests.
//
// Google's Go client for Cloud Tasks reads no variable: give it the emulator's address.
func Setenv(t testing.TB, e *emulator.Emulator) {
	t.Helper()
	for _, variable := range e.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
}

// withoutTime leaves out what differs between two runs.
func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
