package auth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"
	"google.golang.org/api/idtoken"
	"google.golang.org/api/option"
)

const (
	earlyRefresh        = 5 * time.Minute
	pauseWithToken      = 10 * time.Second // between attempts while the old token still serves
	pauseWithout        = time.Second      // between attempts when there is none
	mintTimeout         = 10 * time.Second
	defaultMaxAudiences = 100
)

// TokenSource gives an ID token for an audience. [Minter] is one.
type TokenSource interface {
	Token(ctx context.Context, audience string) (string, error)
}

// MinterConfig configures a [Minter]. Its zero value uses the application default credentials: the file that
// GOOGLE_APPLICATION_CREDENTIALS names, gcloud's, or the metadata server (GCE_METADATA_HOST).
type MinterConfig struct {
	// CredentialsFile is a key file of a service account, a configuration that impersonates one, or one of workload
	// identity federation. It is read again at each refresh, so that a key can be replaced. It says where to send
	// what it holds, so it must come from somebody who is trusted.
	CredentialsFile string

	// CredentialsJSON is the content of such a file. At most one of the two is set.
	CredentialsJSON []byte

	// Impersonate is the service account to mint for, by email, with whatever credentials there are: a developer's own
	// login, for which there are no ID tokens otherwise, or another account's. Whoever they belong to needs
	// roles/iam.serviceAccountTokenCreator on it, unless they are that account's own. Default: none; the credentials say
	// for whom they are.
	Impersonate string

	// IAMEndpoint is where the IAM Credentials API is that impersonates, without a path; of it generateIdToken is used.
	// Default: https://iamcredentials.googleapis.com. It is https, or http to a loopback address, where an emulator
	// plays it.
	IAMEndpoint string

	// HTTPClient reaches token endpoints; requests to the metadata server do not go through it.
	// Default: a client that keeps no connection open, with a timeout of 10 s.
	// Its CheckRedirect is not used: redirects are never followed.
	HTTPClient *http.Client

	// MaxAudiences bounds the tokens that are kept. Default: 100. A service has few receivers; more than that means
	// that audiences are made from requests.
	MaxAudiences int

	// Now is the clock. Default: time.Now.
	Now func() time.Time

	// Logger reports refreshes that failed while the old token still serves. Default: slog.Default().
	Logger *slog.Logger
}

