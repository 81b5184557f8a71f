package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"waybill.dev/internal/ci/measure"
)

// line is a topic with one subscription.
type line struct {
	contender    *contender
	topic        string
	subscription string
	publisher    *pubsub.Publisher
}

func (c *contender) open(ctx context.Context) (*line, error) {
	c.topics++
	l := &line{
		contender:    c,
		topic:        fmt.Sprintf("projects/%s/topics/topic-%d", project, c.topics),
		subscription: fmt.Sprintf("projects/%s/subscriptions/subscription-%d", project, c.topics),
	}
	if _, err := c.client.TopicAdminClient.CreateTopic(ctx, &pubsubpb.Topic{Name: l.topic}); err != nil {
		return nil, err
	}
	if _, err := c.client.SubscriptionAdminClient.CreateSubscription(ctx, &pubsubpb.Subscription{
		Name:               l.subscription,
		Topic:              l.topic,
		AckDeadlineSeconds: 60,
	}); err != nil {
		return nil, err
	}
	l.publisher = c.client.Publisher(l.topic)
	return l, nil
}

// close deletes both, unless the servers have been interrupted with ctx.
func (l *line) close(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	l.publisher.Stop()
	return errors.Join(
		l.contender.client.SubscriptionAdminClient.DeleteSubscription(ctx, &pubsubpb.DeleteSubscriptionRequest{Subscription: l.subscription}),
		l.contender.client.TopicAdminClient.DeleteTopic(ctx, &pubsubpb.DeleteTopicRequest{Topic: l.topic}),
	)
}

// with opens a line for one run.
func (c *contender) with(ctx context.Context, run func(*line) (float64, error)) (figure float64, err error) {
	l, err := c.open(ctx)
	if err != nil {
		return 0, err
	}
	figure, err = run(l)
	return figure, errors.Join(err, l.close(ctx))
}

// publish publishes the messages of these numbers and waits until all are accepted.
func (l *line) publish(ctx context.Context, from, to int) error {
	results := make([]*pubsub.PublishResult, 0, to-from)
	for n := from; n < to; n++ {
		results = append(results, l.publisher.Publish(ctx, &pubsub.Message{Data: payload(n)}))
	}
	for _, r := range results {
		if _, err := r.Get(ctx); err != nil {
			return err
		}
	}
	return nil
}

// outstanding is how many messages the client may have. It sends its acks ten times a second, so its default of 1000 would
// be what is measured: no server that honors its flow control could deliver more than 10,000 a second.
const outstanding = 100_000

// receive acknowledges what comes, until f returns.
func (l *line) receive(ctx context.Context, t *tally, f func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	subscriber := l.contender.client.Subscriber(l.subscription)
	subscriber.ReceiveSettings.MaxOutstandingMessages = outstanding
	ended := make(chan error, 1)
	go func() {
		ended <- subscriber.Receive(ctx, func(_ context.Context, m *pubsub.Message) {
			t.saw(m.Data)
			m.Ack()
		})
	}()
	result := make(chan error, 1)
	go func() { result <- f() }()
	select {
	case err := <-result:
		cancel()
		return errors.Join(err, <-ended)
	case err := <-ended:
		cancel()
		return errors.Join(errors.New("receiving ended"), err, <-result)
	}
}

// publishing is how many messages a second are accepted.
func (l *line) publishing(ctx context.Context, n int) (float64, error) {
	began := time.Now()
	err := l.publish(ctx, 0, n)
	return float64(n) / time.Since(began).Seconds(), err
}

// streaming is how many messages a second are published and received over an open stream.
func (l *line) streaming(ctx context.Context, n int) (rate float64, err error) {
	t := newTally(n+1, n+1)
	err = l.receive(ctx, t, func() error {
		began, err := l.openStream(ctx, t, n)
		if err != nil {
			return err
		}
		if err := l.publish(ctx, 0, n); err != nil {
			return err
		}
		err = t.wait(ctx, t.done)
		rate = float64(n) / time.Since(began).Seconds()
		return err
	})
	return rate, err
}

