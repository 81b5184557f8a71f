package pubsub

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // clients may compress what they publish

	"waybill.dev/emulator/internal/clock"
	"waybill.dev/emulator/internal/pubsub/endpoint"
)

// MaxRequestBytes is the largest request that the service takes. The gRPC server needs it as
// grpc.MaxRecvMsgSize, since gRPC's own default of 4 MiB refuses publishes that Pub/Sub accepts.
const MaxRequestBytes = 10_485_760

// Signer issues the ID tokens of pushes.
type Signer = endpoint.Signer

// Config configures a Service.
type Config struct {
	// Clock tells publish times and ends leases, backoffs and retention. Required; not closed by the Service.
	Clock *clock.Clock
	// Signer signs pushes that ask for a token. Nil: such pushes fail, and the log says why.
	Signer Signer
	// HTTPClient sends pushes. It never follows redirects, whatever its own policy, and the ack
	// deadline is the only timeout. Nil, or without a Transport: one of the Service's own, which
	// keeps enough idle connections.
	HTTPClient *http.Client
	// Logger reports pushes and dead letters that fail. Nil: slog.Default().
	Logger *slog.Logger
	// MaxPushRequests is the most pushes that one subscription has outstanding. Default 128.
	MaxPushRequests int
}

// Service is a Pub/Sub server in memory. Its methods are those of google.pubsub.v1's Publisher
// and Subscriber, for gRPC by [Service.Register] and for direct calls. All are safe for concurrent use.
type Service struct {
	pubsubpb.UnimplementedPublisherServer
	pubsubpb.UnimplementedSubscriberServer

	clock           *clock.Clock
	signer          Signer
	client          *http.Client
	ownClient       bool // whether its idle connections are ours to close
	logger          *slog.Logger
	maxPushRequests int

	lastMessage     atomic.Int64  // the number of the latest message id
	lastIncarnation atomic.Uint32 // tells subscriptions of one name apart

	ctx    context.Context // ends with the Service
	cancel context.CancelCauseFunc

	changes sync.Mutex // held while a subscription's configuration is changed; taken before mu

	mu            sync.RWMutex // guards the maps and topic.subscriptions; taken before the locks of topics and subscriptions
	topics        map[string]*topic
	subscriptions map[string]*subscription

	running group
}

// New returns a Service without topics.
func New(c Config) *Service {
	s := &Service{
		clock:           c.Clock,
		signer:          c.Signer,
		logger:          c.Logger,
		maxPushRequests: cmp.Or(c.MaxPushRequests, 128),
		topics:          make(map[string]*topic),
		subscriptions:   make(map[string]*subscription),
	}
	if s.logger == nil {
		s.logger = slog.Default()
	}
	s.client = endpoint.Client(c.HTTPClient, s.maxPushRequests)
	s.ownClient = c.HTTPClient == nil || c.HTTPClient.Transport == nil
	s.lastMessage.Store(max(s.clock.Now().UnixMicro()*10, 1e16)) // 17 digits, and higher after each start
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s
}

// Register makes the Service answer for Publisher and Subscriber on r.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	pubsubpb.RegisterPublisherServer(r, s)
	pubsubpb.RegisterSubscriberServer(r, s)
}

// Reset deletes every topic and subscription. Streams and waiting pulls end with NOT_FOUND, and
// pushes under way are given up.
func (s *Service) Reset() {
	s.mu.Lock()
	topics, subscriptions := s.topics, s.subscriptions
	s.topics = make(map[string]*topic)
	s.subscriptions = make(map[string]*subscription)
	s.mu.Unlock()
	for _, t := range topics {
		t.delete()
	}
	for _, sub := range subscriptions {
		sub.end(notFound(sub.name))
	}
}

// Close ends every stream, pull and push with UNAVAILABLE and returns once their goroutines have
// ended, or when ctx is done with its error. Later calls are refused. It may be called twice.
func (s *Service) Close(ctx context.Context) error {
	s.cancel(errClosed())
	s.running.close()
	s.mu.Lock()
	subscriptions := s.subscriptions
	s.subscriptions = make(map[string]*subscription)
	s.topics = make(map[string]*topic)
	s.mu.Unlock()
	for _, sub := range subscriptions {
		sub.end(errClosed())
	}
	select {
	case <-s.running.done():
	case <-ctx.Done():
		return errors.Join(errors.New("pubsub: close: streams or pushes are still running"), ctx.Err())
	}
	if s.ownClient {
		s.client.CloseIdleConnections()
	}
	return nil
}

// group counts goroutines and lets nobody in once it is closed.
type group struct {
	mu     sync.Mutex
	closed bool
	n      int
	ended  chan struct{} // closed when the group is closed and empty; nil until someone waits
}

// enter reports whether the caller may go on; if so it must call leave.
func (g *group) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.n++
	return true
}

func (g *group) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.n--
	if g.n == 0 && g.ended != nil {
		close(g.ended)
		g.ended = nil
	}
}

// run starts f in a goroutine of the group, unless the group is closed.
func (g *group) run(f func()) bool {
	if !g.enter() {
		return false
	}
	go func() {
		defer g.leave()
		f()
	}()
	return true
}

func (g *group) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

// done returns a channel that is closed once the closed group is empty.
func (g *group) done() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n == 0 {
		c := make(chan struct{})
		close(c)
		return c
	}
	if g.ended == nil {
		g.ended = make(chan struct{})
	}
	return g.ended
}
