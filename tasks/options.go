package tasks

import (
	"os"

	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// EmulatorHostVariable names the environment variable that [ClientOptions]
// reads, the one that Firebase's SDKs read as well.
const EmulatorHostVariable = "CLOUD_TASKS_EMULATOR_HOST"

// EmulatorOptions returns the options of a client of the emulator at hostport:
// its address, no TLS, no credentials.
func EmulatorOptions(hostport string) []option.ClientOption {
	return []option.ClientOption{
		option.WithEndpoint(hostport),
		option.WithoutAuthentication(),
		option.WithTelemetryDisabled(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
	}
}

// ClientOptions returns [EmulatorOptions] for the emulator that the
// environment variable CLOUD_TASKS_EMULATOR_HOST names, and nothing if it is
// unset: the client of the real service.
func ClientOptions() []option.ClientOption {
	if host := os.Getenv(EmulatorHostVariable); host != "" {
		return EmulatorOptions(host)
	}
	return nil
}
