package auth

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// attempt is one token on its way through a verifier's checks.
type attempt struct {
	ctx      context.Context
	verifier *Verifier
	now      time.Time
	raw      string

	token     token     // as far as it has been read
	keys      *keys     // with the token's key among them
	key       keyPrint  // what the signature was checked with
	assurance Assurance // who checked the signature
}

// check is one thing that a token must show. Verify runs a verifier's checks in order until one fails;
// Explain runs all that can be run.
type check struct {
	name     string
	needs    []string // the checks before this one without which it cannot be run
	run      func(*attempt) *Error
	expected func(*Verifier) string // for Explain, as the next
	came     func(*unread) string
}

// checks are what a verifier of this profile asks of a token. They are cheap first: a token that is malformed or has
// expired costs neither a request for keys nor the arithmetic of a signature.
func (p *profile) checks() []check {
	list := []check{
		{"form", nil, checkForm, expectedForm, (*unread).form},
		{"header", []string{"form"}, checkHeader, expectedHeader, (*unread).headerNames},
		{"alg", []string{"header"}, checkAlgorithm, expectedAlgorithm, inHeader("alg")},
		{"typ", []string{"header"}, checkType, expectedType, inHeader("typ")},
		{"payload", []string{"form"}, checkPayload, expectedPayload, (*unread).payloadNames},
		{"exp", []string{"payload"}, checkExpires, expectedExpires, secondsInPayload("exp")},
		{"kid", []string{"alg"}, checkKey, expectedKey, inHeader("kid")},
		{"signature", []string{"alg", "typ", "exp", "kid"}, checkSignature, expectedSignature, (*unread).signature},
		{"iss", []string{"payload"}, checkIssuer, expectedIssuer, inPayload("iss")},
		{"aud", []string{"payload"}, checkAudience, expectedAudience, inPayload("aud")},
		{"sub", []string{"payload"}, checkSubject, expectedSubject, inPayload("sub")},
		{"iat", []string{"payload"}, checkIssuedAt, expectedIssuedAt, secondsInPayload("iat")},
		{"nbf", []string{"payload"}, checkNotBefore, expectedNotBefore, secondsInPayload("nbf")},
		{"lifetime", []string{"iat"}, checkLifetime, expectedLifetime, (*unread).lifetime},
		{"email", []string{"payload"}, checkEmail, expectedEmail, inPayload("email")},
	}
	if p.emailVerified {
		list = append(list, check{"email_verified", []string{"payload"}, checkEmailVerified, expectedEmailVerified, inPayload("email_verified")})
	}
	return append(list, check{"caller", []string{"email"}, checkCaller, expectedCaller, inPayload("email")})
}

func checkForm(a *attempt) *Error { return a.token.split(a.raw) }

func expectedForm(*Verifier) string {
	return fmt.Sprintf("3 parts, at most %d bytes", maxTokenBytes)
}

func checkHeader(a *attempt) *Error { return a.token.readHeader() }

func expectedHeader(*Verifier) string { return "a JSON object with alg and kid, without crit" }

func checkAlgorithm(a *attempt) *Error {
	p := a.verifier.profile
	if a.token.algorithm == p.algorithm {
		return nil
	}
	return refuse(ErrAlgorithm, "it is "+quote(a.token.algorithm)+"; "+p.signer+" with "+p.algorithm)
}

func expectedAlgorithm(v *Verifier) string { return v.profile.algorithm }

func checkType(a *attempt) *Error {
	if strings.EqualFold(a.token.typ, "JWT") {
		return nil
	}
	return refuse(ErrMalformed, "its typ is "+quote(a.token.typ)+"; an ID token's is JWT")
}

func expectedType(*Verifier) string { return "JWT, or none" }

func checkPayload(a *attempt) *Error { return a.token.readPayload() }

func expectedPayload(*Verifier) string { return "a JSON object, each member once and of its type" }

