package pubsub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/pubsub/v2"
	vkit "cloud.google.com/go/pubsub/v2/apiv1"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"waybill.dev/internal/endpoint/dial"
)

// EmulatorOptions returns the options of a client of the emulator at hostport:
// its address, no TLS, no credentials. Without them the client follows
// PUBSUB_EMULATOR_HOST.
func EmulatorOptions(hostport string) []option.ClientOption {
	return []option.ClientOption{
		option.WithEndpoint(hostport),
		option.WithoutAuthentication(),
		option.WithTelemetryDisabled(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
	}
}

// Config configures [NewClient].
type Config struct {
	// Project is the project of topics and subscriptions that are given by
	// their short name. Required.
	Project string
	// DelayThreshold is how long a message waits for others to travel with.
	// Default 1 ms (Google's is 10 ms): whoever publishes waits for it.
	DelayThreshold time.Duration
	// CountThreshold and ByteThreshold send a batch before the delay is over.
	// Defaults 100 messages, at most 1000, and 1,000,000 bytes.
	CountThreshold, ByteThreshold int
	// MaxOutstandingMessages and MaxOutstandingBytes bound what was given to
	// Publish and is not accepted yet, over all topics. Beyond them Publish
	// waits, until its context ends: [ErrOutstanding]. Defaults 10,000 messages and
	// 100,000,000 bytes, with attributes.
	MaxOutstandingMessages, MaxOutstandingBytes int
	// Timeout bounds the attempts at one batch, whatever the contexts of those
	// who wait for it. Default 60 s.
	Timeout time.Duration
}

func (c Config) withDefaults() Config {
	if c.DelayThreshold == 0 {
		c.DelayThreshold = time.Millisecond
	}
	if c.CountThreshold == 0 {
		c.CountThreshold = pubsub.DefaultPublishSettings.CountThreshold
	}
	if c.ByteThreshold == 0 {
		c.ByteThreshold = pubsub.DefaultPublishSettings.ByteThreshold
	}
	if c.MaxOutstandingMessages == 0 {
		c.MaxOutstandingMessages = 10_000
	}
	if c.MaxOutstandingBytes == 0 {
		c.MaxOutstandingBytes = 10 * MaxRequestSize
	}
	if c.Timeout == 0 {
		c.Timeout = pubsub.DefaultPublishSettings.Timeout
	}
	return c
}

func (c Config) validate() error {
	var problems []error
	if c.Project == "" || strings.ContainsAny(c.Project, "/*") {
		problems = append(problems, fmt.Errorf("Project is %q: set the project's id", c.Project))
	}
	if c.DelayThreshold < 0 {
		problems = append(problems, fmt.Errorf("DelayThreshold is %v: use a positive time, or 0 for 1 ms", c.DelayThreshold))
	}
	if c.CountThreshold < 0 || c.CountThreshold > pubsub.MaxPublishRequestCount {
		problems = append(problems, fmt.Errorf("CountThreshold is %d: use 1 to %d, or 0 for 100", c.CountThreshold, pubsub.MaxPublishRequestCount))
	}
	if c.ByteThreshold < 0 || c.ByteThreshold > MaxRequestSize {
		problems = append(problems, fmt.Errorf("ByteThreshold is %d: use 1 to %d, or 0 for 1000000", c.ByteThreshold, MaxRequestSize))
	}
	if c.MaxOutstandingMessages < 0 || c.MaxOutstandingBytes < 0 {
		problems = append(problems, fmt.Errorf("MaxOutstandingMessages is %d and MaxOutstandingBytes %d: use 1 or more, or 0 for 10000 and 100000000", c.MaxOutstandingMessages, c.MaxOutstandingBytes))
	}
	if c.Timeout < 0 {
		problems = append(problems, fmt.Errorf("Timeout is %v: use a positive time, or 0 for 60 s", c.Timeout))
	}
	return errors.Join(problems...)
}

// Client publishes messages and creates topics and push subscriptions. It may
// be used by many goroutines.
type Client struct {
	cfg     Config
	client  *pubsub.Client
	close   func() error // of the connection, once
	retries *retries
	flow    *flow

	mu     sync.RWMutex
	closed bool
	topics map[string]*topic // by every name that it was published under

	drained  chan struct{}
	closeErr error // after drained
}

type topic struct {
	name      string // projects/P/topics/T
	publisher *pubsub.Publisher
	retries   *retries
	flow      *flow
}

// NewClient returns a client. It does not connect until it is used. The options
// are those of Google's client.
func NewClient(ctx context.Context, cfg Config, opts ...option.ClientOption) (*Client, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("pubsub: the configuration is wrong: %w", err)
	}
	retries := &retries{patience: min(refusedPatience, cfg.Timeout/2)}
	opts = append(slices.Clip(opts), option.WithGRPCDialOption(grpc.WithChainUnaryInterceptor(dial.MarkRefused)))
	client, err := pubsub.NewClientWithConfig(ctx, cfg.Project, &pubsub.ClientConfig{
		TopicAdminCallOptions: &vkit.TopicAdminCallOptions{
			Publish: []gax.CallOption{gax.WithRetry(func() gax.Retryer { return retries.publish() })},
		},
	}, opts...)
	if err != nil {
		return nil, fmt.Errorf("pubsub: no client of Pub/Sub (credentials? for an emulator set PUBSUB_EMULATOR_HOST or pass EmulatorOptions): %w", err)
	}
	return &Client{
		cfg:     cfg,
		client:  client,
		close:   sync.OnceValue(client.Close),
		retries: retries,
		flow:    newFlow(cfg.MaxOutstandingMessages, cfg.MaxOutstandingBytes),
		topics:  make(map[string]*topic),
		drained: make(chan struct{}),
	}, nil
}

