package auth

import "time"

const (
	rs256 = "RS256"
	es256 = "ES256"
)

// profile is what distinguishes one issuer's tokens from another's.
type profile struct {
	config    string // the name of the configuration, for hints
	header    string // the request's header that carries the token, in its canonical form
	bearer    bool   // whether the token stands after Bearer there
	algorithm string
	signer    string // who signs with that algorithm, for a sentence

	issuers       []string
	skew          time.Duration
	lifetime      time.Duration
	emailVerified bool   // whether the token says so of its email
	noEmail       string // what to do about a token without an email
	declare       string // how to let an account in
}

// serviceProfile is that of the ID tokens of service accounts.
// https://cloud.google.com/docs/authentication/token-types#id
func serviceProfile() *profile {
	return &profile{
		config:        "VerifierConfig",
		header:        "Authorization",
		bearer:        true,
		algorithm:     rs256,
		signer:        "Google signs ID tokens for services",
		issuers:       []string{"https://accounts.google.com", "accounts.google.com"},
		skew:          time.Minute,
		lifetime:      time.Hour,
		emailVerified: true,
		noEmail:       "ask for one when minting (metadata server: format=full; generateIdToken: includeEmail; gcloud: --include-email)",
		declare:       "declare it (with dispatch: dispatch.From on the route; otherwise VerifierConfig.Callers or Verifier.ForCallers)",
	}
}

// iapProfile is that of the assertions of Identity-Aware Proxy.
// https://cloud.google.com/iap/docs/signed-headers-howto#verifying_the_jwt_payload
func iapProfile() *profile {
	const skew = 30 * time.Second
	return &profile{
		config:    "IAPConfig",
		header:    "X-Goog-Iap-Jwt-Assertion",
		algorithm: es256,
		signer:    "IAP signs its assertions",
		issuers:   []string{"https://cloud.google.com/iap"},
		skew:      skew,
		lifetime:  10*time.Minute + 2*skew, // as the page above has it
		noEmail:   "IAP names everyone who has signed in; look at how it is set up",
		declare:   "add it to IAPConfig.Callers",
	}
}
