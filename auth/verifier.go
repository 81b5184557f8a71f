package auth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

const defaultCacheSize = 1024 // tokens

// VerifierConfig configures a [Verifier]. Audiences and Callers are required.
type VerifierConfig struct {
	// Audiences are what a token's aud may be: this service's URL, as its callers know it. Required.
	// They are compared exactly; with and without a trailing slash are two audiences.
	// Never derive them from a request's Host header.
	Audiences []string

	// Callers are the service accounts that may call, by email. Required: any account of Google Cloud, of anybody's,
	// can obtain a token for any audience, so the audience alone keeps nobody out.
	Callers []string

	// Keys are the issuer's keys. Default: a KeySet of its own with Google's.
	Keys *KeySet

	// Issuers are what a token's iss may be. Default: https://accounts.google.com and accounts.google.com.
	Issuers []string

	// Skew is how far a token's iat and nbf may lie ahead of this machine's clock. Default: 1 minute.
	// exp gets no skew.
	Skew time.Duration

	// MaxLifetime is the most that may lie between a token's iat and exp. Default: 1 hour, as Google issues them.
	MaxLifetime time.Duration

	// PlatformAsserts says that the platform in front of this service checks every token and lets in only whom it has
	// checked, as Cloud Run does for a service that requires authentication. Cloud Run then removes the signature, and
	// with this set such a token is accepted once all its claims have passed; its Identity says PlatformAsserted.
	// A token whose signature is there is still verified in full.
	//
	// On a service that anybody may call this lets everybody in as anyone. Set it only where the deployment makes the
	// service private.
	PlatformAsserts bool

	// CacheSize is how many verified tokens are remembered, about 1 KiB each. Default: 1024. Negative: none.
	CacheSize int

	// Now is the clock. Default: time.Now. idtoken's check of the signature looks at exp by time.Now all the same.
	Now func() time.Time

	// Logger reports the requests that Middleware refuses. Default: slog.Default().
	Logger *slog.Logger
}

func (c *VerifierConfig) validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("auth: VerifierConfig."+format, args...))
	}
	if len(c.Audiences) == 0 {
		bad("Audiences is empty: name the URL that this service's callers mint their tokens for, such as https://mailer-abc.a.run.app")
	}
	for _, a := range c.Audiences {
		if a == "" || strings.TrimSpace(a) != a {
			bad("Audiences holds %s: an audience is not empty and has no space around it", quote(a))
		}
	}
	for _, i := range c.Issuers {
		if i == "" {
			bad(`Issuers holds "": leave Issuers nil for Google's, or name the issuer`)
		}
	}
	if c.Skew < 0 {
		bad("Skew is %v: leave it zero for the default, or give a positive duration", c.Skew)
	}
	if c.MaxLifetime < 0 {
		bad("MaxLifetime is %v: leave it zero for the default, or give a positive duration", c.MaxLifetime)
	}
	if err := validateCallers(c.Callers); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func validateCallers(callers []string) error {
	if len(callers) == 0 {
		return errors.New("auth: no callers are declared: name the service accounts that may call, such as login@PROJECT.iam.gserviceaccount.com")
	}
	var errs []error
	for _, c := range callers {
		// IAP prefixes the email of an account that is not Google's with the provider, which has a slash: securetoken.google.com/PROJECT:EMAIL.
		if prefix, _, ok := strings.Cut(c, ":"); ok && !strings.Contains(prefix, "/") {
			errs = append(errs, fmt.Errorf("auth: the caller %s is an IAM member: name the email alone, without a prefix", quote(c)))
			continue
		}
		name, domain, ok := strings.Cut(c, "@")
		if !ok || name == "" || domain == "" || strings.ContainsAny(c, " \t\r\n*") || strings.Contains(domain, "@") {
			errs = append(errs, fmt.Errorf("auth: the caller %s is not an account's email, such as login@PROJECT.iam.gserviceaccount.com; there are no wildcards", quote(c)))
		}
	}
	return errors.Join(errs...)
}

// Verifier decides by an ID token who calls, and whether they may. [NewVerifier] makes one for the ID tokens of
// service accounts, [NewIAPVerifier] one for the assertions of Identity-Aware Proxy.
// It is safe for concurrent use.
type Verifier struct {
	config    VerifierConfig
	profile   *profile
	checks    []check
	callers   map[string]struct{}
	anyCaller bool
	cache     *tokenCache // shared by all that ForCallers has made; nil: none
}

// NewVerifier returns a Verifier, or all that is wrong with its configuration. It makes no request yet.
func NewVerifier(config VerifierConfig) (*Verifier, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	if config.Keys == nil {
		keys, err := NewKeySet(KeySetConfig{Now: config.Now, Logger: config.Logger})
		if err != nil {
			return nil, err
		}
		config.Keys = keys
	}
	return newVerifier(config, serviceProfile()), nil
}

// newVerifier fills in what a checked configuration leaves to the profile.
func newVerifier(config VerifierConfig, p *profile) *Verifier {
	config.Audiences = slices.Clone(config.Audiences)
	config.Issuers = slices.Clone(config.Issuers)
	if len(config.Issuers) == 0 {
		config.Issuers = p.issuers
	}
	config.Skew = cmp.Or(config.Skew, p.skew)
	config.MaxLifetime = cmp.Or(config.MaxLifetime, p.lifetime)
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	v := &Verifier{config: config, profile: p, checks: p.checks(), callers: set(config.Callers)}
	if size := cmp.Or(config.CacheSize, defaultCacheSize); size > 0 {
		v.cache = newTokenCache(size)
	}
	return v
}

// ForCallers returns a Verifier that lets in these callers instead and is otherwise the same: one for each route of a
// service. It shares the keys and the cache of verified tokens with v.
func (v *Verifier) ForCallers(callers ...string) (*Verifier, error) {
	if err := validateCallers(callers); err != nil {
		return nil, err
	}
	other := *v
	other.callers, other.anyCaller = set(callers), false
	return &other, nil
}

// Verify checks token and returns who it stands for. The error is an *Error that wraps one of this package's sentinels.
// ctx bounds the wait for the issuer's keys, which most calls do without.
func (v *Verifier) Verify(ctx context.Context, token string) (Identity, error) {
	now := v.config.Now()
	var digest tokenDigest
	if v.cache != nil && len(token) <= maxTokenBytes {
		digest = digestOf(token)
		if hit, ok := v.cache.get(digest, now); ok {
			if current, err := v.config.Keys.lookup(ctx, hit.name); err == nil && current.prints[hit.name] == hit.key {
				if err := v.mayCall(hit.identity.Email); err != nil {
					return Identity{}, err
				}
				return hit.identity, nil
			}
			v.cache.purge(v.config.Keys.stands)
		}
	}
	a, err := v.verify(ctx, token, now)
	if err != nil {
		return Identity{}, err
	}
	id := a.token.claims.identity(a.assurance)
	if a.assurance == Verified {
		v.cache.put(digest, verified{identity: id, name: a.keyName(), key: a.key})
	}
	return id, nil
}

// verify runs the checks without the cache.
func (v *Verifier) verify(ctx context.Context, raw string, now time.Time) (*attempt, error) {
	a := &attempt{ctx: ctx, verifier: v, now: now, raw: raw}
	for i := range v.checks {
		if err := v.checks[i].run(a); err != nil {
			return nil, err
		}
	}
	return a, nil
}

func set(list []string) map[string]struct{} {
	s := make(map[string]struct{}, len(list))
	for _, e := range list {
		s[e] = struct{}{}
	}
	return s
}
