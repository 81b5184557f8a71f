package clienttest

import (
	"log/slog"
	"net/http"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"waybill.dev/emulator"
	"waybill.dev/internal/testenv"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The official clients' own: one for the life of the process, and two that only look at their context every ten seconds.
		goleak.IgnoreAnyFunction("go.opencensus.io/stats/view.(*worker).start"),
		goleak.IgnoreAnyFunction("cloud.google.com/go/pubsub/v2.(*messageIterator).streamKeepAliveHandler"),
		goleak.IgnoreAnyFunction("cloud.google.com/go/pubsub.(*messageIterator).sender"),
	)
}

const (
	project  = "shop"
	account  = "login@shop.iam.gserviceaccount.com"
	location = "projects/shop/locations/us-central1"
)

// start runs an emulator on a free port until the test ends.
func start(t *testing.T) *emulator.Emulator {
	t.Helper()
	return startWith(t, emulator.Config{})
}

func startWith(t *testing.T, config emulator.Config) *emulator.Emulator {
	t.Helper()
	config.Listen, config.Project, config.Logger = "127.0.0.1:0", project, slog.New(slog.DiscardHandler)
	e, err := emulator.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := e.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return e
}

// grpcOptions and restOptions are what a Go client needs to reach the emulator.
func grpcOptions(e *emulator.Emulator) []option.ClientOption {
	return []option.ClientOption{
		option.WithEndpoint(e.Addr()),
		option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
	}
}

func restOptions(e *emulator.Emulator) []option.ClientOption {
	return []option.ClientOption{option.WithEndpoint(e.URL()), option.WithoutAuthentication(), option.WithHTTPClient(http.DefaultClient)}
}

// slow skips what takes a person too long.
func slow(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short runs no other programs")
	}
	if !testenv.Full() {
		t.Skip("takes seconds: runs with WAYBILL_REQUIRE=all")
	}
}
