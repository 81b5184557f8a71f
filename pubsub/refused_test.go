package pubsub_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"waybill.dev/pubsub"
)

// nowhere is an address on which nothing listens.
func nowhere(t *testing.T) *fake {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return &fake{addr: listener.Addr().String()}
}

func TestWhereNothingListensNothingIsSent(t *testing.T) {
	f := nowhere(t)
	client := f.client(t, pubsub.Config{Timeout: time.Second}) // of which half goes to refused connections
	for name, try := range map[string]func() error{
		"Publish": func() error {
			_, err := client.Publish(t.Context(), topicName, pubsub.Message{Data: []byte("x")})
			return err
		},
		"Publish with a key": func() error {
			_, err := client.Publish(t.Context(), topicName, pubsub.Message{Data: []byte("x"), OrderingKey: "42"})
			return err
		},
		"CreateTopic": func() error {
			_, err := client.CreateTopic(t.Context(), topicName)
			return err
		},
		"CreatePushSubscription": func() error {
			_, err := client.CreatePushSubscription(t.Context(), pubsub.PushSubscription{
				Name: subscription, Topic: topicName, Endpoint: endpoint, Audience: audience, ServiceAccount: pusher,
			})
			return err
		},
	} {
		err := try()
		if err == nil || !strings.Contains(err.Error(), "nothing listens on "+f.addr+" (connection refused): is the emulator running?") {
			t.Errorf("%s: %v", name, err)
		}
		if errors.Is(err, pubsub.ErrAmbiguous) || errors.Is(err, context.DeadlineExceeded) || status.Code(err) != codes.Unavailable {
			t.Errorf("%s: nothing was sent, and the error does not say so: %v", name, err)
		}
	}
}

// TestAContextThatEndsFirstNamesTheAddress: a publish may then still succeed later, a creation may not.
func TestAContextThatEndsFirstNamesTheAddress(t *testing.T) {
	f := nowhere(t)
	client := f.client(t, pubsub.Config{Timeout: time.Second})
	ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
	defer cancel()
	_, err := client.CreateTopic(ctx, topicName)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "nothing listens on "+f.addr) {
		t.Errorf("CreateTopic: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 250*time.Millisecond)
	defer cancel()
	_, err = client.Publish(ctx, topicName, pubsub.Message{Data: []byte("x")})
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, pubsub.ErrAmbiguous) || !strings.Contains(err.Error(), "nothing listens on "+f.addr) {
		t.Errorf("Publish: %v", err)
	}
}

// TestRefusedAfterAnAttemptThatArrivedIsAmbiguous: the server took the message
// and went away for good.
func TestRefusedAfterAnAttemptThatArrivedIsAmbiguous(t *testing.T) {
	f, stop := startFake()
	t.Cleanup(stop)
	stopped := make(chan struct{})
	f.answer = func(ctx context.Context, _ int, _ *pubsubpb.PublishRequest) error {
		go func() { stop(); close(stopped) }()
		<-ctx.Done()
		return ctx.Err()
	}
	_, err := f.client(t, pubsub.Config{Timeout: time.Second}).Publish(t.Context(), topicName, pubsub.Message{Data: []byte("x")})
	if !errors.Is(err, pubsub.ErrAmbiguous) {
		t.Errorf("%v", err)
	}
	<-stopped
}
