package emulator_test

import (
	"net/http"
	"strings"
	"testing"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"

	"waybill.dev/emulator"
)

const resourcesFile = `{
  "queues": [
    {"name": "mails", "rateLimits": {"maxDispatchesPerSecond": 0.5, "maxConcurrentDispatches": 7}, "retryConfig": {"maxAttempts": 3, "minBackoff": "1.5s"}},
    {"name": "projects/other/locations/europe-west1/queues/audit"}
  ],
  "topics": [{"name": "user-signed-up", "labels": {"team": "growth"}}, {"name": "dead"}],
  "subscriptions": [{
    "name": "index-user", "topic": "user-signed-up", "ackDeadlineSeconds": 20, "enableMessageOrdering": true,
    "filter": "attributes.kind = \"new\"",
    "pushConfig": {"pushEndpoint": "http://127.0.0.1:1/push", "oidcToken": {"serviceAccountEmail": "push@shop.iam.gserviceaccount.com", "audience": "https://search.test"}},
    "deadLetterPolicy": {"deadLetterTopic": "dead", "maxDeliveryAttempts": 9}
  }]
}`

func TestResourcesAreThereFromTheStartAndAfterAReset(t *testing.T) {
	resources, err := emulator.ReadResources(strings.NewReader(resourcesFile))
	if err != nil {
		t.Fatal(err)
	}
	e := start(t, emulator.Config{Project: "shop", Resources: resources})
	conn := connect(t, e)
	tasks, subscriber := cloudtaskspb.NewCloudTasksClient(conn), pubsubpb.NewSubscriberClient(conn)
	check := func(when string) {
		t.Helper()
		q, err := tasks.GetQueue(t.Context(), &cloudtaskspb.GetQueueRequest{Name: queue})
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		got := []any{q.GetRateLimits().GetMaxDispatchesPerSecond(), q.GetRateLimits().GetMaxConcurrentDispatches(), q.GetRetryConfig().GetMaxAttempts(), q.GetRetryConfig().GetMinBackoff().AsDuration().String()}
		if diff := cmp.Diff([]any{0.5, int32(7), int32(3), "1.5s"}, got); diff != "" {
			t.Errorf("%s: queue (-want +got):\n%s", when, diff)
		}
		if _, err := tasks.GetQueue(t.Context(), &cloudtaskspb.GetQueueRequest{Name: "projects/other/locations/europe-west1/queues/audit"}); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		s, err := subscriber.GetSubscription(t.Context(), &pubsubpb.GetSubscriptionRequest{Subscription: "projects/shop/subscriptions/index-user"})
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		got = []any{s.GetTopic(), s.GetAckDeadlineSeconds(), s.GetEnableMessageOrdering(), s.GetFilter(), s.GetPushConfig().GetOidcToken().GetAudience(), s.GetDeadLetterPolicy().GetDeadLetterTopic()}
		want := []any{"projects/shop/topics/user-signed-up", int32(20), true, `attributes.kind = "new"`, "https://search.test", "projects/shop/topics/dead"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: subscription (-want +got):\n%s", when, diff)
		}
	}
	check("at the start")
	if _, err := tasks.DeleteQueue(t.Context(), &cloudtaskspb.DeleteQueueRequest{Name: queue}); err != nil {
		t.Fatal(err)
	}
	if _, err := tasks.CreateQueue(t.Context(), &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{Name: location + "/queues/more"}}); err != nil {
		t.Fatal(err)
	}
	e.Reset()
	check("after Reset")
	if _, err := tasks.GetQueue(t.Context(), &cloudtaskspb.GetQueueRequest{Name: location + "/queues/more"}); err == nil {
		t.Error("a queue that is not among the resources outlived Reset")
	}
	post(t, e.URL()+"/_emulator/reset", http.StatusOK)
	check("after a reset over HTTP")

	resources.Queues[0].RateLimits.MaxDispatchesPerSecond = 9000 // as they cannot be created when the disk of Config.Data is full
	post(t, e.URL()+"/_emulator/reset", http.StatusInternalServerError)
}

