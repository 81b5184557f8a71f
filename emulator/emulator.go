package emulator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"waybill.dev/emulator/internal/clock"
	"waybill.dev/emulator/internal/cloudtasks"
	"waybill.dev/emulator/internal/faults"
	"waybill.dev/emulator/internal/gate"
	"waybill.dev/emulator/internal/issuer"
	"waybill.dev/emulator/internal/oneport"
	"waybill.dev/emulator/internal/pubsub"
	"waybill.dev/emulator/internal/rest"
	"waybill.dev/emulator/internal/sideport"
	"waybill.dev/emulator/internal/store"
)

// Emulator is a running emulator. Use [Start]. It is safe for concurrent use.
type Emulator struct {
	config    Config
	addr      string
	clock     *clock.Clock
	store     *store.Store // nil: everything is in memory
	issuer    *issuer.Issuer
	tasks     *cloudtasks.Engine
	topics    topics
	faults    faults.Set        // of deliveries
	transport http.RoundTripper // ours to close, or nil
	methods   methods
	port      *oneport.Port
	grpc      *grpc.Server
	http      *http.Server
	serving   sync.WaitGroup
	services  gate.Services
	metadata  metadataServers

	patience context.Context // ends when work in flight must be cut off
	hurry    context.CancelFunc
	stop     func() error // stops once; later callers wait for it
	stopping atomic.Bool  // from the first moment of the end

	resetting sync.Mutex // held by Reset
	skipping  sync.Mutex // held by Skip

	leftMu sync.Mutex
	left   Leftovers
}

// topics is Pub/Sub: the Emulator's own engine, or Google's emulator behind a proxy.
type topics interface {
	Register(grpc.ServiceRegistrar)
	Load() error
	Start()
	Reset()
	NextDelivery() (time.Time, bool)
	Unacknowledged() int
	Drain()
	Close(ctx context.Context) error
}

// Start returns an Emulator that accepts connections. The context bounds the start, not the
// Emulator's life: call [Emulator.Close] or [Emulator.Shutdown].
//
// It fails when the Config is wrong, reporting every problem, and when the address cannot be
// listened on; a port in use matches [syscall.EADDRINUSE].
func Start(ctx context.Context, config Config) (*Emulator, error) {
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return nil, err
	}
	base, err := sideport.Listen(ctx, config.Listen)
	if err != nil {
		return nil, err
	}

	e := &Emulator{config: config, addr: sideport.Reachable(base.Addr()), clock: clock.New(), grpc: newGRPCServer(config.Logger)}
	e.issuer, err = issuer.New(issuer.Config{
		URL:      e.URL(),
		Project:  config.Project,
		Location: config.Location,
		Account:  config.MetadataAccount,
		Keys:     config.Keys,
		Logger:   config.Logger,
	})
	if err != nil {
		return nil, errors.Join(err, base.Close())
	}
	if e.store, err = openData(config, e.clock); err != nil {
		e.issuer.Close()
		return nil, errors.Join(err, base.Close())
	}
	client := &http.Client{Transport: e.faults.Transport(config.Transport)}
	if config.Transport == nil {
		e.transport = newTransport()
		client.Transport = e.faults.Transport(e.transport)
	}
	e.tasks = cloudtasks.New(cloudtasks.Config{
		Clock:           e.clock,
		Signer:          e.issuer,
		HTTPClient:      client,
		Store:           e.store,
		Logger:          config.Logger,
		Location:        config.Location,
		AppEngine:       config.AppEngine,
		QueueTombstone:  config.QueueTombstone,
		TaskTombstone:   config.TaskTombstone,
		StrictTokens:    config.StrictTokens,
		FollowRedirects: config.FollowRedirects,
	})
	if config.PubSubUpstream == "" {
		e.topics = pubsub.New(pubsub.Config{Clock: e.clock, Signer: e.issuer, HTTPClient: client, Store: e.store, Logger: config.Logger})
	} else if e.topics, err = newUpstream(e, config, client); err != nil {
		e.issuer.Close()
		return nil, errors.Join(err, e.tasks.Close(ctx), e.store.Close(), base.Close())
	}
	overHTTP := rest.New(rest.Config{Logger: config.Logger})
	for _, registrar := range []grpc.ServiceRegistrar{e.grpc, overHTTP, &e.methods} {
		e.tasks.Register(registrar)
		e.topics.Register(registrar)
	}
	e.tasks.RegisterREST(overHTTP)
	if err = e.tasks.Load(); err == nil {
		err = e.topics.Load()
	}
	if err == nil {
		err = e.methods.create(ctx, config)
	}
	if err != nil {
		err = errors.Join(err, e.tasks.Close(ctx), e.topics.Close(ctx), e.store.Close(), base.Close())
		e.issuer.Close()
		return nil, err
	}
	e.http = &http.Server{
		Handler:           e.handler(config, overHTTP),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(config.Logger.Handler(), slog.LevelWarn),
	}
	// The Emulator's life is not the start's, so neither is its context.
	e.patience, e.hurry = context.WithCancel(context.WithoutCancel(ctx))
	e.stop = sync.OnceValue(e.stopAll)
	e.serve(base, config.Logger)
	e.tasks.Start()
	e.topics.Start()
	return e, nil
}

