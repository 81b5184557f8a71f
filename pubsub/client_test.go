package pubsub_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"waybill.dev/pubsub"
)

func TestWhatIsPublished(t *testing.T) {
	f := newFake(t)
	client := f.client(t, pubsub.Config{})
	for _, topic := range []string{"user-signed-up", topicName} {
		if _, err := client.Publish(t.Context(), topic, pubsub.Message{
			Data: []byte("hello"), Attributes: map[string]string{"ce-id": "1"}, OrderingKey: "42",
		}); err != nil {
			t.Fatal(err)
		}
	}
	want := &pubsubpb.PublishRequest{Topic: topicName, Messages: []*pubsubpb.PubsubMessage{{
		Data: []byte("hello"), Attributes: map[string]string{"ce-id": "1"}, OrderingKey: "42",
	}}}
	if diff := cmp.Diff([]*pubsubpb.PublishRequest{want, want}, f.got(), protocmp.Transform()); diff != "" {
		t.Errorf("published (-want +got):\n%s", diff)
	}
}

func TestTheIDIsPubSubs(t *testing.T) {
	f := newFake(t)
	id, err := f.client(t, pubsub.Config{}).Publish(t.Context(), topicName, pubsub.Message{Data: []byte("x")})
	if err != nil || id != "1-0" {
		t.Errorf("id %q, %v", id, err)
	}
}