// Shutdown publishes what is waiting, refuses what comes after with
// [ErrClosed], and closes the connection. If ctx ends first, what is still
// waiting fails, and the error says so. Shutdown may be called twice.
func (c *Client) Shutdown(ctx context.Context) error {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	c.mu.Unlock()
	if first {
		go c.drain()
	}
	select {
	case <-c.drained: // looked at first: a second call with an ended context finds nothing left to do
		return c.closeErr
	default:
	}
	select {
	case <-c.drained:
		return c.closeErr
	case <-ctx.Done():
		c.retries.aborted.Store(true)
		_ = c.close() // what is in flight ends with it
		<-c.drained   // soon, since nothing can be sent any more
		return fmt.Errorf("pubsub: shut down before all that was waiting could be published: %w", context.Cause(ctx))
	}
}

// Close is [Client.Shutdown] without a limit but [Config.Timeout].
func (c *Client) Close() error { return c.Shutdown(context.Background()) }

func (c *Client) drain() {
	var stopping sync.WaitGroup
	for _, t := range c.topics { // closed: nobody writes to it any more
		stopping.Go(t.publisher.Stop)
	}
	stopping.Wait()
	c.flow.wait()
	if err := c.close(); err != nil && !c.retries.aborted.Load() {
		c.closeErr = fmt.Errorf("pubsub: %w", err)
	}
	close(c.drained)
}

// topic returns the publisher of a topic, made once.
func (c *Client) topic(name string) (*topic, error) {
	c.mu.RLock()
	t, closed := c.topics[name], c.closed
	c.mu.RUnlock()
	switch {
	case closed:
		return nil, fmt.Errorf("pubsub: %w: publish before Shutdown", ErrClosed)
	case t != nil:
		return t, nil
	}
	return c.newTopic(name)
}

func (c *Client) newTopic(name string) (*topic, error) {
	full, err := c.fullName("topics", name)
	if err != nil {
		return nil, fmt.Errorf("pubsub: the topic's name is wrong: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, fmt.Errorf("pubsub: %w: publish before Shutdown", ErrClosed)
	}
	t := c.topics[full]
	if t == nil {
		t = &topic{name: full, publisher: c.client.Publisher(full), retries: c.retries, flow: c.flow}
		t.publisher.EnableMessageOrdering = true
		t.publisher.PublishSettings.DelayThreshold = c.cfg.DelayThreshold
		t.publisher.PublishSettings.CountThreshold = c.cfg.CountThreshold
		t.publisher.PublishSettings.ByteThreshold = c.cfg.ByteThreshold
		t.publisher.PublishSettings.Timeout = c.cfg.Timeout
		c.topics[full] = t
	}
	c.topics[name] = t
	return t, nil
}

// fullName completes a short name, and checks either form.
func (c *Client) fullName(collection, name string) (string, error) {
	short := name
	if strings.Contains(name, "/") {
		parts := strings.Split(name, "/")
		if len(parts) != 4 || parts[0] != "projects" || parts[1] == "" || parts[2] != collection {
			return "", fmt.Errorf("%q: use NAME or projects/PROJECT/%s/NAME", name, collection)
		}
		short = parts[3]
	} else {
		name = "projects/" + c.cfg.Project + "/" + collection + "/" + name
	}
	if !validID(short) {
		return "", fmt.Errorf("%q: use 3 to 255 letters, digits and -_.~+%%, a letter first, not beginning with goog", short)
	}
	return name, nil
}

func validID(s string) bool {
	if len(s) < 3 || len(s) > 255 || strings.HasPrefix(s, "goog") {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case i > 0 && ('0' <= c && c <= '9' || strings.IndexByte("-_.~+%", c) >= 0):
		default:
			return false
		}
	}
	return true
}
