package clienttest

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"
)

const (
	topic        = "projects/shop/topics/orders"
	subscription = "projects/shop/subscriptions/mailer"
)

// pulled are the data and ack ids of a pull.
func (g *gcloud) pulled(t *testing.T, args ...string) (data, ackIDs []string) {
	t.Helper()
	out := g.run(t, append([]string{"pubsub", "subscriptions", "pull", "mailer", "--format=json", "--limit=10"}, args...)...)
	var messages []struct {
		AckID   string `json:"ackId"`
		Message struct {
			Data string `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal([]byte(out), &messages); err != nil {
		t.Fatalf("pulled %s: %v", out, err)
	}
	for _, m := range messages {
		text, err := base64.StdEncoding.DecodeString(m.Message.Data)
		if err != nil {
			t.Errorf("pulled %q: %v", m.Message.Data, err)
		}
		data, ackIDs = append(data, string(text)), append(ackIDs, m.AckID)
	}
	slices.Sort(data)
	return data, ackIDs
}

func TestPubSubGcloudMessages(t *testing.T) {
	t.Parallel()
	g := newGcloud(t, start(t))
	g.run(t, "pubsub", "topics", "create", "orders")
	g.run(t, "pubsub", "subscriptions", "create", "mailer", "--topic=orders", "--retain-acked-messages")
	g.run(t, "pubsub", "topics", "publish", "orders", "--message=one", "--attribute=k=v")
	data, ids := g.pulled(t)
	if !slices.Equal(data, []string{"one"}) {
		t.Fatalf("pulled: %q", data)
	}
	g.run(t, "pubsub", "subscriptions", "modify-message-ack-deadline", "mailer", "--ack-ids="+ids[0], "--ack-deadline=0")
	data, ids = g.pulled(t)
	if !slices.Equal(data, []string{"one"}) {
		t.Fatalf("pulled after a nack: %q", data)
	}
	g.run(t, "pubsub", "subscriptions", "ack", "mailer", "--ack-ids="+ids[0])
	if data, _ := g.pulled(t); len(data) > 0 {
		t.Errorf("pulled after the ack: %q", data)
	}
	g.run(t, "pubsub", "subscriptions", "seek", "mailer", "--time=2020-01-01T00:00:00Z")
	if data, _ := g.pulled(t, "--auto-ack"); !slices.Equal(data, []string{"one"}) {
		t.Errorf("pulled after a seek to the past: %q", data)
	}
	if got := g.refused(t, "pubsub", "subscriptions", "ack", "mailer", "--ack-ids=nonsense"); !strings.Contains(got, "invalid ack ID") {
		t.Errorf("a malformed ack id: %s", got)
	}
	g.run(t, "pubsub", "topics", "detach-subscription", "mailer")
	if got := g.refused(t, "pubsub", "subscriptions", "pull", "mailer"); !strings.Contains(got, "FAILED_PRECONDITION") && !strings.Contains(got, "detached") {
		t.Errorf("a pull of the detached subscription: %s", got)
	}
}

func TestPubSubGcloudAdministers(t *testing.T) {
	t.Parallel()
	g := newGcloud(t, start(t))
	slow(t)
	g.run(t, "pubsub", "topics", "create", "orders", "--labels=a=b", "--message-retention-duration=1h")
	created := &pubsubpb.Topic{}
	g.read(t, created, "pubsub", "topics", "describe", "orders")
	if created.GetName() != topic || created.GetLabels()["a"] != "b" || created.GetMessageRetentionDuration().GetSeconds() != 3600 {
		t.Errorf("topic: %v", created)
	}
	updated := &pubsubpb.Topic{}
	g.read(t, updated, "pubsub", "topics", "update", "orders", "--update-labels=c=d", "--clear-message-retention-duration")
	if diff := cmp.Diff(map[string]string{"a": "b", "c": "d"}, updated.GetLabels()); diff != "" || updated.GetMessageRetentionDuration() != nil {
		t.Errorf("updated topic: %v", updated)
	}
	g.run(t, "pubsub", "topics", "create", "dead")
	g.run(t, "pubsub", "subscriptions", "create", "mailer", "--topic=orders", "--ack-deadline=30", "--enable-message-ordering",
		`--message-filter=attributes.k = "v"`, "--dead-letter-topic=dead", "--max-delivery-attempts=7", "--min-retry-delay=1s", "--max-retry-delay=2s", "--expiration-period=never")
	got := &pubsubpb.Subscription{}
	g.read(t, got, "pubsub", "subscriptions", "describe", "mailer")
	if got.GetName() != subscription || got.GetTopic() != topic || got.GetAckDeadlineSeconds() != 30 || !got.GetEnableMessageOrdering() || got.GetFilter() != `attributes.k = "v"` ||
		got.GetDeadLetterPolicy().GetMaxDeliveryAttempts() != 7 || got.GetRetryPolicy().GetMinimumBackoff().GetSeconds() != 1 || got.GetExpirationPolicy() == nil || got.GetExpirationPolicy().GetTtl() != nil {
		t.Errorf("subscription: %v", got)
	}
	got = &pubsubpb.Subscription{}
	g.read(t, got, "pubsub", "subscriptions", "update", "mailer", "--ack-deadline=40", "--clear-dead-letter-policy", "--clear-retry-policy",
		"--push-endpoint=https://mailer.test/push", "--push-auth-service-account="+account, "--push-auth-token-audience=https://mailer.test")
	if got.GetAckDeadlineSeconds() != 40 || got.GetDeadLetterPolicy() != nil || got.GetRetryPolicy() != nil ||
		got.GetPushConfig().GetPushEndpoint() != "https://mailer.test/push" || got.GetPushConfig().GetOidcToken().GetAudience() != "https://mailer.test" {
		t.Errorf("updated subscription: %v", got)
	}
	g.run(t, "pubsub", "subscriptions", "modify-push-config", "mailer", "--push-endpoint=")
	got = &pubsubpb.Subscription{}
	g.read(t, got, "pubsub", "subscriptions", "describe", "mailer")
	if got.GetPushConfig().GetPushEndpoint() != "" {
		t.Errorf("without push: %v", got)
	}
	if got := g.names(t, "name", "pubsub", "topics", "list"); !slices.Equal(got, []string{"projects/shop/topics/dead", topic}) {
		t.Errorf("topics: %v", got)
	}
	if got := g.names(t, "name", "pubsub", "subscriptions", "list"); !slices.Equal(got, []string{subscription}) {
		t.Errorf("subscriptions: %v", got)
	}
	if got := g.run(t, "pubsub", "topics", "list-subscriptions", "orders"); !strings.Contains(got, subscription) {
		t.Errorf("subscriptions of the topic: %s", got)
	}
	g.run(t, "pubsub", "topics", "delete", "orders")
	got = &pubsubpb.Subscription{}
	g.read(t, got, "pubsub", "subscriptions", "describe", "mailer")
	if got.GetTopic() != "_deleted-topic_" {
		t.Errorf("without its topic: %v", got)
	}
	g.run(t, "pubsub", "subscriptions", "delete", "mailer")
	if got := g.refused(t, "pubsub", "subscriptions", "describe", "mailer"); !strings.Contains(got, "Resource not found (resource=mailer)") {
		t.Errorf("after its deletion: %s", got)
	}
}

func TestPubSubGcloudSnapshots(t *testing.T) {
	t.Parallel()
	g := newGcloud(t, start(t))
	slow(t)
	g.run(t, "pubsub", "topics", "create", "orders")
	g.run(t, "pubsub", "subscriptions", "create", "mailer", "--topic=orders")
	g.run(t, "pubsub", "topics", "publish", "orders", "--message=one")
	g.run(t, "pubsub", "snapshots", "create", "before", "--subscription=mailer", "--labels=a=b")
	if data, _ := g.pulled(t, "--auto-ack"); !slices.Equal(data, []string{"one"}) {
		t.Errorf("pulled: %q", data)
	}
	g.run(t, "pubsub", "subscriptions", "seek", "mailer", "--snapshot=before")
	if data, _ := g.pulled(t, "--auto-ack"); !slices.Equal(data, []string{"one"}) {
		t.Errorf("pulled after the seek: %q", data)
	}
	const snapshot = "projects/shop/snapshots/before"
	got := &pubsubpb.Snapshot{}
	g.read(t, got, "pubsub", "snapshots", "describe", "before")
	if got.GetName() != snapshot || got.GetTopic() != topic || got.GetExpireTime() == nil || got.GetLabels()["a"] != "b" {
		t.Errorf("snapshot: %v", got)
	}
	if got := g.run(t, "pubsub", "snapshots", "list"); !strings.Contains(got, "before") {
		t.Errorf("snapshots: %s", got)
	}
	if got := g.run(t, "alpha", "pubsub", "topics", "list-snapshots", "orders"); !strings.Contains(got, snapshot) {
		t.Errorf("snapshots of the topic: %s", got)
	}
	g.run(t, "pubsub", "snapshots", "delete", "before")
}

func TestPubSubGcloudSchemas(t *testing.T) {
	t.Parallel()
	g := newGcloud(t, start(t))
	slow(t)
	const (
		first  = `{"type":"record","name":"Order","fields":[{"name":"id","type":"string"}]}`
		second = `{"type":"record","name":"Order","fields":[{"name":"id","type":"string"},{"name":"n","type":"int","default":0}]}`
	)
	g.run(t, "pubsub", "schemas", "create", "order", "--type=avro", "--definition="+first)
	created := &pubsubpb.Schema{}
	g.read(t, created, "pubsub", "schemas", "describe", "order")
	if created.GetName() != "projects/shop/schemas/order" || created.GetType() != pubsubpb.Schema_AVRO || created.GetDefinition() != first || created.GetRevisionId() == "" {
		t.Errorf("schema: %v", created)
	}
	g.run(t, "pubsub", "topics", "create", "orders", "--schema=order", "--message-encoding=json")
	g.run(t, "pubsub", "topics", "publish", "orders", `--message={"id":"1"}`)
	if got := g.refused(t, "pubsub", "topics", "publish", "orders", `--message={"id":1}`); !strings.Contains(got, "schema") && !strings.Contains(got, "INVALID_ARGUMENT") {
		t.Errorf("a message that the schema refuses: %s", got)
	}
	g.run(t, "pubsub", "schemas", "validate-schema", "--type=avro", "--definition="+second)
	g.refused(t, "pubsub", "schemas", "validate-schema", "--type=avro", "--definition={}")
	g.run(t, "pubsub", "schemas", "validate-message", "--schema-name=order", "--message-encoding=json", `--message={"id":"1"}`)
	g.run(t, "pubsub", "schemas", "commit", "order", "--type=avro", "--definition="+second)
	latest := &pubsubpb.Schema{}
	g.read(t, latest, "pubsub", "schemas", "describe", "order")
	if latest.GetDefinition() != second || latest.GetRevisionId() == created.GetRevisionId() {
		t.Errorf("committed: %v", latest)
	}
	if got := g.names(t, "revisionId", "pubsub", "schemas", "list-revisions", "order"); !slices.Equal(got, []string{created.GetRevisionId(), latest.GetRevisionId()}) {
		t.Errorf("revisions: %v", got)
	}
	g.run(t, "pubsub", "schemas", "rollback", "order", "--revision-id="+created.GetRevisionId())
	g.run(t, "pubsub", "schemas", "delete-revision", "order@"+latest.GetRevisionId())
	rolledBack := &pubsubpb.Schema{}
	g.read(t, rolledBack, "pubsub", "schemas", "describe", "order")
	if rolledBack.GetDefinition() != first {
		t.Errorf("rolled back: %v", rolledBack)
	}
	if got := g.names(t, "name", "pubsub", "schemas", "list"); !slices.Equal(got, []string{"projects/shop/schemas/order"}) {
		t.Errorf("schemas: %v", got)
	}
	g.run(t, "pubsub", "schemas", "delete", "order")
}

func TestPubSubGcloudPolicies(t *testing.T) {
	t.Parallel()
	g := newGcloud(t, start(t))
	slow(t)
	g.run(t, "pubsub", "topics", "create", "orders")
	g.run(t, "pubsub", "subscriptions", "create", "mailer", "--topic=orders")
	policies(t, g, "roles/pubsub.publisher", func(command string, args ...string) []string {
		return append([]string{"pubsub", "topics", command, "orders"}, args...)
	})
	policies(t, g, "roles/pubsub.subscriber", func(command string, args ...string) []string {
		return append([]string{"pubsub", "subscriptions", command, "mailer"}, args...)
	})
}