func (c *MinterConfig) validate() error {
	var errs []error
	if c.CredentialsFile != "" && len(c.CredentialsJSON) > 0 {
		errs = append(errs, errors.New("auth: MinterConfig has both CredentialsFile and CredentialsJSON: set one of them"))
	}
	if c.Impersonate != "" {
		if err := validateCallers([]string{c.Impersonate}); err != nil {
			errs = append(errs, fmt.Errorf("auth: MinterConfig.Impersonate is %s: name a service account's email, such as login@PROJECT.iam.gserviceaccount.com", quote(c.Impersonate)))
		}
	}
	if u, err := url.Parse(c.IAMEndpoint); err != nil || c.IAMEndpoint != "" && strings.Trim(u.Path, "/")+u.RawQuery != "" {
		errs = append(errs, fmt.Errorf("auth: MinterConfig.IAMEndpoint %s has a path: name the host alone, such as %s", quote(c.IAMEndpoint), defaultIAMEndpoint))
	} else if err := checkURL(cmp.Or(c.IAMEndpoint, defaultIAMEndpoint)); err != nil {
		errs = append(errs, fmt.Errorf("auth: MinterConfig.IAMEndpoint %w", err))
	}
	if c.MaxAudiences < 0 {
		errs = append(errs, fmt.Errorf("auth: MinterConfig.MaxAudiences is %d: leave it zero for %d, or give a positive number", c.MaxAudiences, defaultMaxAudiences))
	}
	if c.CredentialsFile != "" || len(c.CredentialsJSON) > 0 {
		if _, err := c.credentials(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Minter mints ID tokens and keeps them per audience. The metadata server and the keys of service accounts it asks by
// idtoken.NewTokenSource; for an account that is impersonated, also by workload identity federation, it asks
// generateIdToken of the IAM Credentials API.
//
// A token is asked for anew at each refresh, 5 minutes before it expires (or at half of its life, if that is later),
// by one request at a time, while the old one goes on serving until it really expires; when that is, and for whom it is,
// is read from the token itself. A request outlives a caller whose context ends, for the sake of the others who wait.
//
// A Minter is safe for concurrent use. It has no goroutine but for requests that are under way.
type Minter struct {
	config  MinterConfig
	sources atomic.Pointer[map[string]*source] // replaced as a whole, so that reading takes no lock
	ctx     context.Context                    // ends with Close
	cancel  context.CancelFunc

	mu     sync.Mutex // guards closed, and adding to sources and wait
	closed bool
	wait   sync.WaitGroup
}

// NewMinter returns a Minter, or all that is wrong with its configuration. Credentials that are given are checked for
// whether they can mint ID tokens at all; nothing is requested yet.
func NewMinter(config MinterConfig) (*Minter, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	config.CredentialsJSON = append([]byte(nil), config.CredentialsJSON...)
	config.MaxAudiences = cmp.Or(config.MaxAudiences, defaultMaxAudiences)
	config.IAMEndpoint = cmp.Or(config.IAMEndpoint, defaultIAMEndpoint)
	client := &http.Client{Transport: unpooledTransport(), Timeout: mintTimeout}
	if config.HTTPClient != nil {
		c := *config.HTTPClient
		client = &c
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	config.HTTPClient = client
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	m := &Minter{config: config}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.sources.Store(&map[string]*source{})
	return m, nil
}

// Close ends the requests that are under way, waits until they have ended, and refuses all later ones.
// A request to the metadata server cannot be cut short; its own timeouts bound it. Close always returns nil
// and may be called more than once.
func (m *Minter) Close() error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.cancel()
	m.wait.Wait()
	return nil
}

// source is one audience's token.
type source struct {
	token atomic.Pointer[minted]

	mu      sync.Mutex
	running *flight
	failure error
	failed  time.Time
}

type minted struct {
	raw                        string
	minted, refreshAt, expires time.Time
}

// flight is a request that is under way. Whoever needs its result waits for done.
type flight struct {
	done  chan struct{}
	token *minted
	err   error
}

// fresh reports whether there is nothing to do yet. A clock that was set back to before the minting says nothing
// about the token's age, so then there is.
func (t *minted) fresh(now time.Time) bool {
	return t != nil && now.Before(t.refreshAt) && !now.Before(t.minted)
}

func (t *minted) valid(now time.Time) bool { return t != nil && now.Before(t.expires) }

// Token returns an ID token for audience that is valid for some minutes more, from memory if it can.
// ctx bounds the wait only. The error is a *MintError.
func (m *Minter) Token(ctx context.Context, audience string) (string, error) {
	now := m.config.Now()
	s := (*m.sources.Load())[audience]
	if s != nil {
		if t := s.token.Load(); t.fresh(now) {
			return t.raw, nil
		}
	}
	return m.refresh(ctx, s, audience, now)
}

func (m *Minter) refresh(ctx context.Context, s *source, audience string, now time.Time) (string, error) {
	if audience == "" {
		return "", &MintError{Reason: ErrNoAudience, Detail: "name the receiver's URL, as its verifier expects it"}
	}
	if s == nil {
		var err error
		if s, err = m.add(audience, now); err != nil {
			return "", err
		}
	}
	f, old, err := m.start(s, audience, now) //nolint:contextcheck // it serves all callers and outlives this one
	if old != nil {
		return old.raw, nil
	}
	if err != nil {
		return "", err
	}
	select {
	case <-f.done:
		if f.err != nil {
			return "", f.err
		}
		return f.token.raw, nil
	case <-ctx.Done():
		return "", &MintError{Audience: audience, Reason: ErrMintUnavailable, Detail: "the caller's context ended before the token came", Cause: ctx.Err()}
	}
}

// start sees to it that a refresh runs, if it is time for one. It returns a token that still serves, or else the flight
// to wait for, or else why there is none.
func (m *Minter) start(s *source, audience string, now time.Time) (*flight, *minted, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.token.Load()
	pause := pauseWithToken
	if !old.valid(now) {
		old, pause = nil, pauseWithout
	}
	if old.fresh(now) || s.running != nil {
		return s.running, old, nil
	}
	if d := now.Sub(s.failed); s.failure != nil && d >= 0 && d < pause {
		return nil, old, s.failure
	}
	f := &flight{done: make(chan struct{})}
	if !m.begin(func() { m.fly(s, f, audience, old != nil) }) {
		return nil, old, &MintError{Audience: audience, Reason: ErrMintUnavailable, Detail: "the Minter is closed"}
	}
	s.running = f
	return f, old, nil
}

// begin runs f in a goroutine that Close waits for. It reports false after Close.
func (m *Minter) begin(f func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	m.wait.Go(f)
	return true
}

func (m *Minter) fly(s *source, f *flight, audience string, oldServes bool) {
	f.token, f.err = m.mint(audience)
	if f.err != nil && oldServes {
		m.config.Logger.LogAttrs(m.ctx, slog.LevelWarn, "refreshing an id token failed, the old one serves on",
			slog.String("audience", audience), slog.Any("error", f.err))
	}
	s.mu.Lock()
	if f.err == nil {
		s.token.Store(f.token)
	}
	s.running, s.failure, s.failed = nil, f.err, m.config.Now().Round(0)
	s.mu.Unlock()
	close(f.done)
}

// mint makes one request. It blocks; idtoken takes no context for it.
func (m *Minter) mint(audience string) (*minted, error) {
	raw, err := m.request(audience)
	if err != nil {
		return nil, err
	}
	now := m.config.Now().Round(0) // without the monotonic reading: a token's times are the wall clock's
	t, err := parse(raw)
	if err != nil {
		return nil, &MintError{Audience: audience, Reason: ErrMintedToken, Detail: "what came is not what a receiver accepts: " + err.Error(), Cause: err}
	}
	expires := time.Unix(t.claims.expires, 0)
	switch {
	case t.claims.audience != audience:
		return nil, &MintError{Audience: audience, Reason: ErrMintedToken, Detail: "it is for " + quote(t.claims.audience) + ", so the receiver would refuse it: look for a proxy or an emulator that ignores the audience"}
	case t.claims.email == "":
		return nil, &MintError{Audience: audience, Reason: ErrMintedToken, Detail: "it has no email, so every receiver would refuse it: use the credentials of a service account"}
	case t.claims.expires == 0:
		return nil, &MintError{Audience: audience, Reason: ErrMintedToken, Detail: "it has no exp, so every receiver would refuse it"}
	case !now.Before(expires):
		return nil, &MintError{Audience: audience, Reason: ErrMintedToken, Detail: "it expired at " + stamp(t.claims.expires) + " by this machine's clock: set the clock"}
	}
	early := min(earlyRefresh, expires.Sub(now)/2)
	return &minted{raw: raw, minted: now, refreshAt: expires.Add(-early), expires: expires}, nil
}

// request asks for a new token. The sources of the libraries below keep tokens by clocks of their own, so none is used
// twice.
func (m *Minter) request(audience string) (string, error) {
	c, err := m.config.credentials()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithCancel(m.ctx)
	defer cancel()
	client := *m.config.HTTPClient
	client.Transport = &boundTransport{ctx: ctx, base: client.Transport}
	ctx = context.WithValue(ctx, oauth2.HTTPClient, &client)
	if c.account != "" && !isAttached(ctx, c) {
		return m.impersonate(ctx, &client, c, audience)
	}
	var options []option.ClientOption
	if c.document != nil {
		// The option that succeeded this one switches idtoken to an implementation that impersonates without credentials.
		options = append(options, option.WithCredentialsJSON(c.document)) //nolint:staticcheck // see above
	}
	ts, err := idtoken.NewTokenSource(ctx, audience, options...)
	if err != nil {
		return "", mintError(audience, err)
	}
	t, err := ts.Token()
	if err != nil {
		return "", mintError(audience, err)
	}
	return t.AccessToken, nil
}

// boundTransport ends requests with a context that their maker does not know of.
type boundTransport struct {
	ctx  context.Context
	base http.RoundTripper
}

func (t *boundTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	context.AfterFunc(t.ctx, cancel) //nolint:contextcheck // also once the answer has been read: mint cancels when it returns
	base := t.base
	if base == nil {
		base = http.DefaultTransport
	}
	return base.RoundTrip(r.WithContext(ctx))
}

// add makes room for an audience, if need be by forgetting those without a valid token.
func (m *Minter) add(audience string, now time.Time) (*source, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	sources := maps.Clone(*m.sources.Load())
	if s := sources[audience]; s != nil {
		return s, nil
	}
	if len(sources) >= m.config.MaxAudiences {
		maps.DeleteFunc(sources, func(_ string, s *source) bool { return !s.token.Load().valid(now) })
	}
	if len(sources) >= m.config.MaxAudiences {
		return nil, &MintError{Audience: audience, Reason: ErrNoAudience, Detail: fmt.Sprintf("there are tokens for %d audiences already, the limit: "+
			"an audience is a receiver's configured URL, not one per request; if there really are more receivers, raise MinterConfig.MaxAudiences", len(sources))}
	}
	s := &source{}
	sources[audience] = s
	m.sources.Store(&sources)
	return s, nil
}
