package issuer

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"time"
)

const (
	grantType = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	// skew is how far a client's clock may differ from ours.
	skew = 5 * time.Minute
)

// assertion is what a service account's key file signs in order to get a token (RFC 7523). Claims beyond
// these, as the scope, decide nothing here.
type assertion struct {
	Issuer         string `json:"iss"`
	Audience       string `json:"aud"`
	IssuedAt       int64  `json:"iat"`
	ExpiresAt      int64  `json:"exp"`
	TargetAudience string `json:"target_audience"`
}

// serveToken is the token endpoint: an ID token when the assertion has a target_audience, else an access token.
func (i *Issuer) serveToken(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
	if err := r.ParseForm(); err != nil {
		writeTokenError(w, "invalid_request", "the body must be a form with grant_type and assertion")
		return
	}
	if r.PostForm.Get("grant_type") != grantType {
		writeTokenError(w, "unsupported_grant_type", "use grant_type="+grantType+" with a key file of this emulator (GET /_emulator/keys/ACCOUNT)")
		return
	}
	a, err := i.checkAssertion(r.PostForm.Get("assertion"), "http://"+r.Host+tokenPath)
	if err != nil {
		writeTokenError(w, "invalid_grant", "the assertion is refused: "+err.Error())
		return
	}
	if a.TargetAudience != "" {
		idToken, err := i.IDToken(a.Issuer, a.TargetAudience)
		if err != nil {
			writeTokenError(w, "invalid_grant", err.Error())
			return
		}
		writeJSON(w, http.StatusOK, map[string]any{"id_token": idToken})
		return
	}
	response, err := i.accessTokenResponse(a.Issuer)
	if err != nil {
		writeTokenError(w, "invalid_grant", err.Error())
		return
	}
	writeJSON(w, http.StatusOK, response)
}

// checkAssertion verifies an assertion. reachedAt is the endpoint's URL as the client wrote it, which
// may be another of the emulator's names (localhost for 127.0.0.1).
func (i *Issuer) checkAssertion(compact, reachedAt string) (assertion, error) {
	private, _, err := i.keys.account.get()
	if err != nil {
		return assertion{}, err
	}
	var a assertion
	// All key files hold this one key, whatever kid a client puts into its assertion.
	err = verify(compact, func(string) (*rsa.PublicKey, error) { return &private.PublicKey, nil }, &a)
	switch {
	case errors.Is(err, errSignature):
		return assertion{}, errors.New("its signature is not by a key file of this emulator: fetch the file again, keys change at every start")
	case err != nil:
		return assertion{}, err
	}
	if err := checkAccount(a.Issuer); err != nil {
		return assertion{}, fmt.Errorf("iss: %w", err)
	}
	if a.Audience != i.TokenURL() && a.Audience != reachedAt {
		return assertion{}, fmt.Errorf("its aud is %q, not the token endpoint %q", a.Audience, i.TokenURL())
	}
	now, issued, expires := i.config.Now(), time.Unix(a.IssuedAt, 0), time.Unix(a.ExpiresAt, 0)
	switch {
	case !expires.After(now.Add(-skew)):
		return assertion{}, errors.New("it has expired: check the clock, or sign a new one")
	case issued.After(now.Add(skew)):
		return assertion{}, errors.New("its iat is in the future: check the clock")
	case expires.Sub(issued) > lifetime:
		return assertion{}, errors.New("it is valid for more than an hour: exp may be at most iat + 3600")
	}
	return a, nil
}

// writeTokenError answers in the form of RFC 6749, 5.2.
func writeTokenError(w http.ResponseWriter, code, description string) {
	writeJSON(w, http.StatusBadRequest, map[string]any{"error": code, "error_description": description})
}