// checkExpires grants no skew: whoever holds a token can ask for a new one, and idtoken grants none either.
func checkExpires(a *attempt) *Error {
	c := &a.token.claims
	switch {
	case c.expires == 0:
		return refuse(ErrMalformed, "its payload has no exp")
	case a.now.Unix() < c.expires:
		return nil
	}
	return c.expired(a.now)
}

func (c *claims) expired(now time.Time) *Error {
	return refuse(ErrExpired, fmt.Sprintf("it expired at %s, %v ago: send a fresh one", stamp(c.expires), ago(now, c.expires)))
}

func expectedExpires(v *Verifier) string { return "after " + stamp(v.config.Now().Unix()) }

// checkKey asks for the issuer's keys. Cloud Run has removed a signature only of a token that it has checked with
// keys of its own.
func checkKey(a *attempt) *Error {
	if a.token.signatureRemoved {
		return nil
	}
	var err *Error
	a.keys, err = a.verifier.config.Keys.lookup(a.ctx, a.keyName())
	return err
}

func (a *attempt) keyName() keyName { return keyName{a.token.algorithm, a.token.keyID} }

func expectedKey(v *Verifier) string { return "a key of " + v.config.Keys.config.URL }

// checkSignature asks idtoken, with the keys of this moment.
func checkSignature(a *attempt) *Error {
	switch {
	case a.token.segments[2] == "":
		return refuse(ErrMalformed, "its signature is missing")
	case !a.token.signatureRemoved:
	case a.verifier.config.PlatformAsserts:
		a.assurance = PlatformAsserted
		return nil
	case a.verifier.profile.algorithm != rs256:
		return refuse(ErrSignature, "it was removed, which no platform does to these: the token is forged")
	default:
		return refuse(ErrSignatureRemoved, "the platform in front of this service (Cloud Run does) checked the token and removed its signature, so it cannot be checked again: "+
			"if the service is private, set VerifierConfig.PlatformAsserts (with dispatch: platform_asserts for this service in WAYBILL_ENV); "+
			"if anybody may call it, this token is worth nothing")
	}
	signature, err := decodeSegment(a.token.segments[2])
	if err != nil {
		return refuse(ErrMalformed, "its signature "+err.Error())
	}
	// idtoken slices an ES256 signature at 32 bytes whatever its length, and panics if it is shorter.
	if a.token.algorithm == es256 && len(signature) != 64 {
		return refuse(ErrSignature, "it does not have the 64 bytes of an ES256 signature")
	}
	if _, err := a.keys.validator.Validate(a.ctx, a.raw, ""); err != nil {
		// After the checks before this one only two things can be wrong, and idtoken's errors have no types:
		// exp, which it compares with the wall clock, or the signature.
		if wall := time.Now(); wall.Unix() > a.token.claims.expires {
			return a.token.claims.expired(wall)
		}
		return refuse(ErrSignature, "it does not match the key "+quote(a.token.keyID)+": the token was changed on its way or forged")
	}
	a.key, a.assurance = a.keys.prints[a.keyName()], Verified
	return nil
}

func expectedSignature(v *Verifier) string {
	if v.config.PlatformAsserts {
		return "one that matches the key, or removed by the platform"
	}
	return "one that matches the key"
}

func checkIssuer(a *attempt) *Error {
	c, accepted := &a.token.claims, a.verifier.config.Issuers
	if slices.Contains(accepted, c.issuer) {
		return nil
	}
	return refuse(ErrIssuer, fmt.Sprintf("it was issued by %s; accepted: %s", quote(c.issuer), quoteAll(accepted)))
}

func expectedIssuer(v *Verifier) string { return quoteAll(v.config.Issuers) }

