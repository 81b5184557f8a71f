package emulator_test

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/oauth2/google"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iamcredentials/v1"
	"google.golang.org/api/idtoken"
	"google.golang.org/api/option"

	"waybill.dev/emulator"
)

// keysOf sends whatever Google's verifier asks for to the emulator's keys.
type keysOf struct{ e *emulator.Emulator }

func (k keysOf) RoundTrip(r *http.Request) (*http.Response, error) {
	local, err := http.NewRequestWithContext(r.Context(), http.MethodGet, k.e.KeysURL(), nil)
	if err != nil {
		return nil, err
	}
	return http.DefaultTransport.RoundTrip(local)
}

// validate checks a token by Google's own verifier and returns its claims.
func validate(t *testing.T, e *emulator.Emulator, token, audience string) map[string]any {
	t.Helper()
	validator, err := idtoken.NewValidator(t.Context(), option.WithHTTPClient(&http.Client{Transport: keysOf{e}}))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := validator.Validate(t.Context(), token, audience)
	if err != nil {
		t.Fatal(err)
	}
	return payload.Claims
}

func TestKeyFileMintsTokensByGooglesClient(t *testing.T) {
	e := start(t, emulator.Config{})
	file, err := e.KeyFile(account)
	if err != nil {
		t.Fatal(err)
	}
	source, err := idtoken.NewTokenSource(t.Context(), "https://mailer.test", option.WithAuthCredentialsJSON(option.ServiceAccount, file))
	if err != nil {
		t.Fatal(err)
	}
	token, err := source.Token()
	if err != nil {
		t.Fatal(err)
	}
	if claims := validate(t, e, token.AccessToken, "https://mailer.test"); claims["email"] != account {
		t.Errorf("claims: %v", claims)
	}
	credentials, err := google.CredentialsFromJSONWithType(t.Context(), file, google.ServiceAccount, "https://www.googleapis.com/auth/cloud-platform")
	if err != nil {
		t.Fatal(err)
	}
	access, err := credentials.TokenSource.Token()
	if err != nil || !strings.HasPrefix(access.AccessToken, "ya29.") {
		t.Errorf("access token %v, %v", access, err)
	}
}

func TestKeyFileOverHTTPNamesTheHostThatWasAsked(t *testing.T) {
	e := start(t, emulator.Config{})
	localhost := strings.Replace(e.URL(), "127.0.0.1", "localhost", 1)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, localhost+"/_emulator/keys/"+account, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	file, err := io.ReadAll(response.Body)
	if err != nil || !strings.Contains(string(file), localhost+"/token") {
		t.Fatalf("key file without %s/token, %v", localhost, err)
	}
	// As a service would be started: by the file's path.
	path := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", path)
	source, err := idtoken.NewTokenSource(t.Context(), "https://mailer.test")
	if err != nil {
		t.Fatal(err)
	}
	token, err := source.Token()
	if err != nil {
		t.Fatal(err)
	}
	validate(t, e, token.AccessToken, "https://mailer.test")
}

// The official client of the IAM Credentials API.
func TestCredentialsByGooglesClient(t *testing.T) {
	e := start(t, emulator.Config{})
	client, err := iamcredentials.NewService(t.Context(), option.WithEndpoint(e.URL()), option.WithoutAuthentication(), option.WithHTTPClient(http.DefaultClient))
	if err != nil {
		t.Fatal(err)
	}
	accounts := client.Projects.ServiceAccounts
	const name = "projects/-/serviceAccounts/" + account
	minted, err := accounts.GenerateIdToken(name, &iamcredentials.GenerateIdTokenRequest{
		Audience: "https://mailer.test", IncludeEmail: true, Delegates: []string{"projects/-/serviceAccounts/" + stranger},
	}).Context(t.Context()).Do()
	if err != nil {
		t.Fatal(err)
	}
	if claims := validate(t, e, minted.Token, "https://mailer.test"); claims["email"] != account {
		t.Errorf("claims: %v", claims)
	}
	access, err := accounts.GenerateAccessToken(name, &iamcredentials.GenerateAccessTokenRequest{
		Scope: []string{"https://www.googleapis.com/auth/cloud-platform"}, Lifetime: "300s",
	}).Context(t.Context()).Do()
	if err != nil || !strings.HasPrefix(access.AccessToken, "ya29.") {
		t.Errorf("%v, %v", access, err)
	}
	_, err = accounts.GenerateIdToken(name, &iamcredentials.GenerateIdTokenRequest{}).Context(t.Context()).Do()
	var failure *googleapi.Error
	if !errors.As(err, &failure) || failure.Code != http.StatusBadRequest || !strings.Contains(failure.Message, "audience") {
		t.Errorf("without an audience: %v", err)
	}
}