func TestEveryBadResourceIsReported(t *testing.T) {
	_, err := emulator.Start(t.Context(), emulator.Config{Listen: "127.0.0.1:0", Resources: emulator.Resources{
		Queues: []*cloudtaskspb.Queue{
			{Name: "a_b"},
			{Name: "mails", RateLimits: &cloudtaskspb.RateLimits{MaxDispatchesPerSecond: 9000}},
			{Name: "good"},
			{Name: "good"},
			{Name: "projects/waybill-local/locations/us-central1/queues/good"},
			{},
		},
		Topics:        []*pubsubpb.Topic{{Name: "t"}, {Name: "events"}},
		Subscriptions: []*pubsubpb.Subscription{{Name: "index", Topic: "missing"}, {Name: "index2", Topic: "events", AckDeadlineSeconds: 5}},
	}})
	if err == nil {
		t.Fatal("started")
	}
	for _, want := range []string{
		`Config.Resources.Queues[0] "projects/waybill-local/locations/us-central1/queues/a_b": `,
		`Config.Resources.Queues[1] "projects/waybill-local/locations/us-central1/queues/mails": `,
		`Config.Resources.Queues[3] "projects/waybill-local/locations/us-central1/queues/good" is there twice`,
		`Config.Resources.Queues[4] "projects/waybill-local/locations/us-central1/queues/good" is there twice`,
		`Config.Resources.Queues[5] "": Queue name must be formatted`,
		`Config.Resources.Topics[0] "projects/waybill-local/topics/t": Invalid resource name given`,
		`Config.Resources.Subscriptions[0] "projects/waybill-local/subscriptions/index": Resource not found (resource=missing).`,
		`Config.Resources.Subscriptions[1] "projects/waybill-local/subscriptions/index2": Invalid ack deadline given`,
	} {
		if !strings.Contains(err.Error(), "emulator: "+want) {
			t.Errorf("nothing about %s in:\n%v", want, err)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 8 {
		t.Errorf("%d problems:\n%v", n, err)
	}

	_, err = emulator.Start(t.Context(), emulator.Config{Listen: "127.0.0.1:0", PubSubUpstream: "127.0.0.1:1", Resources: emulator.Resources{Topics: []*pubsubpb.Topic{{Name: "events"}}}})
	if err == nil || !strings.Contains(err.Error(), "beside Config.PubSubUpstream") {
		t.Errorf("topics of Google's emulator: %v", err)
	}
}

func TestReadResourcesSaysWhereAProblemIs(t *testing.T) {
	for name, c := range map[string]struct{ file, want string }{
		"no JSON":            {"queues", "the resources: (line 1:1): invalid character"},
		"nothing":            {"", "the resources: (line 1:1): the file ends too soon"},
		"half":               {"{\"queues\": [\n", "the file ends too soon"},
		"a list":             {"[]", "want {, not ["},
		"a queue alone":      {`{"queues": {"name": "mails"}}`, "want [, not {"},
		"an unknown member":  {"{\n  \"queue\": []\n}", `the resources: (line 2:10): unknown member "queue": there are queues, topics, subscriptions and schemas`},
		"a member twice":     {`{"queues": [], "queues": []}`, `"queues" is there twice`},
		"more":               {"{}{}", "something follows"},
		"an unknown field":   {"{\n  \"queues\": [\n    {\"name\": \"a\"},\n    {\"name\": \"b\", \"rate\": 5}\n  ]\n}", `the resources: queues[1]: (line 4:19): unknown field "rate"`},
		"deep":               {"{\"subscriptions\": [{\"pushConfig\": {\n\"url\": \"x\"}}]}", `subscriptions[0]: (line 2:1): unknown field "url"`},
		"a wrong type":       {`{"topics": [{"name": 5}]}`, "topics[0]: (line 1:"},
		"a bad duration":     {`{"queues": [{"retryConfig": {"minBackoff": "soon"}}]}`, "queues[0]: (line 1:"},
		"an unknown enum":    {`{"schemas": [{"name": "s", "type": "XML"}]}`, "schemas[0]: (line 1:"},
		"null":               {`{"queues": [null]}`, "queues[0]: "},
		"too much":           {`{"queues": [` + strings.Repeat(" ", 5<<20), "are more than"},
		"two in one":         {`{"queues": [{"x": 1}], "topics": [{"y": 1}]}`, "\nemulator: the resources: topics[0]: "},
		"after one, no JSON": {`{"queues": [{"x": 1}], topics}`, "\nemulator: the resources: (line 1:"},
	} {
		_, err := emulator.ReadResources(strings.NewReader(c.file))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v\nwant %s", name, err, c.want)
		}
	}
}

func FuzzReadResources(f *testing.F) {
	f.Add(resourcesFile)
	f.Add(`{"queues":[{"x":1}],"topics":[null],"schemas":[]}`)
	f.Add("{\n\"queue\":")
	f.Fuzz(func(t *testing.T, file string) {
		resources, err := emulator.ReadResources(strings.NewReader(file))
		if err != nil && !strings.HasPrefix(err.Error(), "emulator: ") {
			t.Errorf("%v", err)
		}
		for _, q := range resources.Queues {
			if q == nil {
				t.Error("a queue that is nil")
			}
		}
	})
}
