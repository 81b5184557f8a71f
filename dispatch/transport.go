package dispatch

import (
	"context"
	"net/http"
	"time"

	"waybill.dev/pubsub"
	"waybill.dev/tasks"
)

// Transport is every way out of a Dispatcher. [Config].Transport puts one in the place of Google's clients and of the
// network; waybill.dev/dispatch/dispatchtest has one in memory. Everything else stays as it is: checks of declarations and sizes,
// codecs, keys, retries of calls, tokens and their verification.
//
// It is used by several goroutines at once, and must be of use until [Dispatcher.Shutdown] has returned, which does not close it.
type Transport interface {
	// Enqueue takes a task, which has been validated, and returns once it is kept, as tasks.Client's does: a second one with
	// the same Key in the same queue is a Duplicate; an error that leaves open whether it was kept wraps [ErrAmbiguous].
	Enqueue(ctx context.Context, t tasks.Task) (tasks.Receipt, error)
	// Publish takes a message for a topic, given by its full name, and returns once it is kept, as pubsub.Client's does. The
	// message has been validated. Dead letters go this way, too.
	Publish(ctx context.Context, topic string, m pubsub.Message) (id string, err error)
	// RoundTrip carries the attempts at calls, each with its ID token, and the requests for the issuer's public keys.
	RoundTrip(r *http.Request) (*http.Response, error)
	// Token mints the ID token that a call carries: the service's own, for the receiver's audience.
	Token(ctx context.Context, audience string) (string, error)
}

// enqueuer and publisher are what sends need: Google's clients, or a Transport behind the clients' checks.
type (
	enqueuer interface {
		Enqueue(ctx context.Context, t tasks.Task) (tasks.Receipt, error)
		Check(t tasks.Task) error
		Close() error
	}
	publisher interface {
		Publish(ctx context.Context, topic string, m pubsub.Message) (id string, err error)
		Check(topic string, m pubsub.Message) error
		Shutdown(ctx context.Context) error
	}
)

var (
	_ enqueuer  = (*tasks.Client)(nil)
	_ publisher = (*pubsub.Client)(nil)
)

// carriedTasks and carriedMessages make the checks before a Transport that Google's clients make, so that what those would
// refuse is refused. They leave it open: whoever made it closes it.
type (
	carriedTasks struct {
		Transport
		now func() time.Time
	}
	carriedMessages struct{ Transport }
)

func (c carriedTasks) Check(t tasks.Task) error { return t.Validate(c.now()) }

func (c carriedTasks) Enqueue(ctx context.Context, t tasks.Task) (tasks.Receipt, error) {
	if err := c.Check(t); err != nil {
		return tasks.Receipt{}, err
	}
	return c.Transport.Enqueue(ctx, t)
}

func (carriedTasks) Close() error { return nil }

func (carriedMessages) Check(topic string, m pubsub.Message) error { return m.Validate(topic) }

func (c carriedMessages) Publish(ctx context.Context, topic string, m pubsub.Message) (string, error) {
	if err := c.Check(topic, m); err != nil {
		return "", err
	}
	return c.Transport.Publish(ctx, topic, m)
}

func (carriedMessages) Shutdown(context.Context) error { return nil }