func checkAudience(a *attempt) *Error {
	c, accepted := &a.token.claims, a.verifier.config.Audiences
	if slices.Contains(accepted, c.audience) {
		return nil
	}
	detail := fmt.Sprintf("it is for %s; this service expects %s", quote(c.audience), quoteAll(accepted))
	if slices.ContainsFunc(accepted, func(e string) bool { return strings.TrimRight(e, "/") == strings.TrimRight(c.audience, "/") }) {
		detail += " (they differ by a trailing slash: audiences are compared exactly)"
	}
	return refuse(ErrAudience, detail+": mint the token for that audience, or add the other one to "+a.verifier.profile.config+".Audiences")
}

func expectedAudience(v *Verifier) string { return quoteAll(v.config.Audiences) }

func checkSubject(a *attempt) *Error {
	if a.token.claims.subject != "" {
		return nil
	}
	return refuse(ErrMalformed, "its payload has no sub")
}

func expectedSubject(*Verifier) string { return "the account's ID" }

func checkIssuedAt(a *attempt) *Error {
	if a.token.claims.issuedAt == 0 {
		return refuse(ErrMalformed, "its payload has no iat")
	}
	return a.notAhead("iat", a.token.claims.issuedAt)
}

func expectedIssuedAt(v *Verifier) string {
	return "at most " + v.config.Skew.String() + " after " + stamp(v.config.Now().Unix())
}

func checkNotBefore(a *attempt) *Error { return a.notAhead("nbf", a.token.claims.notBefore) }

func expectedNotBefore(*Verifier) string { return "none, or as iat" }

func (a *attempt) notAhead(claim string, at int64) *Error {
	skew := a.verifier.config.Skew
	if time.Unix(at, 0).Sub(a.now) <= skew {
		return nil
	}
	return refuse(ErrNotYetValid, fmt.Sprintf("its %s is %s, %v ahead of this machine's clock, more than the %v allowed: check the clocks", claim, stamp(at), -ago(a.now, at), skew))
}

func checkLifetime(a *attempt) *Error {
	lives, limit := a.token.claims.expires-a.token.claims.issuedAt, a.verifier.config.MaxLifetime
	if lives <= int64(limit/time.Second) {
		return nil
	}
	return refuse(ErrLifetime, fmt.Sprintf("it is valid for %v, at most %v is accepted", time.Duration(lives)*time.Second, limit))
}

func expectedLifetime(v *Verifier) string { return "at most " + v.config.MaxLifetime.String() }

func checkEmail(a *attempt) *Error {
	if a.token.claims.email != "" {
		return nil
	}
	return refuse(ErrEmail, "it has no email: "+a.verifier.profile.noEmail)
}

func expectedEmail(*Verifier) string { return "the account's email" }

func checkEmailVerified(a *attempt) *Error {
	if a.token.claims.emailVerified {
		return nil
	}
	return refuse(ErrEmail, "its email_verified is not true, so its email proves nothing")
}

func expectedEmailVerified(*Verifier) string { return "true" }

// checkCaller comes last: it answers 403, and it is asked again of every cached token.
func checkCaller(a *attempt) *Error { return a.verifier.mayCall(a.token.claims.email) }

func (v *Verifier) mayCall(email string) *Error {
	if _, declared := v.callers[email]; declared || v.anyCaller {
		return nil
	}
	return &Error{
		Reason: ErrCaller, Email: email,
		Detail: quote(email) + " may not call this: if it should, " + v.profile.declare,
	}
}

func expectedCaller(v *Verifier) string {
	if v.anyCaller {
		return "anyone whom IAP lets in"
	}
	callers := make([]string, 0, len(v.callers))
	for c := range v.callers {
		callers = append(callers, c)
	}
	slices.Sort(callers)
	return quoteAll(callers)
}

func stamp(seconds int64) string { return time.Unix(seconds, 0).UTC().Format(time.RFC3339) }

func ago(now time.Time, seconds int64) time.Duration {
	return now.Sub(time.Unix(seconds, 0)).Round(time.Second)
}

func quoteAll(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = quote(s)
	}
	return strings.Join(quoted, " or ")
}