// openStream returns once a message of that number has come back, and when that was.
func (l *line) openStream(ctx context.Context, t *tally, number int) (time.Time, error) {
	if err := l.publish(ctx, number, number+1); err != nil {
		return time.Time{}, err
	}
	err := t.wait(ctx, t.first)
	return time.Now(), err
}

// latencies are the times from publishing a message to its receipt, sorted, when n are published at a steady rate, each in
// a request of its own.
func (l *line) latencies(ctx context.Context, n, rate int) ([]time.Duration, error) {
	l.publisher.PublishSettings.CountThreshold = 1
	t := newTally(n+1, n+1)
	published := make([]time.Time, n)
	err := l.receive(ctx, t, func() error {
		began, err := l.openStream(ctx, t, n)
		if err != nil {
			return err
		}
		for i := range n {
			measure.Wait(ctx, time.Until(began.Add(time.Duration(i)*time.Second/time.Duration(rate))))
			published[i] = time.Now()
			l.publisher.Publish(ctx, &pubsub.Message{Data: payload(i)}) // its receipt says that it was accepted
		}
		return t.wait(ctx, t.done)
	})
	if err != nil {
		return nil, err
	}
	all := make([]time.Duration, n)
	for i := range all {
		all[i] = t.at[i].Sub(published[i])
	}
	slices.Sort(all)
	return all, nil
}

// streamed is how many microseconds a message takes of those of a backlog that the tally waits for, over a stream. The time
// ends when the acks are sent: of a small backlog all messages may have come before the client sends its first.
func (l *line) streamed(ctx context.Context, t *tally) (microseconds float64, err error) {
	began := time.Now()
	err = l.receive(ctx, t, func() error { return t.wait(ctx, t.done) })
	return float64(time.Since(began).Microseconds()) / float64(t.count()), err
}

// pulled is the same, pulled and acknowledged by the thousand.
func (l *line) pulled(ctx context.Context, t *tally) (microseconds float64, err error) {
	client := l.contender.client.SubscriptionAdminClient
	began := time.Now()
	for t.count() < t.expected {
		got, err := client.Pull(ctx, &pubsubpb.PullRequest{Subscription: l.subscription, MaxMessages: 1000})
		if err != nil {
			return 0, err
		}
		var ids []string
		for _, m := range got.GetReceivedMessages() {
			t.saw(m.GetMessage().GetData())
			ids = append(ids, m.GetAckId())
		}
		if len(ids) == 0 {
			continue
		}
		if err := client.Acknowledge(ctx, &pubsubpb.AcknowledgeRequest{Subscription: l.subscription, AckIds: ids}); err != nil {
			return 0, err
		}
	}
	return float64(time.Since(began).Microseconds()) / float64(t.count()), nil
}

// pushing is how many messages a second arrive at the receiver out of a backlog, from when the subscription is told to push.
func (l *line) pushing(ctx context.Context, r *receiver, signed bool, n int) (float64, error) {
	if err := l.publish(ctx, 0, n); err != nil {
		return 0, err
	}
	t := newTally(n, n)
	defer r.expect(t)()
	config := &pubsubpb.PushConfig{PushEndpoint: r.url()}
	if signed {
		config.AuthenticationMethod = &pubsubpb.PushConfig_OidcToken_{OidcToken: &pubsubpb.PushConfig_OidcToken{
			ServiceAccountEmail: "pusher@bench.iam.gserviceaccount.com", Audience: "https://receiver.example.com",
		}}
	}
	began := time.Now()
	if err := l.contender.client.SubscriptionAdminClient.ModifyPushConfig(ctx, &pubsubpb.ModifyPushConfigRequest{
		Subscription: l.subscription, PushConfig: config,
	}); err != nil {
		return 0, err
	}
	err := t.wait(ctx, t.done)
	return float64(n) / time.Since(began).Seconds(), err
}