func TestMessagesOfManyGoroutinesTravelTogether(t *testing.T) {
	f := newFake(t)
	client := f.client(t, pubsub.Config{DelayThreshold: time.Hour, CountThreshold: 10})
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			if _, err := client.Publish(t.Context(), topicName, pubsub.Message{Data: fmt.Append(nil, i)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := f.got(); len(got) != 1 || len(got[0].GetMessages()) != 10 {
		t.Errorf("%d requests, want one of ten messages", len(got))
	}
}

func TestTransientFailuresAreRepeated(t *testing.T) {
	f := newFake(t)
	f.answer = func(_ context.Context, n int, _ *pubsubpb.PublishRequest) error {
		if n == 1 {
			return status.Error(codes.Unavailable, "come back")
		}
		return nil
	}
	if _, err := f.client(t, pubsub.Config{}).Publish(t.Context(), topicName, pubsub.Message{Data: []byte("x")}); err != nil || len(f.got()) != 2 {
		t.Errorf("%d requests, %v", len(f.got()), err)
	}
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	for code, hint := range map[codes.Code]string{
		codes.NotFound:         "create it first (a real one needs up to a minute to become known; an emulator forgets everything at its end)",
		codes.PermissionDenied: "roles/pubsub.publisher",
		codes.InvalidArgument:  "did not accept",
	} {
		f := newFake(t)
		f.answer = func(context.Context, int, *pubsubpb.PublishRequest) error { return status.Error(code, "no") }
		_, err := f.client(t, pubsub.Config{}).Publish(t.Context(), topicName, pubsub.Message{Data: []byte("x")})
		if status.Code(err) != code || !strings.Contains(err.Error(), hint) || errors.Is(err, pubsub.ErrAmbiguous) || len(f.got()) != 1 {
			t.Errorf("%v after %d requests: %v", code, len(f.got()), err)
		}
	}
}

func TestWhenTheTimeoutEndsTheOutcomeIsOpen(t *testing.T) {
	f := newFake(t)
	f.answer = func(ctx context.Context, _ int, _ *pubsubpb.PublishRequest) error {
		<-ctx.Done()
		return ctx.Err()
	}
	_, err := f.client(t, pubsub.Config{Timeout: 200 * time.Millisecond}).Publish(t.Context(), topicName, pubsub.Message{Data: []byte("x")})
	if !errors.Is(err, pubsub.ErrAmbiguous) {
		t.Errorf("%v", err)
	}
}

func TestAFailedOrderedPublishFreesItsKey(t *testing.T) {
	f := newFake(t)
	f.answer = func(_ context.Context, n int, _ *pubsubpb.PublishRequest) error {
		if n == 1 {
			return status.Error(codes.InvalidArgument, "no")
		}
		return nil
	}
	client := f.client(t, pubsub.Config{})
	m := pubsub.Message{Data: []byte("x"), OrderingKey: "42"}
	if _, err := client.Publish(t.Context(), topicName, m); status.Code(err) != codes.InvalidArgument {
		t.Errorf("the first: %v", err)
	}
	if _, err := client.Publish(t.Context(), topicName, m); err != nil {
		t.Errorf("the second: %v", err)
	}
}

// TestAnAbandonedFailureDoesNotBlockItsKey: nobody waits for the first
// message's failure, which pauses the key all the same.
func TestAnAbandonedFailureDoesNotBlockItsKey(t *testing.T) {
	f := newFake(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	f.answer = func(_ context.Context, n int, _ *pubsubpb.PublishRequest) error {
		if n == 1 {
			close(arrived)
			<-release
			return status.Error(codes.InvalidArgument, "no")
		}
		return nil
	}
	client := f.client(t, pubsub.Config{})
	why := errors.New("the user went away")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-arrived
		cancel(why)
	}()
	m := pubsub.Message{Data: []byte("x"), OrderingKey: "42"}
	if _, err := client.Publish(ctx, topicName, m); !errors.Is(err, why) || !errors.Is(err, pubsub.ErrAmbiguous) {
		t.Errorf("abandoned: %v", err)
	}
	close(release)
	if _, err := client.Publish(t.Context(), topicName, m); err != nil {
		t.Errorf("the next of its key: %v", err)
	}
}

func TestAnEndedContextPublishesNothing(t *testing.T) {
	f := newFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := f.client(t, pubsub.Config{}).Publish(ctx, topicName, pubsub.Message{Data: []byte("x")})
	if !errors.Is(err, context.Canceled) || errors.Is(err, pubsub.ErrAmbiguous) || len(f.got()) != 0 {
		t.Errorf("%d requests, %v", len(f.got()), err)
	}
}

// waitingContext tells when somebody begins to wait for its end: for Publish,
// when the message is in its batch.
type waitingContext struct {
	context.Context
	once    sync.Once
	waiting chan struct{}
}

func (c *waitingContext) Done() <-chan struct{} {
	c.once.Do(func() { close(c.waiting) })
	return c.Context.Done()
}

func TestShutdownPublishesWhatIsWaiting(t *testing.T) {
	f := newFake(t)
	client := f.client(t, pubsub.Config{DelayThreshold: time.Hour})
	ctx := &waitingContext{Context: t.Context(), waiting: make(chan struct{})}
	published := make(chan error, 1)
	go func() {
		_, err := client.Publish(ctx, topicName, pubsub.Message{Data: []byte("x")})
		published <- err
	}()
	<-ctx.waiting
	if err := client.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-published; err != nil || len(f.got()) != 1 {
		t.Errorf("%d requests, %v", len(f.got()), err)
	}
	if _, err := client.Publish(t.Context(), topicName, pubsub.Message{Data: []byte("x")}); !errors.Is(err, pubsub.ErrClosed) {
		t.Errorf("after it: %v", err)
	}
	if _, err := client.Publish(t.Context(), "another-topic", pubsub.Message{Data: []byte("x")}); !errors.Is(err, pubsub.ErrClosed) {
		t.Errorf("after it, to a new topic: %v", err)
	}
	if _, err := client.CreateTopic(t.Context(), topicName); !errors.Is(err, pubsub.ErrClosed) {
		t.Errorf("CreateTopic after it: %v", err)
	}
	if err := client.Close(); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

func TestShutdownIsBoundedByItsContext(t *testing.T) {
	f := newFake(t)
	arrived := make(chan struct{})
	f.answer = func(ctx context.Context, _ int, _ *pubsubpb.PublishRequest) error {
		close(arrived)
		<-ctx.Done()
		return ctx.Err()
	}
	client := f.client(t, pubsub.Config{})
	published := make(chan error, 1)
	go func() {
		_, err := client.Publish(context.Background(), topicName, pubsub.Message{Data: []byte("x")})
		published <- err
	}()
	<-arrived
	why := errors.New("the grace period is over")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if err := client.Shutdown(ctx); !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
	if err := <-published; !errors.Is(err, pubsub.ErrAmbiguous) {
		t.Errorf("what was under way: %v", err)
	}
	if err := client.Close(); err != nil {
		t.Errorf("Close after it: %v", err)
	}
	for range 100 { // whatever the context: all has been done
		if err := client.Shutdown(ctx); err != nil {
			t.Fatalf("Shutdown after it, with an ended context: %v", err)
		}
	}
}

func TestConfigReportsEveryProblem(t *testing.T) {
	_, err := pubsub.NewClient(t.Context(), pubsub.Config{DelayThreshold: -1, CountThreshold: 1001, ByteThreshold: -1, Timeout: -1})
	for _, part := range []string{"pubsub: ", "Project", "DelayThreshold", "CountThreshold", "ByteThreshold", "Timeout"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("no word of %s in: %v", part, err)
		}
	}
}

func TestTopicNames(t *testing.T) {
	f := newFake(t)
	client := f.client(t, pubsub.Config{})
	for _, bad := range []string{"", "ab", "1abc", "goog-topic", "a b c", "projects/shop/topics", "projects//topics/abc", "projects/shop/subscriptions/abc", "shop/abc", strings.Repeat("a", 256)} {
		if _, err := client.Publish(t.Context(), bad, pubsub.Message{Data: []byte("x")}); err == nil || !strings.Contains(err.Error(), "use ") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if len(f.got()) != 0 {
		t.Error("something was published")
	}
}
