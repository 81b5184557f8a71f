package pubsub

import (
	"context"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// wire is a fake stream between a client and StreamingPull.
type wire struct {
	grpc.ServerStream
	ctx       context.Context
	cancel    context.CancelFunc
	requests  chan *pubsubpb.StreamingPullRequest
	responses chan *pubsubpb.StreamingPullResponse
	result    chan error
}

func (w *wire) Context() context.Context { return w.ctx }

func (w *wire) Recv() (*pubsubpb.StreamingPullRequest, error) {
	select {
	case req, ok := <-w.requests:
		if !ok {
			return nil, io.EOF
		}
		return req, nil
	case <-w.ctx.Done():
		return nil, w.ctx.Err()
	}
}

func (w *wire) Send(r *pubsubpb.StreamingPullResponse) error {
	select {
	case w.responses <- r:
		return nil
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
}

// openStream starts a stream and reads its first response.
func openStream(t *testing.T, s *Service, first *pubsubpb.StreamingPullRequest) *wire {
	t.Helper()
	w := &wire{
		requests:  make(chan *pubsubpb.StreamingPullRequest, 10),
		responses: make(chan *pubsubpb.StreamingPullResponse, 1000),
		result:    make(chan error, 1),
	}
	w.ctx, w.cancel = context.WithCancel(t.Context())
	first.Subscription = subName
	if first.StreamAckDeadlineSeconds == 0 {
		first.StreamAckDeadlineSeconds = 10
	}
	w.requests <- first
	go func() {
		defer w.cancel() // as gRPC does when the handler returns
		w.result <- s.StreamingPull(w)
	}()
	t.Cleanup(w.cancel)
	synctest.Wait()
	return w
}

// received drains the stream and checks the texts.
func (w *wire) received(t *testing.T, want ...string) []*pubsubpb.ReceivedMessage {
	t.Helper()
	synctest.Wait()
	var all []*pubsubpb.ReceivedMessage
	texts := []string{}
	for len(w.responses) > 0 {
		for _, m := range (<-w.responses).ReceivedMessages {
			all = append(all, m)
			texts = append(texts, string(m.Message.Data))
		}
	}
	if diff := cmp.Diff(append([]string{}, want...), texts); diff != "" {
		t.Fatalf("received (-want +got):\n%s", diff)
	}
	return all
}

func TestStreamFlowControl(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, nil)
		w := openStream(t, s, &pubsubpb.StreamingPullRequest{MaxOutstandingMessages: 2})
		publish(t, s, "a", "b", "c", "d")
		first := w.received(t, "a", "b")
		w.requests <- &pubsubpb.StreamingPullRequest{AckIds: ackIDs(first[0])}
		second := w.received(t, "c")
		w.requests <- &pubsubpb.StreamingPullRequest{ModifyDeadlineAckIds: ackIDs(first[1]), ModifyDeadlineSeconds: []int32{0}}
		third := w.received(t, "d") // b is nacked and stands behind d
		ack(t, s, second[0], third[0])
		w.received(t, "b")
		time.Sleep(10 * time.Second)
		w.received(t, "b") // its lease ended, and made room
	})
}

func TestStreamByteLimit(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, nil)
		w := openStream(t, s, &pubsubpb.StreamingPullRequest{MaxOutstandingBytes: 1})
		publish(t, s, "aa", "bb")
		ack(t, s, w.received(t, "aa")...)
		w.received(t, "bb")
	})
}

func TestStreamsShareTheWork(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, nil)
		a := openStream(t, s, &pubsubpb.StreamingPullRequest{})
		b := openStream(t, s, &pubsubpb.StreamingPullRequest{})
		for _, text := range []string{"1", "2", "3", "4"} {
			publish(t, s, text)
			synctest.Wait()
		}
		a.received(t, "1", "3")
		b.received(t, "2", "4")
	})
}

func TestStreamSaysWhatItIs(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, func(sub *pubsubpb.Subscription) {
			sub.EnableExactlyOnceDelivery = true
			sub.EnableMessageOrdering = true
		})
		w := openStream(t, s, &pubsubpb.StreamingPullRequest{})
		props := (<-w.responses).SubscriptionProperties
		if !props.ExactlyOnceDeliveryEnabled || !props.MessageOrderingEnabled {
			t.Errorf("properties %v", props)
		}
		publish(t, s, "a")
		m := w.received(t, "a")
		time.Sleep(11 * time.Second)
		again := w.received(t, "a")
		w.requests <- &pubsubpb.StreamingPullRequest{AckIds: ackIDs(m[0], again[0])}
		got := (<-w.responses).AcknowledgeConfirmation
		if !slices.Equal(got.GetAckIds(), ackIDs(again...)) || !slices.Equal(got.GetInvalidAckIds(), ackIDs(m...)) {
			t.Errorf("confirmation %v", got)
		}
	})
}

