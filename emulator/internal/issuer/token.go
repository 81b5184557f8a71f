package issuer

import (
	"crypto/rand"
	"errors"
	"fmt"
	"time"
)

const (
	// lifetime is how long Google's ID tokens are valid.
	lifetime = time.Hour
	// reuse is how long a token is handed out again. Google's Go client takes it that a token from the
	// metadata server has 55 minutes left, whatever the token says.
	reuse = 4 * time.Minute
	// maxTokens bounds the cache: audiences may be as many as there are target URLs.
	maxTokens = 4096
)

// claims are those of Google's ID tokens.
type claims struct {
	Audience        string `json:"aud"`
	AuthorizedParty string `json:"azp"`
	Email           string `json:"email,omitempty"`
	EmailVerified   bool   `json:"email_verified,omitempty"`
	ExpiresAt       int64  `json:"exp"`
	Google          any    `json:"google,omitempty"`
	IssuedAt        int64  `json:"iat"`
	Issuer          string `json:"iss"`
	Subject         string `json:"sub"`
}

// variant is what a token may carry beside the usual claims.
type variant int

const (
	withEmail    variant = iota // what Cloud Tasks, Pub/Sub and key files get
	withoutEmail                // generateIdToken without includeEmail
	withInstance                // the metadata server's format=full
)

type tokenKey struct {
	account, audience string
	variant           variant
}

type token struct {
	compact string
	fresh   time.Time // hand it out again until then
}

// IDToken returns an ID token of the account for the audience, valid for 56 to 60 minutes.
// It fails when the account is not an email address or the audience is empty.
func (i *Issuer) IDToken(account, audience string) (string, error) {
	return i.idToken(tokenKey{account, audience, withEmail})
}

func (i *Issuer) idToken(key tokenKey) (string, error) {
	if err := checkAccount(key.account); err != nil {
		return "", err
	}
	if key.audience == "" {
		return "", errors.New("emulator: an ID token needs an audience: the receiver's own URL, as in https://mailer.example.com")
	}
	now := i.config.Now()
	i.mu.Lock()
	cached, ok := i.tokens[key]
	i.mu.Unlock()
	if ok && now.Before(cached.fresh) {
		return cached.compact, nil
	}

	private, id, err := i.keys.signing.get()
	if err != nil {
		return "", fmt.Errorf("emulator: no key to sign with: %w", err)
	}
	compact, err := sign(private, id, i.claims(key, now))
	if err != nil {
		return "", err
	}
	i.remember(key, token{compact: compact, fresh: now.Add(reuse)})
	return compact, nil
}

func (i *Issuer) claims(key tokenKey, now time.Time) claims {
	c := claims{
		Audience:        key.audience,
		AuthorizedParty: subject(key.account),
		Email:           key.account,
		EmailVerified:   true,
		ExpiresAt:       now.Add(lifetime).Unix(),
		IssuedAt:        now.Unix(),
		Issuer:          Name,
		Subject:         subject(key.account),
	}
	switch key.variant {
	case withoutEmail:
		c.Email, c.EmailVerified = "", false
	case withInstance:
		c.Google = map[string]any{"compute_engine": map[string]any{
			"project_id":     i.config.Project,
			"project_number": ProjectNumber(i.config.Project),
			"zone":           i.config.Location + "-1",
			"instance_id":    digits("instance:"+key.account, 19),
			"instance_name":  "emulator",
		}}
	case withEmail:
	}
	return c
}

func (i *Issuer) remember(key tokenKey, t token) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.tokens) >= maxTokens {
		for any := range i.tokens { // a map's order is random enough to choose whom to forget
			delete(i.tokens, any)
			break
		}
	}
	i.tokens[key] = t
}

// AccessToken returns an OAuth access token of the account. It is opaque, as Google's are, and
// nothing checks it.
func (i *Issuer) AccessToken(account string) (string, error) {
	if err := checkAccount(account); err != nil {
		return "", err
	}
	return "ya29.c." + rand.Text() + rand.Text(), nil
}
