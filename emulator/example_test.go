package emulator_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"

	"waybill.dev/emulator"
)

func ExampleStart() {
	e, err := emulator.Start(context.Background(), emulator.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = e.Close() }()
	for _, variable := range e.Environ() {
		fmt.Println(strings.Replace(variable, e.Addr(), "127.0.0.1:PORT", 1))
	}
	// Output:
	// PUBSUB_EMULATOR_HOST=127.0.0.1:PORT
	// CLOUD_TASKS_EMULATOR_HOST=127.0.0.1:PORT
	// GCE_METADATA_HOST=127.0.0.1:PORT
}

// login may call user-profiles, and nobody said that it may call search.
func ExampleEmulator_Gate() {
	ctx := context.Background()
	e, err := emulator.Start(ctx, emulator.Config{Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = e.Close() }()
	container := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	defer container.Close()

	const login = "login@waybill-local.iam.gserviceaccount.com"
	for _, config := range []emulator.GateConfig{
		{Service: "user-profiles", Target: container.URL, Invokers: []string{"serviceAccount:" + login}},
		{Service: "search", Target: container.URL},
	} {
		g, err := e.Gate(ctx, config)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(config.Service, callAs(ctx, e, login, g.URL()))
	}
	// Output:
	// user-profiles 204 No Content
	// search 403 Forbidden
}

// callAs sends a request to a service with a token of the account, from the account's metadata server.
func callAs(ctx context.Context, e *emulator.Emulator, account, service string) string {
	host, err := e.Metadata(ctx, account)
	if err != nil {
		return err.Error()
	}
	ask := func(url string, header http.Header) (status, body string) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err.Error(), ""
		}
		request.Header = header
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err.Error(), ""
		}
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			return err.Error(), ""
		}
		return response.Status, string(text)
	}
	_, token := ask("http://"+host+"/computeMetadata/v1/instance/service-accounts/default/identity?audience="+service, http.Header{"Metadata-Flavor": {"Google"}})
	status, _ := ask(service, http.Header{"Authorization": {"Bearer " + token}})
	return status
}