func (e *Emulator) serve(base net.Listener, logger *slog.Logger) {
	e.port = oneport.Split(base, 0)
	e.serving.Go(func() {
		if err := e.grpc.Serve(e.port.GRPC()); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			logger.Error("emulator: gRPC ended", "error", err)
		}
	})
	e.serving.Go(func() {
		if err := e.http.Serve(e.port.HTTP()); err != nil && !errors.Is(err, http.ErrServerClosed) {
			logger.Error("emulator: HTTP ended", "error", err)
		}
	})
}

// newTransport makes the transport of deliveries. It connects straight to the target: what is
// sent to a colleague's service should not depend on HTTP_PROXY.
func newTransport() *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 512,
		IdleConnTimeout:     90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second,
		DisableCompression:  true, // the real services do not ask for it

		MaxResponseHeaderBytes: 64 << 10, // a receiver that sends headers without end is given up soon
	}
}

// Reset forgets every queue, task, topic, subscription and message, removes every fault, and breaks off deliveries in
// flight; when it returns, none is left, and Config.Resources are there anew. Keys, tokens, gates, connections and the
// clock stay.
func (e *Emulator) Reset() {
	if err := e.reset(); err != nil {
		e.config.Logger.Error("emulator: resources are missing after a reset", "error", err)
	}
}

// reset is Reset. Its error is about Config.Resources, which were good at the start: the disk of Config.Data may be full.
func (e *Emulator) reset() error {
	e.resetting.Lock()
	defer e.resetting.Unlock()
	e.faults.Clear()
	e.tasks.Reset()
	e.topics.Reset()
	if e.stopping.Load() {
		return nil // nothing can be created any more
	}
	return e.methods.create(context.WithoutCancel(e.patience), e.config)
}

// Shutdown stops the Emulator: no new deliveries, then the tasks and pushes in flight end, then the requests at
// gates, then the calls in flight. When ctx is done first, they are cut off, and Shutdown returns the context's error.
// Streams and pulls end once the deliveries have. What was not done stays queued, as [Emulator.Leftovers] says.
// Shutdown returns when everything has stopped and may be called twice.
func (e *Emulator) Shutdown(ctx context.Context) error {
	defer context.AfterFunc(ctx, e.hurry)()
	err := e.stop()
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("emulator: work in flight was cut off: %w", ctx.Err())
	}
	return err
}

// Close is [Emulator.Shutdown] without patience: what is in flight is cut off.
func (e *Emulator) Close() error {
	e.hurry()
	if err := e.stop(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// stopAll stops everything, in an order that lets a receiver finish its work: while deliveries end, it
// can still fetch keys and create tasks.
func (e *Emulator) stopAll() error {
	defer e.hurry()
	e.stopping.Store(true)
	errs := []error{e.stopDeliveries()}
	errs = append(errs, e.services.Shutdown(e.patience))

	stopGRPC := context.AfterFunc(e.patience, e.grpc.Stop)
	e.grpc.GracefulStop()
	stopGRPC()
	if err := e.http.Shutdown(e.patience); err != nil {
		errs = append(errs, err, e.http.Close())
	}
	errs = append(errs, e.metadata.shutdown(e.patience), e.port.Close())
	e.serving.Wait()
	e.clock.Close()
	e.issuer.Close()
	if t, ok := e.transport.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
	return errors.Join(append(errs, e.store.Close())...)
}

// stopDeliveries lets the deliveries in flight end, while there is patience, and counts what is left.
func (e *Emulator) stopDeliveries() error {
	e.tasks.Drain()
	e.topics.Drain()
	inFlight := e.clock.Busy()
	impatient := e.clock.Idle(e.patience)
	left := Leftovers{CutOff: e.clock.Busy(), Messages: e.topics.Unacknowledged()}
	left.Finished = max(inFlight-left.CutOff, 0)

	// Neither needs patience any more: what is still in flight is broken off at once.
	done, cancel := context.WithCancel(context.WithoutCancel(e.patience))
	cancel()
	_ = e.tasks.Close(done) // its only error is that it did
	err := e.topics.Close(context.WithoutCancel(e.patience))
	left.Tasks, left.Kept = e.tasks.Tasks(), e.store != nil

	e.leftMu.Lock()
	defer e.leftMu.Unlock()
	e.left = left
	return errors.Join(impatient, err)
}
