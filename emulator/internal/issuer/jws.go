package issuer

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// header is a JOSE header (RFC 7515) as Google writes it.
type header struct {
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid,omitempty"`
	Type      string `json:"typ,omitempty"`
}

// base64url refuses the paddings and spare bits by which one token could be written in two ways.
func base64url() *base64.Encoding { return base64.RawURLEncoding.Strict() }

// sign makes a compact JWS by RS256.
func sign(key *rsa.PrivateKey, kid string, claims any) (string, error) {
	h, err := json.Marshal(header{Algorithm: "RS256", KeyID: kid, Type: "JWT"})
	if err != nil {
		return "", fmt.Errorf("emulator: token header: %w", err)
	}
	c, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("emulator: token claims: %w", err)
	}
	signed := base64url().EncodeToString(h) + "." + base64url().EncodeToString(c)
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil {
		return "", fmt.Errorf("emulator: signing a token: %w", err)
	}
	return signed + "." + base64url().EncodeToString(signature), nil
}

var errSignature = errors.New("its signature does not match")

// verify checks a compact JWS by RS256 and decodes its claims. The header's kid, which may be empty, is what the
// key is asked for by.
func verify(compact string, key func(kid string) (*rsa.PublicKey, error), claims any) error {
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		return fmt.Errorf("it has %d segments, not 3", len(parts))
	}
	var h header
	if err := decodeSegment(parts[0], &h); err != nil {
		return fmt.Errorf("its header: %w", err)
	}
	if h.Algorithm != "RS256" {
		return fmt.Errorf("its algorithm is %q, not RS256", h.Algorithm)
	}
	signature, err := base64url().DecodeString(parts[2])
	if err != nil {
		return errors.New("its signature is not base64url")
	}
	public, err := key(h.KeyID)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], signature); err != nil {
		return errSignature
	}
	if err := decodeSegment(parts[1], claims); err != nil {
		return fmt.Errorf("its claims: %w", err)
	}
	return nil
}

func decodeSegment(segment string, v any) error {
	raw, err := base64url().DecodeString(segment)
	if err != nil {
		return errors.New("not base64url")
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return errors.New("not the JSON expected")
	}
	return nil
}
