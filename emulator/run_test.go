package emulator_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
	"google.golang.org/api/run/v2"

	"waybill.dev/emulator"
)

// The official client of Cloud Run's Admin API changes who may invoke a service.
func TestInvokerPolicyByGooglesClient(t *testing.T) {
	e := start(t, emulator.Config{Project: "shop"})
	container, arrivals := receiver(t)
	g := openGate(t, e, emulator.GateConfig{Service: "search", Target: container, Invokers: []string{"serviceAccount:" + stranger}})
	client, err := run.NewService(t.Context(), option.WithEndpoint(e.URL()), option.WithoutAuthentication(), option.WithHTTPClient(http.DefaultClient))
	if err != nil {
		t.Fatal(err)
	}
	services := client.Projects.Locations.Services
	const name = "projects/shop/locations/us-central1/services/search"
	policy, err := services.GetIamPolicy(name).Context(t.Context()).Do()
	if err != nil {
		t.Fatal(err)
	}
	want := []*run.GoogleIamV1Binding{{Role: "roles/run.invoker", Members: []string{"serviceAccount:" + stranger}}}
	if diff := cmp.Diff(want, policy.Bindings); diff != "" || policy.Etag == "" {
		t.Errorf("policy with etag %q (-want +got):\n%s", policy.Etag, diff)
	}

	policy.Bindings[0].Members = append(policy.Bindings[0].Members, invoker)
	if _, err := services.SetIamPolicy(name, &run.GoogleIamV1SetIamPolicyRequest{Policy: policy}).Context(t.Context()).Do(); err != nil {
		t.Fatal(err)
	}
	if got := call(t, g.URL(), map[string]string{authorize: tokenOf(t, e, account, g.URL())}); got.StatusCode != http.StatusNoContent {
		t.Errorf("with the role: %d", got.StatusCode)
	}
	<-arrivals

	set := func(name string, p *run.GoogleIamV1Policy) error {
		_, err := services.SetIamPolicy(name, &run.GoogleIamV1SetIamPolicyRequest{Policy: p}).Context(t.Context()).Do()
		return err
	}
	for reason, c := range map[string]struct {
		err  error
		want int
	}{
		"an old etag":        {set(name, policy), http.StatusConflict},
		"no such service":    {set("projects/shop/locations/us-central1/services/audit", &run.GoogleIamV1Policy{}), http.StatusNotFound},
		"no policy":          {set(name, nil), http.StatusBadRequest},
		"a bad member":       {set(name, &run.GoogleIamV1Policy{Bindings: []*run.GoogleIamV1Binding{{Role: "roles/run.invoker", Members: []string{"me"}}}}), http.StatusBadRequest},
		"an unknown service": {get(services.GetIamPolicy("projects/other/locations/us-central1/services/search")), http.StatusNotFound},
	} {
		var failure *googleapi.Error
		if !errors.As(c.err, &failure) || failure.Code != c.want || failure.Message == "" {
			t.Errorf("%s: %v, want %d", reason, c.err, c.want)
		}
	}
	if _, err := services.Get(name).Context(t.Context()).Do(); err == nil {
		t.Error("another method was answered")
	}
}

func get(c *run.ProjectsLocationsServicesGetIamPolicyCall) error {
	_, err := c.Do()
	return err
}
