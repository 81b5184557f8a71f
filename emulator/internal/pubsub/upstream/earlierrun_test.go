package upstream

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	client "cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// lines is a log that a test can wait for.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

func (l lines) next(t *testing.T) string {
	t.Helper()
	select {
	case line := <-l:
		return line
	case <-time.After(30 * time.Second):
		t.Fatal("nothing was logged")
		panic("unreachable")
	}
}

// Google's emulator lives on while ours begins anew and knows no endpoint.
func TestSubscriptionOfAnEarlierRun(t *testing.T) {
	type subscriber = func(context.Context, *client.Client, *pubsubpb.Subscription) error
	create := func(ctx context.Context, c *client.Client, sub *pubsubpb.Subscription) error {
		_, err := c.SubscriptionAdminClient.CreateSubscription(ctx, sub)
		return err
	}
	heals := map[string]subscriber{
		"created once more": func(ctx context.Context, c *client.Client, sub *pubsubpb.Subscription) error {
			for range 2 { // the second changes nothing
				if err := create(ctx, c, sub); status.Code(err) != codes.AlreadyExists {
					return fmt.Errorf("created: %w", err)
				}
				sub.PushConfig = pushTo("http://elsewhere.test", "")
			}
			return nil
		},
		"modified": func(ctx context.Context, c *client.Client, sub *pubsubpb.Subscription) error {
			return c.SubscriptionAdminClient.ModifyPushConfig(ctx, &pubsubpb.ModifyPushConfigRequest{Subscription: sub.Name, PushConfig: sub.PushConfig})
		},
		"deleted and created": func(ctx context.Context, c *client.Client, sub *pubsubpb.Subscription) error {
			if err := c.SubscriptionAdminClient.DeleteSubscription(ctx, &pubsubpb.DeleteSubscriptionRequest{Subscription: sub.Name}); err != nil {
				return err
			}
			return create(ctx, c, sub)
		},
	}
	upstreams(t, func(t *testing.T, addr string) {
		for name, heal := range heals {
			t.Run(name, func(t *testing.T) {
				runs := newRuns(t, addr)
				ctx := t.Context()
				_, before := runs.start(slog.New(slog.DiscardHandler))
				if _, err := before.TopicAdminClient.CreateTopic(ctx, &pubsubpb.Topic{Name: topicName}); err != nil {
					t.Fatal(err)
				}
				old, toOld := receiver(t, 204)
				if err := create(ctx, before, &pubsubpb.Subscription{Name: subName, Topic: topicName, PushConfig: pushTo(old, "")}); err != nil {
					t.Fatal(err)
				}
				defer func() {
					before.SubscriptionAdminClient.DeleteSubscription(context.WithoutCancel(ctx), &pubsubpb.DeleteSubscriptionRequest{Subscription: subName})
					before.TopicAdminClient.DeleteTopic(context.WithoutCancel(ctx), &pubsubpb.DeleteTopicRequest{Topic: topicName})
				}()

				log := make(lines, 1000)
				proxy, c := runs.start(slog.New(slog.NewTextHandler(log, nil)))
				publish(t, c, "lost")
				if line := log.next(t); !strings.Contains(line, "level=ERROR") ||
					!strings.Contains(line, "delete it and create it again") || !strings.Contains(line, "subscription="+subName) {
					t.Errorf("logged %s", line)
				}
				now, got := receiver(t, 204)
				if err := heal(ctx, c, &pubsubpb.Subscription{Name: subName, Topic: topicName, PushConfig: pushTo(now, "https://mailer")}); err != nil {
					t.Fatal(err)
				}
				publish(t, c, "found")
				if r := next(t, got); r.authorization != "Bearer push@p.iam.gserviceaccount.com for https://mailer" {
					t.Errorf("pushed %+v", r)
				}
				shown, err := c.SubscriptionAdminClient.GetSubscription(ctx, &pubsubpb.GetSubscriptionRequest{Subscription: subName})
				if err != nil || shown.PushConfig.PushEndpoint != now {
					t.Errorf("shown %v, %v", shown, err)
				}
				for len(log) > 0 {
					if line := <-log; strings.Contains(line, "level=ERROR") {
						t.Errorf("logged again: %s", line)
					}
				}
				if len(toOld) > 0 || len(proxy.endpoints.byKey) != 1 {
					t.Errorf("%d pushes to the old endpoint, %d endpoints are known", len(toOld), len(proxy.endpoints.byKey))
				}
			})
		}
	})
}
