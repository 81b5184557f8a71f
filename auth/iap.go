package auth

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"
)

// IAPKeysURL is where Google publishes the keys that sign the assertions of Identity-Aware Proxy.
const IAPKeysURL = "https://www.gstatic.com/iap/verify/public_key-jwk"

var iapAudience = regexp.MustCompile(`^/projects/[0-9]+/[^/]+/.+$`)

// IAPConfig configures a Verifier for a service behind Identity-Aware Proxy. Audiences are required, and either
// Callers or AnyCaller.
type IAPConfig struct {
	// Audiences are what an assertion's aud may be: the "signed header JWT audience" that IAP's page shows for this
	// service, /projects/NUMBER/global/backendServices/ID (a load balancer), /projects/NUMBER/apps/ID (App Engine)
	// or /projects/NUMBER/locations/REGION/services/NAME (Cloud Run). Required, compared exactly.
	Audiences []string

	// Callers are the accounts, people's included, that may call, by email.
	Callers []string

	// AnyCaller lets in whomever IAP lets in. Unlike an ID token, an assertion for this audience exists only for
	// those to whom IAM grants access through IAP (roles/iap.httpsResourceAccessor).
	AnyCaller bool

	// Keys are IAP's keys. Default: a KeySet of its own with those at IAPKeysURL.
	Keys *KeySet

	// Skew is how far an assertion's iat may lie ahead of this machine's clock. Default: 30 s. exp gets none.
	// An assertion lives for 10 minutes; up to 1 minute more is accepted.
	Skew time.Duration

	// CacheSize is how many verified assertions are remembered, about 1 KiB each. Default: 1024. Negative: none.
	CacheSize int

	// Now is the clock. Default: time.Now. idtoken's check of the signature looks at exp by time.Now all the same.
	Now func() time.Time

	// Logger reports the requests that Middleware refuses. Default: slog.Default().
	Logger *slog.Logger
}

func (c *IAPConfig) validate() error {
	var errs []error
	if len(c.Audiences) == 0 {
		errs = append(errs, errors.New("auth: IAPConfig.Audiences is empty: name the signed header JWT audience that IAP's page shows, such as /projects/NUMBER/global/backendServices/ID"))
	}
	for _, a := range c.Audiences {
		if !iapAudience.MatchString(a) {
			errs = append(errs, fmt.Errorf("auth: IAPConfig.Audiences holds %s: the signed header JWT audience begins with /projects/NUMBER/, with the project's number; it is not a URL or a client ID", quote(a)))
		}
	}
	if c.Skew < 0 {
		errs = append(errs, fmt.Errorf("auth: IAPConfig.Skew is %v: leave it zero for the default, or give a positive duration", c.Skew))
	}
	switch {
	case c.AnyCaller && len(c.Callers) > 0:
		errs = append(errs, errors.New("auth: IAPConfig has both Callers and AnyCaller: set one of them"))
	case !c.AnyCaller && len(c.Callers) == 0:
		errs = append(errs, errors.New("auth: IAPConfig has no callers: name the accounts that may call in Callers, or set AnyCaller for whomever IAP lets in"))
	case !c.AnyCaller:
		if err := validateCallers(c.Callers); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// NewIAPVerifier returns a Verifier of the assertions that Identity-Aware Proxy adds to requests in the header
// X-Goog-Iap-Jwt-Assertion, or all that is wrong with its configuration. The Authorization header is not looked at,
// and neither are the unsigned X-Goog-Authenticated-User headers, which anybody who gets past the proxy can send.
//
// The Email of an Identity is a person's or a service account's; the Subject begins with its provider
// (accounts.google.com:ID). It makes no request yet.
// https://cloud.google.com/iap/docs/signed-headers-howto
func NewIAPVerifier(config IAPConfig) (*Verifier, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	if config.Keys == nil {
		keys, err := NewKeySet(KeySetConfig{URL: IAPKeysURL, Now: config.Now, Logger: config.Logger})
		if err != nil {
			return nil, err
		}
		config.Keys = keys
	}
	v := newVerifier(VerifierConfig{
		Audiences: config.Audiences, Callers: config.Callers, Keys: config.Keys,
		Skew: config.Skew, CacheSize: config.CacheSize, Now: config.Now, Logger: config.Logger,
	}, iapProfile())
	v.anyCaller = config.AnyCaller
	return v, nil
}
