package crashtest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// pubsubClient calls the emulator without a library that would repeat calls.
type pubsubClient struct {
	*published
	conn       *grpc.ClientConn
	publisher  pubsubpb.PublisherClient
	subscriber pubsubpb.SubscriberClient
}

func dialPubSub(t *testing.T, p *published, addr string) *pubsubClient {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	return &pubsubClient{p, conn, pubsubpb.NewPublisherClient(conn), pubsubpb.NewSubscriberClient(conn)}
}

// remember makes the topics and subscriptions in the first life; later it checks that they are there.
func (c *pubsubClient) remember(ctx context.Context, endpoint string) error {
	first := c.acknowledged() == 0
	code := func(err error) error {
		if status.Code(err) == codes.AlreadyExists || err == nil && first {
			return nil
		}
		return errors.Join(errors.New("a topic or subscription was lost"), err)
	}
	for _, name := range []string{topicName, graveTopic} {
		if _, err := c.publisher.CreateTopic(ctx, &pubsubpb.Topic{Name: name}); code(err) != nil {
			return code(err)
		}
	}
	for _, sub := range []*pubsubpb.Subscription{
		{Name: plainSub},
		{Name: redSub, Filter: `attributes.red = "true"`},
		{Name: onceSub, EnableExactlyOnceDelivery: true},
		{Name: orderedSub, EnableExactlyOnceDelivery: true, EnableMessageOrdering: true},
		{Name: pushSub, PushConfig: &pubsubpb.PushConfig{PushEndpoint: endpoint}},
		{
			Name: poisonSub, Filter: `attributes.poison = "true"`,
			DeadLetterPolicy: &pubsubpb.DeadLetterPolicy{DeadLetterTopic: graveTopic, MaxDeliveryAttempts: 5},
			RetryPolicy:      &pubsubpb.RetryPolicy{MinimumBackoff: durationpb.New(0), MaximumBackoff: durationpb.New(0)},
		},
		{Name: graveSub, Topic: graveTopic},
	} {
		if sub.Topic == "" {
			sub.Topic = topicName
		}
		sub.AckDeadlineSeconds = 600
		if _, err := c.subscriber.CreateSubscription(ctx, sub); code(err) != nil {
			return code(err)
		}
	}
	return nil
}

// run starts everything that goes on until the emulator is gone or the context ends.
func (c *pubsubClient) run(ctx context.Context, calls *errgroup.Group) {
	for _, name := range []string{plainSub, redSub, graveSub} {
		calls.Go(func() error { return gone(c.pull(ctx, name)) })
	}
	for _, name := range []string{onceSub, orderedSub} {
		calls.Go(func() error { return gone(c.stream(ctx, name)) })
	}
	calls.Go(func() error { return gone(c.reject(ctx)) })
}

// gone is nil for what a killed emulator looks like.
func gone(err error) error {
	switch status.Code(err) {
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded:
		return nil
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (c *pubsubClient) publish(ctx context.Context, key string) error {
	for n := 1; ; n = n%20 + 1 {
		request, first := c.messages(n, key)
		response, err := c.publisher.Publish(ctx, request)
		if err != nil {
			return err
		}
		c.accepted(first, response.GetMessageIds())
	}
}

// pull acknowledges by a call of its own: its answer confirms.
func (c *pubsubClient) pull(ctx context.Context, subscription string) error {
	for {
		response, err := c.subscriber.Pull(ctx, &pubsubpb.PullRequest{Subscription: subscription, MaxMessages: 500})
		if err != nil {
			return err
		}
		var serials []int
		var ids []string
		for _, r := range response.GetReceivedMessages() {
			serials = append(serials, c.receive(subscription, r.GetMessage()))
			ids = append(ids, r.GetAckId())
		}
		if len(ids) == 0 {
			continue
		}
		if _, err := c.subscriber.Acknowledge(ctx, &pubsubpb.AcknowledgeRequest{Subscription: subscription, AckIds: ids}); err != nil {
			return err
		}
		c.confirm(subscription, serials...)
	}
}

// stream acknowledges on the stream, and reads what is confirmed.
func (c *pubsubClient) stream(ctx context.Context, subscription string) error {
	stream, err := c.subscriber.StreamingPull(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&pubsubpb.StreamingPullRequest{Subscription: subscription, StreamAckDeadlineSeconds: 600, MaxOutstandingMessages: 200}); err != nil {
		return err
	}
	serials := make(map[string]int)
	for {
		response, err := stream.Recv()
		if err != nil {
			return err
		}
		if n := len(response.GetAcknowledgeConfirmation().GetInvalidAckIds()); n > 0 {
			return errors.New(subscription + ": an acknowledgement was refused")
		}
		for _, id := range response.GetAcknowledgeConfirmation().GetAckIds() {
			c.confirm(subscription, serials[id])
			delete(serials, id)
		}
		request := &pubsubpb.StreamingPullRequest{}
		for _, r := range response.GetReceivedMessages() {
			serials[r.GetAckId()] = c.receive(subscription, r.GetMessage())
			request.AckIds = append(request.AckIds, r.GetAckId())
		}
		if len(request.GetAckIds()) > 0 {
			if err := stream.Send(request); err != nil {
				return err
			}
		}
	}
}

// reject nacks everything until it is a dead letter.
func (c *pubsubClient) reject(ctx context.Context) error {
	for {
		response, err := c.subscriber.Pull(ctx, &pubsubpb.PullRequest{Subscription: poisonSub, MaxMessages: 100})
		if err != nil {
			return err
		}
		var ids []string
		for _, r := range response.GetReceivedMessages() {
			c.receive(poisonSub, r.GetMessage())
			if n := r.GetDeliveryAttempt(); n < 1 || n > 5 {
				return errors.New("a message has a delivery attempt that there cannot be")
			}
			ids = append(ids, r.GetAckId())
		}
		if len(ids) == 0 {
			continue
		}
		if _, err := c.subscriber.ModifyAckDeadline(ctx, &pubsubpb.ModifyAckDeadlineRequest{Subscription: poisonSub, AckIds: ids}); err != nil {
			return err
		}
	}
}

// ServeHTTP takes pushes.
func (p *published) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Message struct {
			Data      []byte
			MessageID string `json:"messageId"` //nolint:tagliatelle // as it is pushed
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return // broken off by the kill
	}
	p.receive(pushSub, &pubsubpb.PubsubMessage{Data: body.Message.Data, MessageId: body.Message.MessageID})
	w.WriteHeader(http.StatusNoContent)
}

// drain consumes until nothing has come for a while.
func (c *pubsubClient) drain(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	calls, ctx := errgroup.WithContext(ctx)
	c.run(ctx, calls)
	for quiet := 0; quiet < 20 && ctx.Err() == nil; quiet++ {
		before := c.delivered.Load()
		time.Sleep(50 * time.Millisecond) // how long nothing comes
		if c.delivered.Load() != before {
			quiet = 0
		}
	}
	cancel()
	return calls.Wait()
}
