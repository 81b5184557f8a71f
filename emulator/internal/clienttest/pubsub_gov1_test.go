package clienttest

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub" //nolint:depguard,staticcheck // this tests that v1, which is supported until 2026-12-31, works
	"github.com/google/go-cmp/cmp"
)

func v1Client(t *testing.T) (*pubsub.Client, *pubsub.Topic) {
	t.Helper()
	t.Setenv("PUBSUB_EMULATOR_HOST", start(t).Addr())
	client, err := pubsub.NewClient(t.Context(), project)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	orders, err := client.CreateTopic(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(orders.Stop)
	return client, orders
}

func TestPubSubGoClientV1Messages(t *testing.T) {
	for name, config := range map[string]pubsub.SubscriptionConfig{
		"plain":        {},
		"ordered":      {EnableMessageOrdering: true},
		"exactly once": {EnableExactlyOnceDelivery: true},
	} {
		t.Run(name, func(t *testing.T) {
			client, orders := v1Client(t)
			config.Topic = orders
			mailer, err := client.CreateSubscription(t.Context(), "mailer", config)
			if err != nil {
				t.Fatal(err)
			}
			orders.EnableMessageOrdering = config.EnableMessageOrdering
			key := ""
			if config.EnableMessageOrdering {
				key = "k"
			}
			const n = 50
			var want, got []byte
			for i := range byte(n) {
				orders.Publish(t.Context(), &pubsub.Message{Data: []byte{i + 1}, OrderingKey: key})
				want = append(want, i+1)
			}
			orders.Flush()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			var mu sync.Mutex
			if err := mailer.Receive(ctx, func(_ context.Context, m *pubsub.Message) {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, m.Data...)
				m.Ack()
				if len(got) == n {
					cancel()
				}
			}); err != nil {
				t.Fatal(err)
			}
			if !config.EnableMessageOrdering {
				slices.Sort(got)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("received (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPubSubGoClientV1Administers(t *testing.T) {
	client, orders := v1Client(t)
	ctx := t.Context()
	mailer, err := client.CreateSubscription(ctx, "mailer", pubsub.SubscriptionConfig{Topic: orders, AckDeadline: 30 * time.Second, RetainAckedMessages: true})
	if err != nil {
		t.Fatal(err)
	}
	if config, err := mailer.Update(ctx, pubsub.SubscriptionConfigToUpdate{Labels: map[string]string{"a": "b"}}); err != nil || config.Labels["a"] != "b" {
		t.Errorf("subscription: %v, %v", config, err)
	}
	if config, err := orders.Update(ctx, pubsub.TopicConfigToUpdate{Labels: map[string]string{"a": "b"}}); err != nil || config.Labels["a"] != "b" {
		t.Errorf("topic: %v, %v", config, err)
	}
	if ok, err := client.Topic("none").Exists(ctx); ok || err != nil {
		t.Errorf("a topic that is not there: %v, %v", ok, err)
	}
	policy, err := orders.IAM().Policy(ctx)
	if err != nil {
		t.Fatal(err)
	}
	policy.Add("user:ada@shop.test", "roles/pubsub.publisher")
	if err := orders.IAM().SetPolicy(ctx, policy); err != nil {
		t.Error(err)
	}
	snapshot, err := mailer.CreateSnapshot(ctx, "before")
	if err != nil {
		t.Fatal(err)
	}
	if err := mailer.SeekToSnapshot(ctx, snapshot.Snapshot); err != nil {
		t.Error(err)
	}
	if err := mailer.SeekToTime(ctx, time.Now()); err != nil {
		t.Error(err)
	}
	if err := snapshot.Delete(ctx); err != nil {
		t.Error(err)
	}
}

func TestPubSubGoClientV1Schemas(t *testing.T) {
	ctx := t.Context()
	// This version's schema client does not heed PUBSUB_EMULATOR_HOST.
	schemas, err := pubsub.NewSchemaClient(ctx, project, grpcOptions(start(t))...)
	if err != nil {
		t.Fatal(err)
	}
	defer schemas.Close()
	created, err := schemas.CreateSchema(ctx, "order", pubsub.SchemaConfig{Type: pubsub.SchemaAvro, Definition: `{"type":"record","name":"Order","fields":[{"name":"id","type":"string"}]}`})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := schemas.Schema(ctx, "order", pubsub.SchemaViewFull); err != nil || got.RevisionID != created.RevisionID {
		t.Errorf("schema: %v, %v", got, err)
	}
}
