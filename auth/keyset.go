package auth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/api/idtoken"
)

// GoogleKeysURL is where Google publishes the keys that sign the ID tokens of service accounts.
const GoogleKeysURL = "https://www.googleapis.com/oauth2/v3/certs"

const (
	minKeyAge        = 5 * time.Minute  // also when the answer has no Cache-Control: never a fetch per request
	maxKeyAge        = 24 * time.Hour   // a key that was withdrawn must go some day
	maxKeysBytes     = 256 << 10        // Google's document has about 2 KiB
	firstColdRetry   = time.Second      // without any keys nothing can be verified: ask sooner
	defaultKeyFetch  = 5 * time.Second  // KeySetConfig.FetchTimeout
	defaultKeyPause  = 30 * time.Second // KeySetConfig.MinInterval
	defaultStaleKeys = 6 * time.Hour    // KeySetConfig.MaxStale
)

// KeySetConfig configures a [KeySet]. Its zero value is right for Google's keys.
type KeySetConfig struct {
	// URL is where the JWKS document is. Default: GoogleKeysURL. It is https, or http to a loopback address.
	URL string

	// AllowHTTP permits plain http to any host. Whoever controls the network between then controls who may call:
	// it is meant for an emulator in a network of containers.
	AllowHTTP bool

	// HTTPClient makes the requests. Default: a client of its own that keeps no connection open.
	// Its CheckRedirect is not used: redirects are never followed.
	HTTPClient *http.Client

	// FetchTimeout bounds one request. Default: 5 s.
	FetchTimeout time.Duration

	// MinInterval is the least time between two requests, whoever asks and whatever fails. Default: 30 s.
	// Only as long as there are no keys at all it starts at 1 s and doubles up to MinInterval.
	MinInterval time.Duration

	// MaxStale is how long keys serve beyond their Cache-Control age while the endpoint fails. Default: 6 h.
	MaxStale time.Duration

	// Now is the clock. Default: time.Now.
	Now func() time.Time

	// Logger reports failed requests and keys that are dropped. Default: slog.Default().
	Logger *slog.Logger
}

func (c *KeySetConfig) validate() error {
	var errs []error
	if err := checkURL(c.URL); err != nil && (!c.AllowHTTP || !errors.Is(err, errPlainHTTP)) {
		errs = append(errs, fmt.Errorf("auth: KeySetConfig.URL %w", err))
	}
	for _, f := range []struct {
		name  string
		value time.Duration
	}{{"FetchTimeout", c.FetchTimeout}, {"MinInterval", c.MinInterval}, {"MaxStale", c.MaxStale}} {
		if f.value < 0 {
			errs = append(errs, fmt.Errorf("auth: KeySetConfig.%s is %v: leave it zero for the default, or give a positive duration", f.name, f.value))
		}
	}
	return errors.Join(errs...)
}

// KeySet holds an issuer's public keys and keeps them current.
//
// It asks for them when they are first needed, when their Cache-Control age (5 minutes to 24 hours) has passed,
// and when a token names a key that it does not know; with one request at a time and at most one in MinInterval.
// Keys that are known go on serving while a refresh runs or fails, for MaxStale at most. Used are RSA keys of 2048 to
// 8192 bits (RS256) and P-256 keys (ES256); those that are meant for something else or ambiguous are dropped.
//
// A KeySet is safe for concurrent use and meant to be shared by all verifiers of a process.
// It has no goroutine of its own but for a request that is under way, which FetchTimeout bounds; Close ends it.
type KeySet struct {
	config  KeySetConfig
	current atomic.Pointer[keys]

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wait   sync.WaitGroup

	mu      sync.Mutex
	running *fetch
	started time.Time     // of the last fetch
	pause   time.Duration // from started until the next fetch
	failure error         // of the last fetch
	closed  bool
}

// keys is one document, taken over. It never changes.
type keys struct {
	validator  *idtoken.Validator
	prints     map[keyName]keyPrint
	freshUntil time.Time
	staleUntil time.Time
}

// fetch is a request that is under way. Whoever needs its result waits for done.
type fetch struct{ done chan struct{} }

// NewKeySet returns a KeySet. It makes no request yet.
func NewKeySet(config KeySetConfig) (*KeySet, error) {
	if config.URL == "" {
		config.URL = GoogleKeysURL
	}
	if err := config.validate(); err != nil {
		return nil, err
	}
	config.FetchTimeout = cmp.Or(config.FetchTimeout, defaultKeyFetch)
	config.MinInterval = cmp.Or(config.MinInterval, defaultKeyPause)
	config.MaxStale = cmp.Or(config.MaxStale, defaultStaleKeys)
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	client := &http.Client{Transport: unpooledTransport()}
	if config.HTTPClient != nil {
		c := *config.HTTPClient
		client = &c
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	config.HTTPClient = client
	k := &KeySet{config: config}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	return k, nil
}

// Close ends a request that is under way and waits until it has ended. Known keys go on serving, but none is fetched
// any more. It always returns nil and may be called more than once. A KeySet without a request under way holds
// nothing that needs to be closed.
func (k *KeySet) Close() error {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.cancel()
	k.wait.Wait()
	return nil
}

// lookup returns the keys, with the one of that name among them.
func (k *KeySet) lookup(ctx context.Context, name keyName) (*keys, *Error) {
	now := k.config.Now()
	current := k.usable(now)
	if current != nil {
		if _, known := current.prints[name]; known {
			if !now.Before(current.freshUntil) {
				// In the background: a slow endpoint must not slow down what can be verified.
				k.refresh(now) //nolint:contextcheck // it serves all callers and outlives this one
			}
			return current, nil
		}
	}
	if f := k.refresh(now); f != nil { //nolint:contextcheck // it serves all callers and outlives this one
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, k.unavailable(now, ctx.Err())
		}
	}
	if current = k.usable(now); current == nil { // again: a fetch may have ended since
		k.mu.Lock()
		cause := k.failure
		k.mu.Unlock()
		return nil, k.unavailable(now, cause)
	}
	if _, known := current.prints[name]; !known {
		return nil, refuse(ErrUnknownKey, "its kid is "+quote(name.id)+": either it was not issued by the issuer whose keys this service uses, or the key has been withdrawn")
	}
	return current, nil
}

