package pubsub

import (
	"context"
	"fmt"
	"sync"

	"cloud.google.com/go/pubsub/v2"
	"golang.org/x/sync/semaphore"
)

// flow bounds what a client has outstanding, over all of its topics: given to Google's client, whose memory holds it, and
// not yet accepted. Google's own flow control bounds each topic by itself.
type flow struct {
	messages, bytes *semaphore.Weighted
	maxBytes        int64

	mu        sync.Mutex
	stopped   bool           // every message's fate is known
	abandoned sync.WaitGroup // messages that nobody waits for any more
}

func newFlow(messages, bytes int) *flow {
	return &flow{messages: semaphore.NewWeighted(int64(messages)), bytes: semaphore.NewWeighted(int64(bytes)), maxBytes: int64(bytes)}
}

// acquire waits for room for a message of this size, or for ctx. What is larger than the bound has it to itself.
func (f *flow) acquire(ctx context.Context, size int) (weight int64, err error) {
	weight = min(int64(size), f.maxBytes)
	if err := f.messages.Acquire(ctx, 1); err != nil {
		return 0, f.explain(ctx, "messages")
	}
	if err := f.bytes.Acquire(ctx, weight); err != nil {
		f.messages.Release(1)
		return 0, f.explain(ctx, "bytes")
	}
	return weight, nil
}

func (f *flow) explain(ctx context.Context, of string) error {
	return fmt.Errorf("%w of %s, and none came free in time; publish less at once, or raise Config.MaxOutstanding: %w", ErrOutstanding, of, context.Cause(ctx))
}

// release frees the room of a message once its fate is known. One that its publisher no longer waits for holds it until
// then: it is still in memory, and may still be published.
func (f *flow) release(weight int64, result *pubsub.PublishResult) {
	select {
	case <-result.Ready():
		f.free(weight)
		return
	default:
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		f.free(weight)
		return
	}
	f.abandoned.Go(func() {
		<-result.Ready() // at the latest when the publisher is stopped
		f.free(weight)
	})
}

func (f *flow) free(weight int64) {
	f.bytes.Release(weight)
	f.messages.Release(1)
}

// wait waits for the abandoned messages' goroutines, once every publisher is stopped.
func (f *flow) wait() {
	f.mu.Lock()
	f.stopped = true
	f.mu.Unlock()
	f.abandoned.Wait()
}
