package iam_test

import (
	"fmt"

	"cloud.google.com/go/iam/apiv1/iampb"

	"waybill.dev/emulator/internal/iam"
)

func Example() {
	var policies iam.Policies
	stale := policies.Get("projects/p/topics/t")
	policy := policies.Get("projects/p/topics/t")
	policy.Bindings = []*iampb.Binding{{Role: "roles/pubsub.publisher", Members: []string{"allUsers"}}}
	if _, err := policies.Set("projects/p/topics/t", policy); err != nil {
		fmt.Println(err)
	}
	_, err := policies.Set("projects/p/topics/t", stale)
	fmt.Println(err)
	// Output: rpc error: code = Aborted desc = There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff.
}
