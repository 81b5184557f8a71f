package main

import (
	"fmt"
	"os/exec"
	"strings"

	"waybill.dev/cmd/demo/contracts"
)

// byHand is what to type to try the shop while it stays up.
func (s *shop) byHand() []string {
	profiles, search := s.url(contracts.Profiles, ""), s.url(contracts.Search, "")
	token := func(audience string) string {
		return fmt.Sprintf(`TOKEN=$(curl -s -H 'Metadata-Flavor: Google' "%s/computeMetadata/v1/instance/service-accounts/%s/identity?audience=%s")`,
			s.emulator.URL(), account("login"), audience)
	}
	lines := []string{
		"Everything stays up. Ctrl-C ends it. In another shell:",
		"",
		s.environ(),
		"",
		"# login asks user-profiles, which answers",
		token(profiles),
		fmt.Sprintf(`curl -s -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{"user_id":"ann"}' %s/_waybill/calls/get-profile`, profiles),
		"",
		"# login asks search, which refuses",
		token(search),
		fmt.Sprintf(`curl -s -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{"name":"ann"}' %s/_waybill/calls/find-users`, search),
		"",
		"# an event, published around the library: watch it arrive above",
		fmt.Sprintf(`curl -s -H 'Content-Type: application/json' -d '{"messages":[{"data":"%s","orderingKey":"bob"}]}' %s/v1/projects/%s/topics/shop--user-signed-up:publish`,
			"eyJ1c2VyX2lkIjoiYm9iIiwic3RlcCI6ImFza2VkIn0=", s.emulator.URL(), project),
	}
	if _, err := exec.LookPath("gcloud"); err == nil {
		prefix := strings.Join([]string{
			"CLOUDSDK_AUTH_DISABLE_CREDENTIALS=true",
			"CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB=" + s.emulator.URL() + "/",
			"CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDTASKS=" + s.emulator.URL() + "/",
		}, " ")
		lines = append(lines,
			"",
			"# the same with gcloud",
			"export "+prefix,
			"gcloud --project="+project+` pubsub topics publish shop--user-signed-up --message='{"user_id":"bob","step":"asked"}' --attribute=content-type=application/json --ordering-key=bob`,
			"gcloud --project="+project+" tasks queues list --location=us-central1",
		)
	}
	return lines
}