func TestStreamKeepalive(t *testing.T) {
	for version, want := range map[int64]int{0: 0, 1: 1} {
		bubble(t, Config{}, func(t *testing.T, s *Service) {
			createSubscription(t, s, nil)
			w := openStream(t, s, &pubsubpb.StreamingPullRequest{ProtocolVersion: version})
			w.received(t)
			w.requests <- &pubsubpb.StreamingPullRequest{}
			synctest.Wait()
			if got := len(w.responses); got != want {
				t.Errorf("protocol version %d: %d answers to a keepalive, want %d", version, got, want)
			}
		})
	}
}

func TestStreamDeadlineChanges(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, nil)
		w := openStream(t, s, &pubsubpb.StreamingPullRequest{StreamAckDeadlineSeconds: 20})
		publish(t, s, "a")
		w.received(t, "a")
		time.Sleep(19 * time.Second)
		w.received(t)
		w.requests <- &pubsubpb.StreamingPullRequest{StreamAckDeadlineSeconds: 60}
		time.Sleep(time.Second)
		w.received(t, "a")
		time.Sleep(59 * time.Second)
		w.received(t)
		time.Sleep(time.Second)
		w.received(t, "a")
	})
}

func TestStreamRefusals(t *testing.T) {
	for name, test := range map[string]struct {
		req  *pubsubpb.StreamingPullRequest
		want codes.Code
	}{
		"subscription":     {&pubsubpb.StreamingPullRequest{Subscription: subName}, codes.InvalidArgument},
		"messages":         {&pubsubpb.StreamingPullRequest{MaxOutstandingMessages: 1}, codes.InvalidArgument},
		"bytes":            {&pubsubpb.StreamingPullRequest{MaxOutstandingBytes: 1}, codes.InvalidArgument},
		"protocol version": {&pubsubpb.StreamingPullRequest{ProtocolVersion: 1}, codes.InvalidArgument},
		"deadline":         {&pubsubpb.StreamingPullRequest{StreamAckDeadlineSeconds: 9}, codes.InvalidArgument},
		"ack id":           {&pubsubpb.StreamingPullRequest{AckIds: []string{"bogus"}}, codes.InvalidArgument},
		"lengths":          {&pubsubpb.StreamingPullRequest{ModifyDeadlineSeconds: []int32{1}}, codes.InvalidArgument},
		"seconds":          {&pubsubpb.StreamingPullRequest{ModifyDeadlineSeconds: []int32{-1}, ModifyDeadlineAckIds: []string{ackID{}.String()}}, codes.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Config{}, func(t *testing.T, s *Service) {
				createSubscription(t, s, nil)
				w := openStream(t, s, &pubsubpb.StreamingPullRequest{})
				w.requests <- test.req
				if err := <-w.result; status.Code(err) != test.want {
					t.Errorf("%v, want %v", err, test.want)
				}
			})
		})
	}
}

func TestStreamEnds(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(t *testing.T, s *Service, w *wire)
		want codes.Code
	}{
		"client closes": {func(_ *testing.T, _ *Service, w *wire) { close(w.requests) }, codes.OK},
		"deleted": {func(t *testing.T, s *Service, _ *wire) {
			must(t, s.DeleteSubscription, &pubsubpb.DeleteSubscriptionRequest{Subscription: subName})
		}, codes.NotFound},
		"detached": {func(t *testing.T, s *Service, _ *wire) {
			must(t, s.DetachSubscription, &pubsubpb.DetachSubscriptionRequest{Subscription: subName})
		}, codes.FailedPrecondition},
		"service closes": {func(t *testing.T, s *Service, _ *wire) {
			if err := s.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}, codes.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Config{}, func(t *testing.T, s *Service) {
				createSubscription(t, s, nil)
				w := openStream(t, s, &pubsubpb.StreamingPullRequest{})
				test.end(t, s, w)
				if err := <-w.result; status.Code(err) != test.want {
					t.Errorf("%v, want %v", err, test.want)
				}
			})
		})
	}
}

// TestBrokenStreamGivesBack breaks a stream while a message is being sent: nobody got it, so it
// does not wait for the end of a lease.
func TestBrokenStreamGivesBack(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, nil)
		w := openStream(t, s, &pubsubpb.StreamingPullRequest{})
		for len(w.responses) < cap(w.responses) {
			w.responses <- nil
		}
		publish(t, s, "a")
		synctest.Wait()
		pull(t, s)
		w.cancel()
		synctest.Wait()
		pull(t, s, "a")
	})
}
