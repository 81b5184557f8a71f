package issuer

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
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
	// accessTokenPrefix begins every access token of Google's.
	accessTokenPrefix = "ya29."
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
	pair  *keyPair  // by which it is signed
	fresh time.Time // hand it out again until then

	sign    sync.Once // by whoever needs it first, while the others wait: a signature costs a millisecond
	compact string
	err     error
}

// RotateKeys makes a new key, by which every ID token is signed once it returns. The key before stays published, so
// that its tokens remain valid, until the next rotation, or goes at once if it is to be withdrawn. The file of
// Config.Keys follows; if that fails, nothing has changed. It returns the new key's id.
func (i *Issuer) RotateKeys(withdraw bool) (id string, err error) {
	return i.keys.rotate(withdraw)
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
	t := i.token(key, now)
	t.sign.Do(func() { t.compact, t.err = i.sign(t.pair, i.claims(key, now)) })
	return t.compact, t.err
}

func (i *Issuer) sign(pair *keyPair, c claims) (string, error) {
	private, id, err := pair.get()
	if err != nil {
		return "", fmt.Errorf("emulator: no key to sign with: %w", err)
	}
	return sign(private, id, c)
}

// token returns one that is fresh and by the key that signs now, though perhaps not signed yet.
func (i *Issuer) token(key tokenKey, now time.Time) *token {
	i.mu.Lock()
	defer i.mu.Unlock()
	pair := i.keys.newest()
	if t := i.tokens[key]; t != nil && t.pair == pair && now.Before(t.fresh) {
		return t
	}
	delete(i.tokens, key)
	if len(i.tokens) >= maxTokens {
		for any := range i.tokens { // a map's order is random enough to choose whom to forget
			delete(i.tokens, any)
			break
		}
	}
	t := &token{pair: pair, fresh: now.Add(reuse)}
	i.tokens[key] = t
	return t
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
			"project_id":                  i.config.Project,
			"project_number":              json.Number(ProjectNumber(i.config.Project)), // a number here, unlike elsewhere
			"zone":                        i.zone(),
			"instance_id":                 instanceID(key.account),
			"instance_name":               instanceName,
			"instance_creation_timestamp": i.started.Unix(),
		}}
	case withEmail:
	}
	return c
}

// AccessToken returns an OAuth access token of the account. It is opaque, as Google's are, and
// nothing checks it.
func (i *Issuer) AccessToken(account string) (string, error) {
	if err := checkAccount(account); err != nil {
		return "", err
	}
	return accessTokenPrefix + "c." + rand.Text() + rand.Text(), nil
}
