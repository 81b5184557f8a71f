package sync

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"waybill.dev/auth"
	"waybill.dev/internal/endpoint"
	"waybill.dev/internal/outcome"
	"waybill.dev/internal/retry"
)

// ErrAmbiguous is wrapped by an error of [Client.Do] that leaves open whether
// the receiver acted on the request: it was sent, or may have been, and no
// answer came. Repeating it is safe only if a second copy does no harm.
var ErrAmbiguous = outcome.ErrAmbiguous

// ErrRetryBudget is wrapped by the error of a request that was not repeated
// although it could have been, since the retries to its target were used up;
// see [RetryBudget].
var ErrRetryBudget = errors.New("not repeated: the retries to this target are used up for now")

// ErrRedirect is wrapped by the error for an answer that redirects.
var ErrRedirect = errors.New("the receiver redirects, and a token must not follow")

// ClientConfig configures [NewClient].
type ClientConfig struct {
	// URL is the receiver's: https, or http to a loopback address. Its scheme,
	// host and port are the only origin that requests may go to. Required.
	URL string
	// Audience is the tokens' audience, as the receiver's verifier compares it. Required.
	Audience string
	// Tokens mints the tokens: an auth.Minter. Required.
	Tokens auth.TokenSource
	// Transport sends the requests. Default: one of the client's own, with
	// connection reuse and timeouts for talking to one service (5 s to connect,
	// 5 s for TLS, 100 idle connections, closed after 90 s). How long an answer
	// may take is the context's to say.
	Transport http.RoundTripper
	// MaxAttempts is how often a request that is safe to repeat is tried. Default 4; 1 never repeats.
	MaxAttempts int
	// MinBackoff and MaxBackoff bound the waits between attempts, which double
	// and vary by half. Defaults 100 ms and 5 s. Retry-After may ask for longer.
	MinBackoff, MaxBackoff time.Duration
	// RetryBudget bounds the retries of all requests together. Default: one of
	// the client's own. Clients of one target share one.
	RetryBudget *RetryBudget
}

// RetryBudget bounds the retries to one target, so that one that fails is not
// hammered: at most one retry for each ten requests, beyond a reserve of ten
// retries that refills by one a second. A request that finds it used up ends
// with what its last attempt came to, and its error wraps [ErrRetryBudget].
//
// The zero value is ready to use, by several clients and many goroutines.
type RetryBudget struct{ tokens retry.Budget }

func (c ClientConfig) withDefaults() ClientConfig {
	if c.MaxAttempts == 0 {
		c.MaxAttempts = 4
	}
	if c.MinBackoff == 0 {
		c.MinBackoff = 100 * time.Millisecond
	}
	if c.MaxBackoff == 0 {
		c.MaxBackoff = max(5*time.Second, c.MinBackoff)
	}
	if c.RetryBudget == nil {
		c.RetryBudget = new(RetryBudget)
	}
	return c
}

func (c ClientConfig) validate() (*url.URL, error) {
	var problems []error
	origin, err := endpoint.Parse(c.URL)
	if err != nil {
		problems = append(problems, fmt.Errorf("URL: %w", err))
	}
	if c.Audience == "" {
		problems = append(problems, errors.New("Audience is empty: set the audience that the receiver's verifier expects"))
	}
	if c.Tokens == nil {
		problems = append(problems, errors.New("Tokens is nil: make a minter with auth.NewMinter"))
	}
	if c.MaxAttempts < 0 {
		problems = append(problems, fmt.Errorf("MaxAttempts is %d: use 1 or more, or 0 for 4", c.MaxAttempts))
	}
	if c.MinBackoff < 0 || c.MaxBackoff < c.MinBackoff {
		problems = append(problems, fmt.Errorf("MinBackoff %v and MaxBackoff %v: neither may be negative, nor the first above the second", c.MinBackoff, c.MaxBackoff))
	}
	return origin, errors.Join(problems...)
}

// Client sends requests to one origin, each with an ID token. It may be used by many goroutines.
type Client struct {
	origin    *url.URL
	audience  string
	tokens    auth.TokenSource
	transport http.RoundTripper
	limits    retry.Limits
	close     func()
}

// NewClient returns a client. It neither connects nor mints until it is used.
func NewClient(cfg ClientConfig) (*Client, error) {
	cfg = cfg.withDefaults()
	origin, err := cfg.validate()
	if err != nil {
		return nil, fmt.Errorf("sync: the configuration is wrong: %w", err)
	}
	c := &Client{
		origin:    origin,
		audience:  cfg.Audience,
		tokens:    cfg.Tokens,
		transport: cfg.Transport,
		limits:    retry.Limits{MaxAttempts: cfg.MaxAttempts, MinBackoff: cfg.MinBackoff, MaxBackoff: cfg.MaxBackoff, Budget: &cfg.RetryBudget.tokens},
		close:     func() {},
	}
	if c.transport == nil {
		own := NewTransport()
		c.transport, c.close = own, own.CloseIdleConnections
	}
	return c, nil
}

// NewTransport returns a transport like the one that a Client makes for itself, for several clients to share: the
// clients of one process's calls then reuse each other's connections. Whoever made it closes its idle connections.
func NewTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   100, // all go to one host; Go's default of 2 would reconnect under load
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   5 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
}

// Close closes the idle connections of the client's own transport. It may be
// called twice; a client that is used after it connects again.
func (c *Client) Close() error {
	c.close()
	return nil
}

type idempotentKey struct{}

// WithIdempotent marks the requests made under the context as safe to repeat,
// whatever their method: a second copy does no harm.
func WithIdempotent(ctx context.Context) context.Context {
	return context.WithValue(ctx, idempotentKey{}, true)
}

func idempotent(r *http.Request) bool {
	switch r.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	marked, _ := r.Context().Value(idempotentKey{}).(bool)
	return marked
}
