package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	client "cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"go.uber.org/goleak"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"waybill.dev/emulator/internal/clock"
	"waybill.dev/emulator/internal/pubsub"
	"waybill.dev/internal/googletest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The official client's own: one for the life of the process, one that only looks at its
		// context every ten seconds.
		goleak.IgnoreAnyFunction("go.opencensus.io/stats/view.(*worker).start"),
		goleak.IgnoreAnyFunction("cloud.google.com/go/pubsub/v2.(*messageIterator).streamKeepAliveHandler"),
	)
}

const (
	topicName = "projects/p/topics/orders"
	subName   = "projects/p/subscriptions/mailer"
)

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// ours starts Waybill's engine as an upstream, so that the proxy is tested on every machine.
func ours(t *testing.T) string {
	t.Helper()
	c := clock.New()
	service := pubsub.New(pubsub.Config{Clock: c, Logger: slog.New(slog.DiscardHandler)})
	addr := serve(t, service)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := service.Close(ctx); err != nil {
			t.Error(err)
		}
		c.Close()
	})
	return addr
}

func serve(t *testing.T, service interface{ Register(grpc.ServiceRegistrar) }) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(pubsub.MaxRequestBytes))
	service.Register(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

type signer struct{}

func (signer) IDToken(account, audience string) (string, error) {
	return account + " for " + audience, nil
}

// start puts a proxy before the upstream and returns it with a client that knows only the proxy.
func start(t *testing.T, upstream string) (*Proxy, *client.Client) {
	t.Helper()
	proxy, c := newRuns(t, upstream).start(slog.New(slog.DiscardHandler))
	if _, err := c.TopicAdminClient.CreateTopic(t.Context(), &pubsubpb.Topic{Name: topicName}); err != nil {
		t.Fatal(err)
	}
	return proxy, c
}

// runs are proxies that follow each other before one upstream, at one address.
type runs struct {
	t        *testing.T
	upstream string
	pushURL  string
	latest   atomic.Pointer[Proxy]
}

func newRuns(t *testing.T, upstream string) *runs {
	r := &runs{t: t, upstream: upstream}
	pushes := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { r.latest.Load().ServeHTTP(w, req) }))
	t.Cleanup(pushes.Close)
	r.pushURL = pushes.URL + "/push"
	return r
}

