package deploy_test

import (
	"context"
	"fmt"
	"os"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/deploy"
)

// App would be that of your contracts package.
var App = shop()

// A program that creates what an app needs: run it once per deployment, and after each start of the emulator.
func Example() {
	ctx := context.Background()
	env, err := dispatch.Discover(ctx, App)
	if err != nil {
		fail(err)
	}
	plan, err := deploy.NewPlan(App, env)
	if err != nil {
		fail(err)
	}
	changes, err := deploy.Create(ctx, plan, deploy.Options{}) // Cloud: true to create in Google Cloud
	for _, change := range changes {
		fmt.Println(change)
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
