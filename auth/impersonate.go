package auth

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"os"

	"cloud.google.com/go/compute/metadata"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"google.golang.org/api/impersonate"
	"google.golang.org/api/option"
)

const (
	defaultIAMEndpoint = "https://iamcredentials.googleapis.com"
	cloudPlatform      = "https://www.googleapis.com/auth/cloud-platform"
)

// isAttached reports whether the account to impersonate is the one that the metadata server speaks for anyway: nobody needs to
// be allowed to impersonate themselves. If the server does not say, the impersonation that follows tells more.
func isAttached(ctx context.Context, c *credentials) bool {
	if c.document != nil {
		return false
	}
	email, err := metadata.NewClient(nil).EmailWithContext(ctx, "default")
	return err == nil && email == c.account
}

// impersonate asks for an ID token for a service account in the name of whoever c is: an access token for them first,
// then generateIdToken. ctx carries the client for the first.
func (m *Minter) impersonate(ctx context.Context, client *http.Client, c *credentials, audience string) (string, error) {
	source := google.ComputeTokenSource("", cloudPlatform)
	if c.document != nil {
		found, err := google.CredentialsFromJSONWithType(ctx, c.document, c.kind, cloudPlatform)
		if err != nil {
			return "", &MintError{Audience: audience, Reason: ErrCredentials, Detail: "the credentials to impersonate with are incomplete: " + err.Error(), Cause: err}
		}
		source = found.TokenSource
	}
	// Apart from the next step, whose errors have no types.
	access, err := source.Token()
	if err != nil {
		return "", sourceError(audience, c.kind, err)
	}
	endpoint, err := url.Parse(m.config.IAMEndpoint)
	if err != nil {
		return "", err
	}
	authorized := *client
	authorized.Transport = &oauth2.Transport{
		Source: oauth2.StaticTokenSource(access),
		Base:   &iamTransport{endpoint: endpoint, quota: cmp.Or(os.Getenv("GOOGLE_CLOUD_QUOTA_PROJECT"), c.quota), base: client.Transport},
	}
	ts, err := impersonate.IDTokenSource(ctx, impersonate.IDTokenConfig{
		Audience: audience, TargetPrincipal: c.account, IncludeEmail: true, Delegates: c.delegates,
	}, option.WithHTTPClient(&authorized))
	if err != nil {
		return "", impersonationError(audience, c, err)
	}
	t, err := ts.Token()
	if err != nil {
		return "", impersonationError(audience, c, err)
	}
	return t.AccessToken, nil
}

// iamTransport sends what is meant for the IAM Credentials API to the configured address, which
// google.golang.org/api/impersonate has as a constant.
type iamTransport struct {
	endpoint *url.URL
	quota    string
	base     http.RoundTripper
}

func (t *iamTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Host, r.URL.Scheme, r.URL.Host = "", t.endpoint.Scheme, t.endpoint.Host
	if t.quota != "" {
		r.Header.Set("X-Goog-User-Project", t.quota) // https://cloud.google.com/apis/docs/system-parameters
	}
	return t.base.RoundTrip(r)
}
