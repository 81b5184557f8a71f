package pubsub_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"waybill.dev/pubsub"
)

// stall returns a Pub/Sub that answers nothing until it is let go, and says when a publish has arrived.
func stall(t *testing.T) (f *fake, arrived chan string, letGo func()) {
	f = newFake(t)
	arrived, gate := make(chan string, 100), make(chan struct{})
	f.answer = func(_ context.Context, _ int, req *pubsubpb.PublishRequest) error {
		for _, m := range req.GetMessages() {
			arrived <- string(m.GetData())
		}
		<-gate
		return nil
	}
	return f, arrived, func() { close(gate) }
}

func publish(client *pubsub.Client, ctx context.Context, data string) chan error { //nolint:revive // the client reads first
	done := make(chan error, 1)
	go func() {
		_, err := client.Publish(ctx, "user-signed-up", pubsub.Message{Data: []byte(data)})
		done <- err
	}()
	return done
}

func TestOutstandingMessagesAreBounded(t *testing.T) {
	for name, cfg := range map[string]pubsub.Config{
		"messages": {MaxOutstandingMessages: 2},
		"bytes":    {MaxOutstandingBytes: 200},
	} {
		t.Run(name, func(t *testing.T) {
			f, arrived, letGo := stall(t)
			client := f.client(t, cfg)
			long := strings.Repeat("x", 50) // two of them fit 200 bytes with the topic's name, three do not
			first, second := publish(client, t.Context(), long), publish(client, t.Context(), long)
			<-arrived
			<-arrived
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			_, err := client.Publish(ctx, "another-topic", pubsub.Message{Data: []byte(long)}) // the bound is the client's, not a topic's
			if !errors.Is(err, pubsub.ErrOutstanding) || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, pubsub.ErrAmbiguous) ||
				!strings.Contains(err.Error(), "nothing was published") || !strings.Contains(err.Error(), "of "+name) {
				t.Errorf("the third: %v", err)
			}
			third := publish(client, t.Context(), "third")
			letGo()
			for _, done := range []chan error{first, second, third} {
				if err := <-done; err != nil {
					t.Errorf("once there is room: %v", err)
				}
			}
		})
	}
}

// A message whose publisher has gone is in memory all the same.
func TestAnAbandonedMessageIsOutstanding(t *testing.T) {
	f, arrived, letGo := stall(t)
	client := f.client(t, pubsub.Config{MaxOutstandingMessages: 1})
	ctx, cancel := context.WithCancel(t.Context())
	first := publish(client, ctx, "first")
	<-arrived
	cancel()
	if err := <-first; !errors.Is(err, pubsub.ErrAmbiguous) {
		t.Errorf("the abandoned one: %v", err)
	}
	short, cancelShort := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancelShort()
	if _, err := client.Publish(short, "user-signed-up", pubsub.Message{Data: []byte("second")}); !errors.Is(err, pubsub.ErrOutstanding) {
		t.Errorf("while it is outstanding: %v", err)
	}
	letGo()
	if err := <-publish(client, t.Context(), "third"); err != nil {
		t.Errorf("after it: %v", err)
	}
}

// The largest message passes a bound below its size, alone.
func TestAMessageAboveTheBoundOfBytesPassesAlone(t *testing.T) {
	client := newFake(t).client(t, pubsub.Config{MaxOutstandingBytes: 10})
	for range 2 {
		if _, err := client.Publish(t.Context(), "user-signed-up", pubsub.Message{Data: []byte(strings.Repeat("x", 1000))}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestShutdownWaitsForAbandonedMessages(t *testing.T) {
	f, arrived, letGo := stall(t)
	client := f.client(t, pubsub.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	first := publish(client, ctx, "first")
	<-arrived
	cancel()
	<-first
	letGo()
	if err := client.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
