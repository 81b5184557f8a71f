package auth

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/api/idtoken"
	"google.golang.org/api/option"
)

const (
	minModulusBits = 2048
	maxModulusBits = 8192 // verifying costs with the square of the size
)

// jwk is a public key of a JWKS (RFC 7517): RSA, for RS256, or on the curve P-256, for ES256.
type jwk struct {
	KeyType    string   `json:"kty"`
	Use        string   `json:"use,omitempty"`
	Operations []string `json:"key_ops,omitempty"`
	Algorithm  string   `json:"alg,omitempty"`
	ID         string   `json:"kid"`
	N          string   `json:"n,omitempty"`
	E          string   `json:"e,omitempty"`
	Curve      string   `json:"crv,omitempty"`
	X          string   `json:"x,omitempty"`
	Y          string   `json:"y,omitempty"`
}

// keyName is how a token names the key that it was signed with. The algorithm is part of it: whoever signs must not
// choose what a key is used for.
type keyName struct{ algorithm, id string }

func (k *jwk) name() keyName {
	if k.KeyType == "EC" {
		return keyName{es256, k.ID}
	}
	return keyName{rs256, k.ID}
}

// problem says why the key cannot check an ID token's signature; "" if it can.
func (k *jwk) problem() string {
	switch {
	case k.ID == "":
		return "it has no kid"
	case k.KeyType != "RSA" && k.KeyType != "EC":
		return "it is neither an RSA nor an EC key"
	case k.Use != "" && k.Use != "sig":
		return "it is not for signatures"
	case k.Operations != nil && !slices.Contains(k.Operations, "verify"):
		return "it is not for verifying"
	case k.Algorithm != "" && k.Algorithm != k.name().algorithm:
		return "it is for another algorithm"
	case k.KeyType == "EC":
		return k.curveProblem()
	}
	return k.modulusProblem()
}

func (k *jwk) modulusProblem() string {
	n, err := base64.RawURLEncoding.Strict().DecodeString(k.N)
	if err != nil {
		return "its modulus is not base64url"
	}
	if bits := new(big.Int).SetBytes(n).BitLen(); bits < minModulusBits || bits > maxModulusBits {
		return fmt.Sprintf("it has %d bits, allowed are %d to %d", bits, minModulusBits, maxModulusBits)
	}
	e, err := base64.RawURLEncoding.Strict().DecodeString(k.E)
	if err != nil || len(e) == 0 || len(e) > 4 {
		return "its exponent is not base64url of at most 4 bytes"
	}
	if exp := new(big.Int).SetBytes(e).Int64(); exp < 3 || exp > 1<<31-1 || exp%2 == 0 {
		return "its exponent is not an odd number from 3 to 2^31-1"
	}
	return ""
}

func (k *jwk) curveProblem() string {
	if k.Curve != "P-256" {
		return "its curve is not P-256"
	}
	point := []byte{4} // uncompressed (SEC 1, section 2.3.3)
	for _, coordinate := range []string{k.X, k.Y} {
		b, err := base64.RawURLEncoding.Strict().DecodeString(coordinate)
		if err != nil || len(b) != 32 {
			return "its coordinates are not base64url of 32 bytes each"
		}
		point = append(point, b...)
	}
	if _, err := ecdh.P256().NewPublicKey(point); err != nil {
		return "its point is not on the curve"
	}
	return ""
}

// print tells a key from another that reuses its ID.
func (k *jwk) print() keyPrint {
	return sha256.Sum256([]byte(strings.Join([]string{k.KeyType, k.N, k.E, k.X, k.Y}, ".")))
}

type keyPrint [sha256.Size]byte

// dropped is a key of a document that is not used, and why.
type dropped struct{ kid, problem string }

// readJWKS returns the keys of a JWKS document that may check an ID token's signature. Keys that share
// an ID are all dropped: which of them was meant cannot be known.
func readJWKS(document []byte) (usable []jwk, out []dropped, err error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(document, &set); err != nil {
		return nil, nil, errors.New("the answer is not a JWKS document")
	}
	keys := make([]jwk, 0, len(set.Keys))
	count := make(map[string]int)
	for _, raw := range set.Keys {
		var k jwk
		if err := json.Unmarshal(raw, &k); err != nil {
			out = append(out, dropped{problem: "it is not a JWK"})
			continue
		}
		keys = append(keys, k)
		count[k.ID]++
	}
	for _, k := range keys {
		problem := k.problem()
		if problem == "" && count[k.ID] > 1 {
			problem = "its kid is used more than once"
		}
		if problem != "" {
			out = append(out, dropped{kid: k.ID, problem: problem})
			continue
		}
		usable = append(usable, k)
	}
	if len(usable) == 0 {
		return nil, out, errors.New("the answer holds no usable key")
	}
	return usable, out, nil
}

// newValidator makes a signature check of idtoken's over exactly these keys. It never leaves the process.
func newValidator(usable []jwk) (*idtoken.Validator, error) {
	sets := map[string][]jwk{rs256: {}, es256: {}}
	for _, k := range usable {
		sets[k.name().algorithm] = append(sets[k.name().algorithm], k)
	}
	rsaKeys, err := json.Marshal(map[string][]jwk{"keys": sets[rs256]})
	if err != nil {
		return nil, err
	}
	ecKeys, err := json.Marshal(map[string][]jwk{"keys": sets[es256]})
	if err != nil {
		return nil, err
	}
	return idtoken.NewValidator(context.Background(), option.WithHTTPClient(&http.Client{Transport: &staticKeys{rsaKeys, ecKeys}}))
}

// staticKeys answers idtoken's requests for Google's keys from memory.
type staticKeys struct{ rsa, ec []byte }

func (s *staticKeys) RoundTrip(r *http.Request) (*http.Response, error) {
	document := s.ec // idtoken looks up the keys for ES256, which only IAP uses, at IAP's address
	if r.URL.Path == "/oauth2/v3/certs" {
		document = s.rsa
	}
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Request: r,
		Header: http.Header{"Cache-Control": {"max-age=315360000"}}, // ten years: this set never changes
		Body:   io.NopCloser(bytes.NewReader(document)),
	}, nil
}
