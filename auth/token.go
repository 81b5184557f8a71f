package auth

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// maxTokenBytes is far above Google's tokens (about 1 KiB) and below the usual limit of a proxy for one header.
	maxTokenBytes = 8 << 10

	// removedSignature is what Cloud Run puts in place of the signature of a token that it has checked.
	// https://cloud.google.com/run/docs/troubleshooting#signature-removed
	removedSignature = "SIGNATURE_REMOVED_BY_GOOGLE"
)

// token is an ID token, taken apart but not believed: nothing in it has been checked against a key.
// Every form that two readers could understand differently is refused, before idtoken sees the token.
type token struct {
	segments [3]string // header, payload, signature: as they came

	algorithm, typ, keyID string
	signatureRemoved      bool
	claims                claims
}

// claims are the members of a token's payload that decide who calls (RFC 7519 and OpenID Connect Core).
type claims struct {
	issuer, audience, subject, email string
	emailVerified                    bool
	issuedAt, expires, notBefore     int64 // seconds since 1970; 0 if missing
}

func (c *claims) identity(a Assurance) Identity {
	return Identity{
		Email: c.email, Subject: c.subject, Issuer: c.issuer, Audience: c.audience,
		IssuedAt: time.Unix(c.issuedAt, 0).UTC(), ExpiresAt: time.Unix(c.expires, 0).UTC(),
		Assurance: a,
	}
}

// parse takes a token apart, whoever it is for.
func parse(raw string) (*token, error) {
	t := &token{}
	if err := t.split(raw); err != nil {
		return nil, err
	}
	if err := t.readHeader(); err != nil {
		return nil, err
	}
	if err := t.readPayload(); err != nil {
		return nil, err
	}
	return t, nil
}

// split finds the three segments.
func (t *token) split(raw string) *Error {
	if raw == "" {
		return refuse(ErrNoToken, "the token is empty")
	}
	if len(raw) > maxTokenBytes {
		return refuse(ErrMalformed, fmt.Sprintf("it has %d bytes, the limit is %d", len(raw), maxTokenBytes))
	}
	if strings.HasPrefix(raw, "ya29.") {
		return refuse(ErrMalformed, "this is an access token, not an ID token: call with an ID token for this service's audience "+
			"(auth.Minter; by hand: gcloud auth print-identity-token --impersonate-service-account=ACCOUNT --include-email --audiences=AUDIENCE)")
	}
	var ok bool
	t.segments[0], t.segments[1], _ = strings.Cut(raw, ".")
	t.segments[1], t.segments[2], ok = strings.Cut(t.segments[1], ".")
	if !ok || strings.Contains(t.segments[2], ".") {
		return refuse(ErrMalformed, fmt.Sprintf("it has %d parts separated by dots where an ID token has 3", strings.Count(raw, ".")+1))
	}
	t.signatureRemoved = t.segments[2] == removedSignature
	return nil
}

func (t *token) readHeader() *Error {
	t.typ = "JWT" // if it is missing
	header, err := decodeSegment(t.segments[0])
	if err != nil {
		return refuse(ErrMalformed, "its header "+err.Error())
	}
	err = members(header, func(name, value string) error {
		var err error
		switch name {
		case "alg":
			t.algorithm, err = stringValue(value)
		case "kid":
			t.keyID, err = stringValue(value)
		case "typ":
			t.typ, err = stringValue(value)
		case "crit":
			return errors.New("has crit: extensions that must be understood are not supported")
		default:
			return foldsTo(name, "alg", "kid", "typ", "crit")
		}
		return inMember(name, err)
	})
	switch {
	case err != nil:
		return refuse(ErrMalformed, "its header "+err.Error())
	case t.keyID == "":
		return refuse(ErrMalformed, "its header has no kid, so its key cannot be found")
	}
	return nil
}

func (t *token) readPayload() *Error {
	payload, err := decodeSegment(t.segments[1])
	if err != nil {
		return refuse(ErrMalformed, "its payload "+err.Error())
	}
	c, wrong := &t.claims, ErrMalformed
	err = members(payload, func(name, value string) error {
		var err error
		reason := ErrMalformed
		switch name {
		case "iss":
			reason = ErrIssuer
			c.issuer, err = stringValue(value)
		case "aud":
			reason = ErrAudience
			c.audience, err = stringValue(value)
		case "sub":
			c.subject, err = stringValue(value)
		case "email":
			reason = ErrEmail
			c.email, err = stringValue(value)
		case "email_verified":
			reason = ErrEmail
			if c.emailVerified = value == "true"; !c.emailVerified && value != "false" {
				err = fmt.Errorf("is %s where true is expected", kind(value))
			}
		case "iat":
			c.issuedAt, err = secondsValue(value)
		case "exp":
			c.expires, err = secondsValue(value)
		case "nbf":
			c.notBefore, err = secondsValue(value)
		default:
			return foldsTo(name, "iss", "aud", "sub", "email", "email_verified", "iat", "exp", "nbf")
		}
		if err != nil {
			wrong = reason
		}
		return inMember(name, err)
	})
	if err != nil {
		return refuse(wrong, "its payload "+err.Error())
	}
	return nil
}

// foldsTo refuses a name that a reader which ignores case, as encoding/json does, takes for a known one.
func foldsTo(name string, known ...string) error {
	if slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, name) }) {
		return fmt.Errorf("has the member %s in the wrong case", quote(name))
	}
	return nil
}

func inMember(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("has a bad %s: it %w", name, err)
}

// decodeSegment is strict base64url: no padding, no stray bits, and no line breaks, which base64.Encoding.Strict still
// lets through.
func decodeSegment(s string) (string, error) {
	if strings.IndexByte(s, '\n') < 0 && strings.IndexByte(s, '\r') < 0 {
		var buffer [1024]byte // enough for what Google sends, and on the stack
		if b, err := base64.RawURLEncoding.Strict().AppendDecode(buffer[:0], []byte(s)); err == nil {
			return string(b), nil
		}
	}
	return "", errors.New("is not strict base64url (RFC 7515), on one line and without padding")
}
