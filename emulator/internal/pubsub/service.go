package pubsub

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"

	"cloud.google.com/go/iam/apiv1/iampb"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // clients may compress what they publish

	"waybill.dev/emulator/internal/clock"
	"waybill.dev/emulator/internal/iam"
	"waybill.dev/emulator/internal/pubsub/endpoint"
	"waybill.dev/emulator/internal/store"
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
	// Store keeps everything, for [Service.Load] in the next process. Nil: it ends with this one. Close it after the Service.
	Store *store.Store
	// MaxPushRequests is the most pushes that one subscription has outstanding. Default 128.
	MaxPushRequests int
}

// Service is a Pub/Sub server. Its methods are those of google.pubsub.v1's Publisher,
// Subscriber and SchemaService and of google.iam.v1's IAMPolicy, for gRPC by [Service.Register] and
// for direct calls. All are safe for concurrent use.
type Service struct {
	pubsubpb.UnimplementedPublisherServer
	pubsubpb.UnimplementedSubscriberServer
	pubsubpb.UnimplementedSchemaServiceServer
	iampb.UnimplementedIAMPolicyServer

	clock           *clock.Clock
	signer          Signer
	client          *http.Client
	ownClient       bool // whether its idle connections are ours to close
	logger          *slog.Logger
	maxPushRequests int
	journal         journal

	numbers         numbers
	lastIncarnation atomic.Uint32 // tells subscriptions of one name apart, and those of one process from those of the next

	draining atomic.Bool // no more pushes are started

	ctx    context.Context // ends with the Service
	cancel context.CancelCauseFunc

	changes sync.Mutex // held while a subscription's configuration is changed; taken before mu

	mu            sync.RWMutex // guards the maps and what they link; taken before the locks of topics and subscriptions
	topics        map[string]*topic
	subscriptions map[string]*subscription
	snapshots     map[string]*snapshot
	schemas       map[string]*schemaResource

	policies iam.Policies

	running group
}

// New returns a Service without topics; [Service.Load] brings back those in the Store.
func New(c Config) *Service {
	s := &Service{
		clock:           c.Clock,
		signer:          c.Signer,
		logger:          c.Logger,
		maxPushRequests: cmp.Or(c.MaxPushRequests, 128),
		journal:         journal{c.Store},
		numbers:         numbers{journal: journal{c.Store}},
	}
	s.forgetAll()
	if s.logger == nil {
		s.logger = slog.Default()
	}
	s.client = endpoint.Client(c.HTTPClient, s.maxPushRequests)
	s.ownClient = c.HTTPClient == nil || c.HTTPClient.Transport == nil
	s.numbers.start(s.clock.Now(), 0)
	s.lastIncarnation.Store(rand.Uint32())
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s
}

// Register makes the Service answer for Publisher, Subscriber, SchemaService and IAMPolicy on r.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	pubsubpb.RegisterPublisherServer(r, s)
	pubsubpb.RegisterSubscriberServer(r, s)
	pubsubpb.RegisterSchemaServiceServer(r, s)
	iampb.RegisterIAMPolicyServer(r, s)
}

// Reset deletes every topic, subscription, snapshot, schema and policy, in the Store too. Streams and
// waiting pulls end with NOT_FOUND, and pushes under way are given up.
func (s *Service) Reset() {
	s.reset()
	if err := s.journal.Sync(); err != nil {
		s.logger.Error("what was reset may come back at the next start", "error", err)
	}
}

func (s *Service) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.journal.clear()
	s.numbers.again()
	for _, t := range s.topics {
		t.delete()
	}
	for _, sub := range s.subscriptions {
		sub.erase()
		sub.end(notFound(sub.name))
	}
	for _, r := range s.schemas {
		r.delete()
	}
	s.forgetAll()
}

// Close ends every stream, pull and push with UNAVAILABLE and returns once their goroutines have
// ended, or when ctx is done with its error. Later calls are refused. It may be called twice.
func (s *Service) Close(ctx context.Context) error {
	s.cancel(errClosed())
	s.running.close()
	s.mu.Lock()
	topics, subscriptions := s.topics, s.subscriptions
	s.forgetAll()
	s.mu.Unlock()
	for _, t := range topics {
		t.close()
	}
	for _, sub := range subscriptions {
		sub.close()
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

// forgetAll empties the Service's maps. The lock is held, or s is new.
func (s *Service) forgetAll() {
	for _, snap := range s.snapshots {
		snap.expiry.Stop()
	}
	s.topics = make(map[string]*topic)
	s.subscriptions = make(map[string]*subscription)
	s.snapshots = make(map[string]*snapshot)
	s.schemas = make(map[string]*schemaResource)
	s.policies.Clear()
}
