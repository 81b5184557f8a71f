package dispatch

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/google/uuid"

	"waybill.dev/auth"
)

// Via is the transport of a message.
type Via string

// The transports.
const (
	ViaCloudTasks Via = "cloud-tasks"
	ViaPubSub     Via = "pubsub"
	ViaHTTP       Via = "http"
)

func (k Kind) via() Via {
	switch k {
	case KindTask:
		return ViaCloudTasks
	case KindCall:
		return ViaHTTP
	default:
		return ViaPubSub
	}
}

// Message is what is known of a message beside its content. Handlers get it by [MessageFrom].
type Message struct {
	// ID is the same in the receipt, on the wire, at every attempt and in the dead letters.
	ID string
	// Route is the name of the receiving task, subscription or call.
	Route string
	// Alias is the older name of the route that it came by, see [Alias]; empty for its present one.
	Alias string
	// Attempt counts from 1. A call's is always 1: its caller's retries are not counted on the wire.
	Attempt int
	// Caller is who was verified: for a task or a call the sender's own account, for an event the app's push account.
	Caller auth.Identity
	// Source is the sender as the message says it, /APP/SERVICE. On an event it is a claim: the topic's IAM decides who may publish.
	Source string
	Via    Via
	// PublishedAt is when the sender sent it, by its own clock.
	PublishedAt time.Time
	// ExpiresAt is when it is dropped instead of being handled, see [Expires]; zero for never.
	ExpiresAt time.Time
}

type messageKey struct{}

// MessageFrom returns what is known of the message that the handler with this context runs for.
// Outside a handler it returns the zero Message.
func MessageFrom(ctx context.Context) Message {
	if f, ok := ctx.Value(messageKey{}).(*inflight); ok {
		return f.Message
	}
	return Message{}
}

// ContextWithMessage returns a context as a handler gets it, for calling a handler in a test of one's own.
func ContextWithMessage(ctx context.Context, m Message) context.Context {
	return context.WithValue(ctx, messageKey{}, &inflight{Message: m})
}

// newID returns an ID of its own for a message without a key: a UUIDv7, which sorts by time.
func newID() (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("dispatch: the system gives no random numbers: %w", err)
	}
	return id.String(), nil
}

// keyedID returns the ID that a key stands for: a UUIDv8 (RFC 9562) made of a hash of app, route and key. The same
// key on the same route is the same message, however often it is sent; on another route it is another.
func keyedID(app, route, key string) string {
	h := sha256.New()
	for _, part := range []string{app, route, key} {
		// The lengths keep ("a", "bc") and ("ab", "c") apart.
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	var id uuid.UUID
	copy(id[:], h.Sum(nil))
	id[6] = id[6]&0x0f | 0x80 // version 8: the content is the application's
	id[8] = id[8]&0x3f | 0x80 // variant of RFC 9562
	return id.String()
}
