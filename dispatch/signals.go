package dispatch

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// watchSignals closes told at the first SIGTERM or SIGINT, and ends the process at the second, until stop.
//
// Both are counted from here on, whatever else has ended ctx by then: a main function that cancels it at the first signal sees
// the same signal.
func (d *Dispatcher) watchSignals(ctx context.Context) (told <-chan struct{}, stop func()) {
	signals := make(chan os.Signal, 2) // one more while the first is being looked at
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	first, done := make(chan struct{}), make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case s := <-signals:
			d.log.InfoContext(ctx, "told to stop", slog.String("signal", s.String()))
			close(first)
		case <-done:
			return
		}
		select {
		case s := <-signals:
			d.log.ErrorContext(ctx, "told to stop a second time: ending at once; what ran will be delivered again", slog.String("signal", s.String()))
			die(s)
		case <-done:
		}
	})
	return first, sync.OnceFunc(func() {
		signal.Stop(signals)
		close(done)
		watching.Wait()
	})
}

// die ends the process by the signal that it was sent, so that its parent sees why. Where the kernel does not let it die of
// one, as the first process of a container, Go's runtime makes it exit with status 2.
func die(s os.Signal) {
	signal.Reset(s)
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Signal(s)
	}
	if err != nil {
		panic("the process cannot end itself: " + err.Error())
	}
	select {} // the signal is on its way
}
