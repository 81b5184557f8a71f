package emulator_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"cloud.google.com/go/compute/metadata"
	"google.golang.org/api/idtoken"

	"waybill.dev/emulator"
)

// atMetadata lets Google's clients find a metadata server and nothing else.
func atMetadata(t *testing.T, host string) {
	t.Helper()
	t.Setenv("GCE_METADATA_HOST", host)
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	t.Setenv("HOME", t.TempDir()) // a developer's own credentials would win
}

func mintAtMetadata(t *testing.T, e *emulator.Emulator) (claims map[string]any) {
	t.Helper()
	source, err := idtoken.NewTokenSource(t.Context(), "https://mailer.test")
	if err != nil {
		t.Fatal(err)
	}
	token, err := source.Token()
	if err != nil {
		t.Fatal(err)
	}
	return validate(t, e, token.AccessToken, "https://mailer.test")
}

func TestMetadataServerByGooglesClients(t *testing.T) {
	e := start(t, emulator.Config{Project: "shop", MetadataAccount: account})
	for _, variable := range e.Environ() {
		if name, value, _ := strings.Cut(variable, "="); name == "GCE_METADATA_HOST" {
			atMetadata(t, value)
		}
	}
	claims := mintAtMetadata(t, e)
	instance, _ := claims["google"].(map[string]any)["compute_engine"].(map[string]any)
	if claims["email"] != account || instance["project_id"] != "shop" {
		t.Errorf("claims: %v", claims)
	}

	client := metadata.NewClient(&http.Client{Transport: http.DefaultTransport})
	for path, want := range map[string]string{
		"project/project-id":                              "shop",
		"instance/service-accounts/default/email":         account,
		"instance/service-accounts/" + account + "/email": account,
	} {
		if got, err := client.GetWithContext(t.Context(), path); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", path, got, err, want)
		}
	}
	if region, err := client.GetWithContext(t.Context(), "instance/region"); err != nil || !strings.HasSuffix(region, "/regions/us-central1") {
		t.Errorf("region %q, %v", region, err)
	}
	if _, err := client.GetWithContext(t.Context(), "instance/nothing"); err == nil {
		t.Error("a path that does not exist was answered")
	}
}

// Several services, each with its own GCE_METADATA_HOST and nothing else, are each somebody else.
func TestEachServiceHasADefaultAccountOfItsOwn(t *testing.T) {
	e := start(t, emulator.Config{Project: "shop"})
	hosts := make(map[string]string)
	for _, service := range []string{"login", "mailer", "search"} {
		address := service + "@shop.iam.gserviceaccount.com"
		host, err := e.Metadata(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := e.Metadata(t.Context(), address); err != nil || again != host {
			t.Errorf("a second time: %q, %v; want %q", again, err, host)
		}
		hosts[host] = address
		// Google's client for Go appends to what the variable says.
		hosts[e.Addr()+"/_emulator/metadata/"+address] = address
	}
	for host, address := range hosts {
		atMetadata(t, host)
		if claims := mintAtMetadata(t, e); claims["email"] != address {
			t.Errorf("%s: claims %v", host, claims)
		}
		client := metadata.NewClient(&http.Client{Transport: http.DefaultTransport})
		if got, err := client.EmailWithContext(t.Context(), "default"); err != nil || got != address {
			t.Errorf("%s: email %q, %v", host, got, err)
		}
		if got, err := client.ScopesWithContext(t.Context(), "default"); err != nil || len(got) != 1 {
			t.Errorf("%s: scopes %q, %v", host, got, err)
		}
		if _, err := client.EmailWithContext(t.Context(), stranger); !errors.As(err, new(metadata.NotDefinedError)) {
			t.Errorf("%s: the email of another: %v", host, err)
		}
	}
	if _, err := e.Metadata(t.Context(), "nobody"); err == nil {
		t.Error("a metadata server of nobody")
	}
}

func TestMetadataOverHTTP(t *testing.T) {
	e := start(t, emulator.Config{})
	want, err := e.Metadata(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	if got := line(t, e.URL()+"/_emulator/metadata?account="+account); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	post(t, e.URL()+"/_emulator/metadata", http.StatusBadRequest)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+want+"/computeMetadata/v1/project/project-id", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Metadata-Flavor", "Google")
	request.Host = "evil.test"
	if got := do(t, request); got.StatusCode != http.StatusForbidden {
		t.Errorf("under a name that is not its own: %d", got.StatusCode)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if !refused(t, "http://"+want) {
		t.Error("a metadata server outlives its emulator")
	}
	if _, err := e.Metadata(t.Context(), account); err == nil {
		t.Error("a metadata server after the end")
	}
}
