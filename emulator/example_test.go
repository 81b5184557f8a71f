package emulator_test

import (
	"context"
	"fmt"
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
