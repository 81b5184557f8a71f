package pubsub

import (
	"context"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/types/known/emptypb"
)

const (
	// maxResponseMessages and maxResponseBytes bound one response, pulled or streamed. A larger
	// message comes alone. Some clients refuse responses above gRPC's default of 4 MiB.
	maxResponseMessages = 1000
	maxResponseBytes    = 3 << 20
	// pullWait is how long a pull waits for a first message.
	pullWait = 20 * time.Second
)

// Pull implements google.pubsub.v1.Subscriber. Without messages it waits for up to 20 seconds.
func (s *Service) Pull(ctx context.Context, req *pubsubpb.PullRequest) (*pubsubpb.PullResponse, error) {
	sub, err := s.subscription(req.GetSubscription())
	if err != nil {
		return nil, err
	}
	if req.GetMaxMessages() <= 0 {
		return nil, invalidArgumentNamed("max_messages")
	}
	pulls, err := sub.pullable()
	if err != nil {
		return nil, err
	}
	if !s.running.enter() {
		return nil, errClosed()
	}
	defer s.running.leave()

	c := newConsumer()
	n := min(int(req.GetMaxMessages()), maxResponseMessages)
	got := sub.take(c, n, 0)
	if len(got) == 0 && !req.GetReturnImmediately() { //nolint:staticcheck // deprecated, but clients still send it
		got, err = sub.wait(ctx, pulls, c, n)
	}
	if ctx.Err() != nil { // nobody is there to get them
		sub.leave(c, got)
		return nil, contextError(ctx)
	}
	sub.leave(c, nil)
	if err != nil {
		return nil, err
	}
	return &pubsubpb.PullResponse{ReceivedMessages: received(got)}, nil
}

// wait takes messages once there are any, and gives up after pullWait.
func (s *subscription) wait(ctx, pulls context.Context, c *consumer, n int) ([]delivery, error) {
	over := make(chan struct{})
	timer := s.service.clock.AfterFunc(pullWait, func() { close(over) })
	defer timer.Stop()
	for {
		select {
		case <-c.wake:
			if got := s.take(c, n, 0); len(got) > 0 {
				return got, nil
			}
		case <-over:
			return nil, nil
		case <-ctx.Done():
			return nil, contextError(ctx)
		case <-pulls.Done():
			return nil, context.Cause(pulls)
		}
	}
}

// pullable returns the context in which pulls run, or why there can be none.
func (s *subscription) pullable() (context.Context, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.unpullable(); err != nil {
		return nil, err
	}
	return s.pulls, nil
}

// received turns deliveries into what clients get.
func received(deliveries []delivery) []*pubsubpb.ReceivedMessage {
	if len(deliveries) == 0 {
		return nil
	}
	messages := make([]pubsubpb.ReceivedMessage, len(deliveries))
	out := make([]*pubsubpb.ReceivedMessage, len(deliveries))
	for i, d := range deliveries {
		m := &messages[i]
		m.AckId = d.id.String()
		m.Message = d.msg
		m.DeliveryAttempt = int32(d.attempt) //nolint:gosec // dead-letter policies keep it small
		out[i] = m
	}
	return out
}

// Acknowledge implements google.pubsub.v1.Subscriber.
func (s *Service) Acknowledge(_ context.Context, req *pubsubpb.AcknowledgeRequest) (*emptypb.Empty, error) {
	return durable(s, func() (*emptypb.Empty, error) { return s.acknowledge(req) })
}

func (s *Service) acknowledge(req *pubsubpb.AcknowledgeRequest) (*emptypb.Empty, error) {
	sub, ids, err := s.leases(req.GetSubscription(), req.GetAckIds())
	if err != nil {
		return nil, err
	}
	lapsed, err := sub.acknowledge(ids)
	if err != nil {
		return nil, err
	}
	return emptyUnless(lapsed, req.GetAckIds())
}

// ModifyAckDeadline implements google.pubsub.v1.Subscriber.
func (s *Service) ModifyAckDeadline(_ context.Context, req *pubsubpb.ModifyAckDeadlineRequest) (*emptypb.Empty, error) {
	if seconds := req.GetAckDeadlineSeconds(); seconds < 0 || seconds > maxAckDeadline {
		return nil, invalidAckDeadline(seconds, 0)
	}
	sub, ids, err := s.leases(req.GetSubscription(), req.GetAckIds())
	if err != nil {
		return nil, err
	}
	lapsed, err := sub.modifyDeadlines(ids, func(int) int32 { return req.GetAckDeadlineSeconds() })
	if err != nil {
		return nil, err
	}
	return emptyUnless(lapsed, req.GetAckIds())
}

// leases finds the subscription and parses the ack ids of a request.
func (s *Service) leases(name string, ackIDs []string) (*subscription, []ackID, error) {
	sub, err := s.subscription(name)
	if err != nil {
		return nil, nil, err
	}
	if len(ackIDs) == 0 {
		return nil, nil, invalid("You have not specified an ack ID in the request.")
	}
	ids, err := parseAckIDs(ackIDs)
	return sub, ids, err
}

// emptyUnless fails with the ids at the given indexes, if there are any.
func emptyUnless(lapsed []int, ackIDs []string) (*emptypb.Empty, error) {
	if len(lapsed) > 0 {
		return nil, errLapsed(pick(ackIDs, lapsed))
	}
	return &emptypb.Empty{}, nil
}

func pick(all []string, indexes []int) []string {
	out := make([]string, len(indexes))
	for i, at := range indexes {
		out[i] = all[at]
	}
	return out
}