func (k *KeySet) usable(now time.Time) *keys {
	if current := k.current.Load(); current != nil && now.Before(current.staleUntil) {
		return current
	}
	return nil
}

// stands reports whether a key is still among the keys, unchanged.
func (k *KeySet) stands(name keyName, key keyPrint) bool {
	current := k.usable(k.config.Now())
	return current != nil && current.prints[name] == key
}

// refresh returns the fetch that is under way, or a new one, or nil when it is too early for one.
func (k *KeySet) refresh(now time.Time) *fetch {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.running != nil {
		return k.running
	}
	// A negative distance means that the clock was set back; the pause must not grow by that.
	if d := now.Sub(k.started); k.closed || d >= 0 && d < k.pause {
		return nil
	}
	f := &fetch{done: make(chan struct{})}
	k.running, k.started = f, now
	k.wait.Go(func() {
		fetched, err := k.fetch()
		if err != nil {
			k.config.Logger.LogAttrs(k.ctx, slog.LevelWarn, "fetching the issuer's keys failed", slog.String("url", k.config.URL), slog.Any("error", err))
		}
		k.finish(fetched, err)
		close(f.done)
	})
	return f
}

func (k *KeySet) finish(fetched *keys, err error) {
	if err == nil {
		k.current.Store(fetched)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.running, k.failure = nil, err
	switch {
	case k.usable(k.config.Now()) != nil:
		k.pause = k.config.MinInterval
	case k.pause == 0:
		k.pause = min(firstColdRetry, k.config.MinInterval)
	default:
		k.pause = min(2*k.pause, k.config.MinInterval)
	}
}

func (k *KeySet) fetch() (*keys, error) {
	ctx, cancel := context.WithTimeout(k.ctx, k.config.FetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.config.URL, nil)
	if err != nil {
		return nil, err
	}
	res, err := k.config.HTTPClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer is %s", res.Status)
	}
	document, err := io.ReadAll(io.LimitReader(res.Body, maxKeysBytes+1))
	if err != nil {
		return nil, err
	}
	if len(document) > maxKeysBytes {
		return nil, fmt.Errorf("the answer is longer than %d bytes", maxKeysBytes)
	}
	usable, out, err := readJWKS(document)
	for _, d := range out {
		k.config.Logger.LogAttrs(ctx, slog.LevelWarn, "key of the issuer not used", slog.String("kid", d.kid), slog.String("problem", d.problem))
	}
	if err != nil {
		return nil, err
	}
	validator, err := newValidator(usable)
	if err != nil {
		return nil, err
	}
	now := k.config.Now()
	fresh := now.Add(cacheAge(res.Header))
	set := &keys{validator: validator, prints: make(map[keyName]keyPrint, len(usable)), freshUntil: fresh, staleUntil: fresh.Add(k.config.MaxStale)}
	for i := range usable {
		set.prints[usable[i].name()] = usable[i].print()
	}
	return set, nil
}

func (k *KeySet) unavailable(now time.Time, cause error) *Error {
	k.mu.Lock()
	after := k.pause - now.Sub(k.started)
	k.mu.Unlock()
	return &Error{
		Reason: ErrKeysUnavailable, Detail: "the token could not be checked; this says nothing about the token: try again",
		RetryAfter: min(max(after, time.Second), k.config.MinInterval), Cause: cause,
	}
}

// cacheAge is how long an answer is fresh (RFC 9111, max-age less Age), within this package's bounds.
func cacheAge(h http.Header) time.Duration {
	var seconds int64
	for directive := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return minKeyAge
		case "max-age":
			seconds, _ = strconv.ParseInt(strings.Trim(value, `"`), 10, 64)
		}
	}
	if age, err := strconv.ParseInt(h.Get("Age"), 10, 64); err == nil && age > 0 {
		seconds -= min(age, seconds)
	}
	seconds = min(max(seconds, 0), int64(maxKeyAge/time.Second))
	return max(time.Duration(seconds)*time.Second, minKeyAge)
}

var errPlainHTTP = errors.New("is plain http beyond this machine: use https (or, for keys and an emulator in a network of its own, KeySetConfig.AllowHTTP)")

// checkURL accepts https, and plain http to a loopback address.
func checkURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil {
		return fmt.Errorf("%s is not a URL with a host and without a user", quote(raw))
	}
	switch u.Scheme {
	case "https":
		return nil
	case "http":
		host := u.Hostname()
		if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
			return nil
		}
		return fmt.Errorf("%s %w", quote(raw), errPlainHTTP)
	default:
		return fmt.Errorf("%s is neither https nor http", quote(raw))
	}
}

// unpooledTransport keeps no connection, and so no goroutine, between two requests that are hours apart.
func unpooledTransport() http.RoundTripper {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return http.DefaultTransport
	}
	t = t.Clone()
	t.DisableKeepAlives = true
	return t
}