func (r *runs) start(logger *slog.Logger) (*Proxy, *client.Client) {
	t := r.t
	t.Helper()
	proxy, err := New(Config{Upstream: r.upstream, PushURL: r.pushURL, Signer: signer{}, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	r.latest.Store(proxy)
	t.Cleanup(func() {
		for range 2 {
			if err := proxy.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	c, err := client.NewClient(t.Context(), "p",
		option.WithEndpoint(serve(t, proxy)),
		option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return proxy, c
}

// upstreams runs a test before Waybill's engine and before Google's emulator.
func upstreams(t *testing.T, test func(t *testing.T, addr string)) {
	t.Run("waybill", func(t *testing.T) { test(t, ours(t)) })
	t.Run("google", func(t *testing.T) { test(t, googletest.PubSub(t)) })
}

type receipt struct {
	path, authorization, body string
}

// receiver answers with the statuses, the last one over and over.
func receiver(t *testing.T, statuses ...int) (url string, got <-chan receipt) {
	t.Helper()
	receipts := make(chan receipt, 1000)
	next := make(chan int, len(statuses))
	for _, s := range statuses {
		next <- s
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		receipts <- receipt{r.URL.Path, r.Header.Get("Authorization"), string(body)}
		select {
		case s := <-next:
			w.WriteHeader(s)
		default:
			w.WriteHeader(statuses[len(statuses)-1])
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, receipts
}

func next(t *testing.T, got <-chan receipt) receipt {
	t.Helper()
	select {
	case r := <-got:
		return r
	case <-time.After(30 * time.Second):
		t.Fatal("no push came")
		panic("unreachable")
	}
}

func pushTo(url, audience string) *pubsubpb.PushConfig {
	return &pubsubpb.PushConfig{
		PushEndpoint:         url,
		AuthenticationMethod: &pubsubpb.PushConfig_OidcToken_{OidcToken: &pubsubpb.PushConfig_OidcToken{ServiceAccountEmail: "push@p.iam.gserviceaccount.com", Audience: audience}},
	}
}

func publish(t *testing.T, c *client.Client, text string) string {
	t.Helper()
	p := c.Publisher(topicName)
	defer p.Stop()
	id, err := p.Publish(t.Context(), &client.Message{Data: []byte(text), Attributes: map[string]string{"a": "b"}}).Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestSignedPush(t *testing.T) {
	upstreams(t, func(t *testing.T, addr string) {
		proxy, c := start(t, addr)
		subs := c.SubscriptionAdminClient
		ctx := t.Context()
		url, got := receiver(t, 500, 204)
		created, err := subs.CreateSubscription(ctx, &pubsubpb.Subscription{Name: subName, Topic: topicName, PushConfig: pushTo(url+"/push", "https://mailer")})
		if err != nil {
			t.Fatal(err)
		}
		shown, err := subs.GetSubscription(ctx, &pubsubpb.GetSubscriptionRequest{Subscription: subName})
		if err != nil {
			t.Fatal(err)
		}
		listed, err := subs.ListSubscriptions(ctx, &pubsubpb.ListSubscriptionsRequest{Project: "projects/p"}).Next()
		if err != nil {
			t.Fatal(err)
		}
		for name, sub := range map[string]*pubsubpb.Subscription{"created": created, "got": shown, "listed": listed} {
			if sub.PushConfig.PushEndpoint != url+"/push" || sub.PushConfig.GetOidcToken().GetAudience() != "https://mailer" {
				t.Errorf("%s with %v", name, sub.PushConfig)
			}
		}

		id := publish(t, c, "hello")
		for range 2 { // 500, then 204
			r := next(t, got)
			if r.path != "/push" || r.authorization != "Bearer push@p.iam.gserviceaccount.com for https://mailer" {
				t.Errorf("pushed %+v", r)
			}
			if !strings.Contains(r.body, `"data":"aGVsbG8="`) || !strings.Contains(r.body, id) {
				t.Errorf("body %s", r.body)
			}
		}

		// Another endpoint, whose audience is its URL.
		elsewhere, gotElsewhere := receiver(t, 204)
		if _, err := subs.UpdateSubscription(ctx, &pubsubpb.UpdateSubscriptionRequest{
			Subscription: &pubsubpb.Subscription{Name: subName, PushConfig: pushTo(elsewhere, "")},
			UpdateMask:   &fieldmaskpb.FieldMask{Paths: []string{"push_config"}},
		}); err != nil {
			t.Fatal(err)
		}
		publish(t, c, "again")
		if r := next(t, gotElsewhere); r.authorization != "Bearer push@p.iam.gserviceaccount.com for "+elsewhere {
			t.Errorf("pushed %+v", r)
		}
		if n := len(proxy.endpoints.byKey); n != 1 {
			t.Errorf("%d endpoints are known, want 1", n)
		}

		_, err = subs.UpdateSubscription(ctx, &pubsubpb.UpdateSubscriptionRequest{
			Subscription: &pubsubpb.Subscription{Name: subName, PushConfig: pushTo(elsewhere, "")},
			UpdateMask:   &fieldmaskpb.FieldMask{Paths: []string{"push_config.push_endpoint"}},
		})
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("a mask inside push_config: %v", err)
		}
		if err := subs.DeleteSubscription(ctx, &pubsubpb.DeleteSubscriptionRequest{Subscription: subName}); err != nil {
			t.Fatal(err)
		}
		if n := len(proxy.endpoints.byKey) + len(proxy.endpoints.keys); n != 0 {
			t.Errorf("%d endpoints are known after the subscription's end", n)
		}
		if len(got) > 0 {
			t.Errorf("the first endpoint got another push: %+v", <-got)
		}
	})
}

func TestFailedCreationIsForgotten(t *testing.T) {
	proxy, c := start(t, ours(t))
	_, err := c.SubscriptionAdminClient.CreateSubscription(t.Context(), &pubsubpb.Subscription{Name: subName, Topic: "projects/p/topics/missing", PushConfig: pushTo("http://receiver", "")})
	if status.Code(err) != codes.NotFound {
		t.Errorf("created: %v", err)
	}
	if n := len(proxy.endpoints.byKey) + len(proxy.endpoints.keys); n != 0 {
		t.Errorf("%d endpoints are known", n)
	}
}

func TestStreamsPassThrough(t *testing.T) {
	upstreams(t, func(t *testing.T, addr string) {
		_, c := start(t, addr)
		if _, err := c.SubscriptionAdminClient.CreateSubscription(t.Context(), &pubsubpb.Subscription{Name: subName, Topic: topicName}); err != nil {
			t.Fatal(err)
		}
		id := publish(t, c, "hello")
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		got := ""
		if err := c.Subscriber(subName).Receive(ctx, func(_ context.Context, m *client.Message) {
			got = m.ID
			m.Ack()
			cancel()
		}); err != nil {
			t.Fatal(err)
		}
		if got != id {
			t.Errorf("received %q, published %q", got, id)
		}
		if err := c.Subscriber("projects/p/subscriptions/missing").Receive(t.Context(), func(context.Context, *client.Message) {}); status.Code(err) != codes.NotFound {
			t.Errorf("a stream's error became %v", err)
		}
		topics := c.TopicAdminClient.ListTopics(t.Context(), &pubsubpb.ListTopicsRequest{Project: "projects/p"})
		if _, err := topics.Next(); err != nil {
			t.Error(err)
		}
		if _, err := topics.Next(); !errors.Is(err, iterator.Done) {
			t.Error(err)
		}
	})
}

func TestPushHandlerRefuses(t *testing.T) {
	var log strings.Builder
	proxy, err := New(Config{Upstream: "127.0.0.1:1", PushURL: "http://localhost/push", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	retired := proxy.endpoints.add(nil)
	proxy.endpoints.remove(retired)
	for name, test := range map[string]struct {
		method, path string
		want         int
		logged       int
	}{
		"unknown key": {http.MethodPost, "/push/guess", http.StatusNotFound, 1},
		"retired key": {http.MethodPost, "/push/" + retired, http.StatusNotFound, 0}, // a push that was under way
		"no key":      {http.MethodPost, "/push/", http.StatusNotFound, 0},
		"method":      {http.MethodGet, "/push/guess", http.StatusMethodNotAllowed, 0},
	} {
		log.Reset()
		for range 2 {
			w := httptest.NewRecorder()
			proxy.ServeHTTP(w, httptest.NewRequest(test.method, test.path, strings.NewReader(`{"subscription":"an unwrapped secret"}`)))
			if w.Code != test.want {
				t.Errorf("%s: %d, want %d", name, w.Code, test.want)
			}
		}
		if n := strings.Count(log.String(), "earlier run"); n != test.logged || strings.Contains(log.String(), "secret") {
			t.Errorf("%s: logged %d times, want %d: %s", name, n, test.logged, &log)
		}
	}
}

func TestReceiverIsGone(t *testing.T) {
	var log strings.Builder
	proxy, err := New(Config{Upstream: "127.0.0.1:1", PushURL: "http://localhost/push", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	config := &pubsubpb.PushConfig{PushEndpoint: fmt.Sprintf("http://127.0.0.1:%d/?secret", freePort(t))}
	proxy.hideIn(subName, &config)
	w := httptest.NewRecorder()
	proxy.ServeHTTP(w, httptest.NewRequest(http.MethodPost, config.PushEndpoint, strings.NewReader(`{"message":{"messageId":"17"}}`)))
	if w.Code != http.StatusBadGateway || !strings.Contains(log.String(), `msg="delivery failed"`) || !strings.Contains(log.String(), "connection refused") || !strings.Contains(log.String(), "message_id=17") || strings.Contains(log.String(), "secret") {
		t.Errorf("%d, logged %s", w.Code, &log)
	}
}

func TestConfigReportsEveryProblem(t *testing.T) {
	_, err := New(Config{PushURL: "localhost"})
	if err == nil || !strings.Contains(err.Error(), "Upstream") || !strings.Contains(err.Error(), "PushURL") {
		t.Errorf("%v", err)
	}
}
