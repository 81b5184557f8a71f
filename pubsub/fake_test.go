package pubsub_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"waybill.dev/pubsub"
)

func TestMain(m *testing.M) {
	// OpenCensus, which Google's client imports, starts a worker for the life of the process.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

const (
	topicName    = "projects/shop/topics/user-signed-up"
	subscription = "projects/shop/subscriptions/index-user"
	pusher       = "shop-push@shop.iam.gserviceaccount.com"
	audience     = "https://search.example.com"
	endpoint     = "https://search.example.com/index"
)

// fake is Pub/Sub on a real socket. It records what arrives and answers a
// publish with what answer says.
type fake struct {
	pubsubpb.UnimplementedPublisherServer
	pubsubpb.UnimplementedSubscriberServer
	addr   string
	answer func(ctx context.Context, n int, req *pubsubpb.PublishRequest) error
	create error

	mu            sync.Mutex
	published     []*pubsubpb.PublishRequest
	topics        []*pubsubpb.Topic
	subscriptions []*pubsubpb.Subscription
}

func newFake(t testing.TB) *fake {
	t.Helper()
	f, stop := startFake()
	t.Cleanup(stop)
	return f
}

func startFake() (f *fake, stop func()) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	f = &fake{
		addr:   listener.Addr().String(),
		answer: func(context.Context, int, *pubsubpb.PublishRequest) error { return nil },
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(20 << 20))
	pubsubpb.RegisterPublisherServer(server, f)
	pubsubpb.RegisterSubscriberServer(server, f)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	return f, func() { server.Stop(); <-served }
}

func (f *fake) Publish(ctx context.Context, req *pubsubpb.PublishRequest) (*pubsubpb.PublishResponse, error) {
	f.mu.Lock()
	f.published = append(f.published, req)
	n := len(f.published)
	f.mu.Unlock()
	if err := f.answer(ctx, n, req); err != nil {
		return nil, err
	}
	resp := &pubsubpb.PublishResponse{}
	for i := range req.GetMessages() {
		resp.MessageIds = append(resp.MessageIds, fmt.Sprintf("%d-%d", n, i))
	}
	return resp, nil
}

func (f *fake) CreateTopic(_ context.Context, req *pubsubpb.Topic) (*pubsubpb.Topic, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.topics = append(f.topics, req)
	return req, f.create
}

func (f *fake) CreateSubscription(_ context.Context, req *pubsubpb.Subscription) (*pubsubpb.Subscription, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.subscriptions = append(f.subscriptions, req)
	return req, f.create
}

func (f *fake) got() []*pubsubpb.PublishRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.published
}

func (f *fake) client(t testing.TB, cfg pubsub.Config) *pubsub.Client {
	t.Helper()
	cfg.Project = "shop"
	client, err := pubsub.NewClient(t.Context(), cfg, pubsub.EmulatorOptions(f.addr)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}
