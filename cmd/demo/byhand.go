package main

import (
	"os/exec"

	"waybill.dev/cmd/demo/contracts"
)

// byHand is what to type to try the shop while it stays up.
func (s *shop) byHand() []string {
	lines := []string{
		"Everything stays up. Ctrl-C ends it. In another shell:",
		"",
		s.environ(),
		"PROFILES=" + s.url(contracts.Profiles, "") + " SEARCH=" + s.url(contracts.Search, "") + " BEHIND=" + s.behind[contracts.Search.Name()],
		"IDENTITY=$EMULATOR/computeMetadata/v1/instance/service-accounts/" + account("login") + "/identity",
		"",
		"# login asks user-profiles, which answers",
		`TOKEN=$(curl -s -H 'Metadata-Flavor: Google' "$IDENTITY?audience=$PROFILES")`,
		`curl -s -w '\n' -H "Authorization: Bearer $TOKEN" -d '{"user_id":"ann"}' \`,
		`  -H 'Content-Type: application/json' $PROFILES/_waybill/calls/get-profile`,
		"",
		"# login asks search: its gate refuses, as Cloud Run does",
		`TOKEN=$(curl -s -H 'Metadata-Flavor: Google' "$IDENTITY?audience=$SEARCH")`,
		`curl -s -w '\n' -H "Authorization: Bearer $TOKEN" -d '{"name":"ann"}' \`,
		`  -H 'Content-Type: application/json' $SEARCH/_waybill/calls/find-users`,
		"",
		"# past the gate search itself refuses, with the reason",
		`curl -s -w '\n' -H "Authorization: Bearer $TOKEN" -d '{"name":"ann"}' \`,
		`  -H 'Content-Type: application/json' $BEHIND/_waybill/calls/find-users`,
		"",
		"# an event, published around the library: watch it arrive here",
		`DATA=$(printf '{"user_id":"bob","step":"asked"}' | base64)`,
		`curl -s -w '\n' -d '{"messages":[{"data":"'$DATA'","orderingKey":"bob"}]}' \`,
		`  -H 'Content-Type: application/json' $EMULATOR/v1/projects/` + project + `/topics/shop--user-signed-up:publish`,
	}
	if _, err := exec.LookPath("gcloud"); err == nil {
		lines = append(lines,
			"",
			"# the same with gcloud, and what is among the dead letters",
			"export CLOUDSDK_AUTH_DISABLE_CREDENTIALS=true CLOUDSDK_CORE_PROJECT="+project,
			"export CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB=$EMULATOR/",
			"export CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDTASKS=$EMULATOR/",
			`gcloud pubsub topics publish shop--user-signed-up --ordering-key=bob \`,
			`  --message='{"user_id":"bob","step":"asked"}'`,
			"gcloud tasks queues list --location=us-central1",
			"gcloud pubsub subscriptions pull shop--send-welcome--dead",
		)
	}
	return lines
}
