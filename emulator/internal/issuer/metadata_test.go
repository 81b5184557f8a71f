package issuer

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMetadataServer(t *testing.T) {
	i, _, h := newIssuer(t)
	ask := func(path string, header http.Header) *http.Response {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, metadataPath+path, nil)
		request.Header = header
		return get(t, h, request)
	}
	flavor := http.Header{"Metadata-Flavor": {"Google"}}
	number := ProjectNumber("shop")
	accounts := "instance/service-accounts/"
	for path, want := range map[string]string{
		"project/project-id":                 "shop",
		"project/numeric-project-id":         number,
		"instance/region":                    "projects/" + number + "/regions/us-central1",
		"instance/zone":                      "projects/" + number + "/zones/us-central1-1",
		accounts:                             "default/\n" + number + "-compute@developer.gserviceaccount.com/\n",
		accounts + "default/email":           number + "-compute@developer.gserviceaccount.com",
		accounts + account + "/email":        account,
		accounts + "default/aliases":         "default\n",
		"instance/name":                      "emulator",
		accounts + "default/scopes":          "https://www.googleapis.com/auth/cloud-platform\n",
		"universe/universe-domain":           "googleapis.com",
		accounts + "default/":                "aliases\nemail\nidentity\nscopes\ntoken\n",
		accounts + account + "/?recursive=1": `{"aliases":["default"],"email":"` + account + `","scopes":["https://www.googleapis.com/auth/cloud-platform"]}` + "\n",
	} {
		r := ask(path, flavor)
		if got := body(t, r); r.StatusCode != http.StatusOK || got != want || r.Header.Get("Metadata-Flavor") != "Google" {
			t.Errorf("%s: %d %q, want %q", path, r.StatusCode, got, want)
		}
	}

	identity := accounts + account + "/identity?audience=https%3A%2F%2Fmailer.test"
	standard := i.claimsOf(t, body(t, ask(identity, flavor)))
	full := i.claimsOf(t, body(t, ask(identity+"&format=full", flavor)))
	if standard["email"] != account || standard["aud"] != "https://mailer.test" || standard["google"] != nil {
		t.Errorf("standard: %v", standard)
	}
	numeric, err := strconv.ParseFloat(number, 64)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"compute_engine": map[string]any{
		"project_id": "shop", "project_number": numeric, "zone": "us-central1-1", "instance_id": instanceID(account),
		"instance_name": "emulator", "instance_creation_timestamp": float64(i.started.Unix()),
	}}
	if diff := cmp.Diff(want, full["google"]); diff != "" || full["email"] != account {
		t.Errorf("full: %v, google (-want +got):\n%s", full, diff)
	}
	var access map[string]any
	if err := json.Unmarshal([]byte(body(t, ask(accounts+"default/token", flavor))), &access); err != nil || !strings.HasPrefix(fmt.Sprint(access["access_token"]), "ya29.") {
		t.Errorf("access token: %v, %v", access, err)
	}

	for _, c := range []struct {
		path   string
		header http.Header
		want   int
	}{
		{"project/project-id", nil, 403},
		{"project/project-id", http.Header{"Metadata-Flavor": {"Amazon"}}, 403},
		{"project/project-id", http.Header{"Metadata-Flavor": {"Google"}, "X-Forwarded-For": {"10.0.0.1"}}, 403},
		{"project/nothing", flavor, 404},
		{accounts + "default/identity", flavor, 400},
		{accounts + "nobody/identity?audience=a", flavor, 404},
		{accounts + "nobody/token", flavor, 404},
	} {
		if r := ask(c.path, c.header); r.StatusCode != c.want {
			t.Errorf("%s with %v: %d, want %d", c.path, c.header, r.StatusCode, c.want)
		}
	}
}

func TestAMetadataServerOfOneAccount(t *testing.T) {
	i, _, h := newIssuer(t)
	alone, err := i.Metadata(account)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]struct {
		handler http.Handler
		prefix  string
	}{
		"own address": {alone, metadataPath},
		"path":        {h, accountPath + account + metadataPath},
	} {
		ask := func(path string) (int, string) {
			request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, s.prefix+"instance/service-accounts/"+path, nil)
			request.Header.Set("Metadata-Flavor", "Google")
			r := get(t, s.handler, request)
			return r.StatusCode, body(t, r)
		}
		one := `{"aliases":["default"],"email":"` + account + `","scopes":["https://www.googleapis.com/auth/cloud-platform"]}`
		for path, want := range map[string]string{
			"":                        "default/\n" + account + "/\n",
			"?recursive=true":         `{"default":` + one + `,"` + account + `":` + one + "}\n",
			"default/email":           account,
			account + "/email":        account,
			"default/?recursive=true": one + "\n",
		} {
			if code, got := ask(path); code != http.StatusOK || got != want {
				t.Errorf("%s: %q: %d %q, want %q", name, path, code, got, want)
			}
		}
		if code, got := ask("mailer@shop.iam.gserviceaccount.com/identity?audience=a"); code != http.StatusNotFound {
			t.Errorf("%s: another's token: %d %q", name, code, got)
		}
		_, idToken := ask("default/identity?audience=a")
		if claims := i.claimsOf(t, idToken); claims["email"] != account {
			t.Errorf("%s: claims %v", name, claims)
		}
	}

	if _, err := i.Metadata("nobody"); err == nil {
		t.Error("a metadata server of nobody")
	}
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, accountPath+"nobody"+metadataPath, nil)
	if r := get(t, h, request); r.StatusCode != http.StatusNotFound {
		t.Errorf("a path of nobody's: %d", r.StatusCode)
	}
}
