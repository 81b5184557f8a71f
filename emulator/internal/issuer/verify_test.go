package issuer

import (
	"crypto/rsa"
	"strings"
	"testing"
	"time"
)

func TestVerifyIDToken(t *testing.T) {
	i, n, _ := newIssuer(t)
	signing, id, err := i.keys.newest().get()
	if err != nil {
		t.Fatal(err)
	}
	files, filesID, err := i.keys.account.get()
	if err != nil {
		t.Fatal(err)
	}
	now := n.get().Unix()
	minted := func(private *rsa.PrivateKey, kid string, change func(*claims)) string {
		c := claims{
			Audience: "https://a.test", Email: account, EmailVerified: true, Issuer: Name, Subject: "1",
			IssuedAt: now, ExpiresAt: now + 3600,
		}
		change(&c)
		compact, err := sign(private, kid, c)
		if err != nil {
			t.Fatal(err)
		}
		return compact
	}
	same := func(*claims) {}
	good := minted(signing, id, same)
	for name, c := range map[string]struct{ compact, want string }{
		"good":                    {good, ""},
		"other audience":          {minted(signing, id, func(c *claims) { c.Audience = "https://b.test" }), ""},
		"no token":                {"", "segments"},
		"access token":            {"ya29.c.AAAA", "access token"},
		"two segments":            {"a.b", "segments"},
		"signature removed":       {good[:len(good)-342] + "SIGNATURE_REMOVED_BY_GOOGLE", "signature"},
		"signature of another":    {good[:len(good)-342] + minted(signing, id, func(c *claims) { c.Subject = "2" })[len(good)-342:], "signature does not match"},
		"key of the key files":    {minted(files, filesID, same), "not published"},
		"key that claims another": {minted(files, id, same), "signature does not match"},
		"no kid":                  {minted(signing, "", same), "not published"},
		"issuer":                  {minted(signing, id, func(c *claims) { c.Issuer = "https://evil.test" }), "issuer"},
		"audience":                {minted(signing, id, func(c *claims) { c.Audience = "https://a.test/" }), "audience"},
		"expired":                 {minted(signing, id, func(c *claims) { c.ExpiresAt = now }), "expired"},
		"no exp":                  {minted(signing, id, func(c *claims) { c.ExpiresAt = 0 }), "expired"},
		"future":                  {minted(signing, id, func(c *claims) { c.IssuedAt = now + int64(skew/time.Second) + 1 }), "future"},
		"no email":                {minted(signing, id, func(c *claims) { c.Email = "" }), "email"},
		"email not verified":      {minted(signing, id, func(c *claims) { c.EmailVerified = false }), "email"},
	} {
		email, err := i.VerifyIDToken(c.compact, "https://a.test", "https://b.test")
		switch {
		case c.want == "" && (err != nil || email != account):
			t.Errorf("%s: %q, %v", name, email, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %q, %v; want an error about %q", name, email, err, c.want)
		case err != nil && c.compact != "" && strings.Contains(err.Error(), c.compact):
			t.Errorf("%s: the error shows the token", name)
		}
	}
	if _, err := i.VerifyIDToken(good); err == nil {
		t.Error("accepted without an audience")
	}
}
