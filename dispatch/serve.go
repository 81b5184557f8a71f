package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"waybill.dev/internal/endpoint"
)

// ListenAndServe checks the handlers, serves them and drains.
//
// It listens on PORT on Cloud Run; elsewhere on the environment's listen address for the service, or on the host and port
// of its URL if that is loopback. Listening beyond loopback outside Cloud Run takes an explicit listen address.
//
// When ctx ends, at SIGTERM or SIGINT, or once Shutdown was called, it shuts the Dispatcher down within Config.ShutdownGrace and returns nil if
// all went well; see [Dispatcher.Shutdown] for the order. Connections stay open until then, so that [ReadyPath] can be asked and whoever
// comes is told to come again. A second signal ends the process at once, with one line in the log: it dies of the signal, as if
// nobody had caught it.
func (d *Dispatcher) ListenAndServe(ctx context.Context) error {
	if err := d.Check(); err != nil {
		return err
	}
	address, err := d.listenAddress(os.Getenv(envPort), onCloudRun())
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("dispatch: service %q cannot listen on %s; stop what uses it, or set another \"listen\" address: %w", d.service.name, address, err)
	}
	return d.Serve(ctx, l)
}

// Serve is ListenAndServe on a listener of the caller's, which it closes.
func (d *Dispatcher) Serve(ctx context.Context, l net.Listener) error {
	if err := d.Check(); err != nil {
		return errors.Join(err, l.Close())
	}
	told, stop := d.watchSignals(ctx)
	defer stop()
	server := &http.Server{
		Handler:           d,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       10 * time.Minute, // longer than a load balancer's, which must be the one to close
		ErrorLog:          slog.NewLogLogger(d.log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1) // gets an error unless the server was shut down, and is closed at its end
	go func() {
		defer close(served)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			served <- err
		}
	}()
	d.log.InfoContext(ctx, "serving", slog.String("address", l.Addr().String()))

	var problem error
	select {
	case problem = <-served:
	case <-d.draining: // somebody called Shutdown
	case <-told:
	case <-ctx.Done():
	}
	d.log.InfoContext(ctx, "draining", slog.Duration("grace", d.grace))
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.grace)
	defer cancel()
	if err := d.Shutdown(grace); err != nil {
		problem = errors.Join(problem, err)
	}
	if err := server.Shutdown(grace); err != nil {
		problem = errors.Join(problem, fmt.Errorf("connections were cut: %w", err), server.Close())
	}
	for err := range served { // waits for the server's goroutine
		problem = errors.Join(problem, err)
	}
	if problem != nil {
		return fmt.Errorf("dispatch: serving %s: %w", d.service, problem)
	}
	return nil
}

// listenAddress is where the service listens.
func (d *Dispatcher) listenAddress(port string, cloudRun bool) (string, error) {
	own := d.env.Service(d.service.app, d.service.name)
	if own.Listen != "" {
		return own.Listen, nil
	}
	if cloudRun {
		return ":" + firstOf(port, "8080"), nil
	}
	u, err := url.Parse(own.URL)
	if err != nil || !endpoint.Loopback(u.Hostname()) {
		return "", fmt.Errorf("dispatch: nothing says where service %q listens; set \"listen\" for it in the environment, such as 127.0.0.1:8080, "+
			"or 0.0.0.0:8080 to be reached from other machines", d.service.name)
	}
	return net.JoinHostPort(u.Hostname(), firstOf(u.Port(), "80")), nil
}
