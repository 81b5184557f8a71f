package auth

import (
	"context"
	"time"
)

// Assurance says who checked the signature behind an [Identity].
// The zero value says that nobody did; no function of this package returns it without an error.
type Assurance int

const (
	// Verified means that the token's signature was checked here, by [Verifier.Verify].
	Verified Assurance = iota + 1

	// PlatformAsserted means that the platform in front of this service checked the token and removed
	// its signature, and that the configuration says to believe it (VerifierConfig.PlatformAsserts).
	// Every claim was checked here; the signature could not be.
	PlatformAsserted
)

// String returns "verified", "platform-asserted" or "none".
func (a Assurance) String() string {
	switch a {
	case Verified:
		return "verified"
	case PlatformAsserted:
		return "platform-asserted"
	default:
		return "none"
	}
}

// Identity is who calls, as their ID token says and as a [Verifier] has checked it.
type Identity struct {
	Email     string    // the service account; one of the declared callers
	Subject   string    // the account's stable numeric ID: unlike the email it is never given to another account
	Issuer    string    // who issued the token
	Audience  string    // whom the token was issued for: one of the verifier's audiences
	IssuedAt  time.Time // the token's iat, whole seconds, UTC
	ExpiresAt time.Time // the token's exp, whole seconds, UTC
	Assurance Assurance // who checked the signature
}

type identityKey struct{}

// ContextWithIdentity returns a context that carries id. [Verifier.Middleware] uses it;
// tests of handlers may as well.
func ContextWithIdentity(ctx context.Context, id Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, id)
}

// IdentityFrom returns the identity that ctx carries. It reports false if there is none,
// which means that no middleware of this package let the request in.
func IdentityFrom(ctx context.Context) (Identity, bool) {
	id, ok := ctx.Value(identityKey{}).(Identity)
	return id, ok
}
