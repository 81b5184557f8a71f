package issuer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// VerifyIDToken does what Google's front ends do with an ID token: it checks the signature, by the keys that are
// published, the times, and that the audience is exactly one of those given. It returns the email of the account
// that the token speaks for. An error says what is wrong, in a clause that begins with "it" or "its", and never has
// the token in it.
func (i *Issuer) VerifyIDToken(compact string, audiences ...string) (email string, err error) {
	if strings.HasPrefix(compact, accessTokenPrefix) {
		return "", errors.New("it is an access token: send an ID token for the service's URL")
	}
	var c claims
	if err := verify(compact, i.keys.find, &c); err != nil {
		return "", err
	}
	now := i.config.Now()
	switch {
	case c.Issuer != Name:
		return "", fmt.Errorf("its issuer is %q, not %q", c.Issuer, Name)
	case !now.Before(time.Unix(c.ExpiresAt, 0)):
		return "", errors.New("it has expired")
	case time.Unix(c.IssuedAt, 0).After(now.Add(skew)):
		return "", errors.New("its iat is in the future")
	case !slices.Contains(audiences, c.Audience):
		return "", fmt.Errorf("its audience is %q, not one of %q", c.Audience, audiences)
	case c.Email == "" || !c.EmailVerified:
		return "", errors.New("it has no verified email: set includeEmail when generateIdToken makes it")
	}
	return c.Email, nil
}
