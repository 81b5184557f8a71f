package dispatch

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"waybill.dev/dispatch/internal/wire"
	"waybill.dev/pubsub"
	"waybill.dev/tasks"
)

// Pub/Sub's limits, which every dead letter must keep, or it could never be kept itself.
// https://cloud.google.com/pubsub/quotas#resource_limits
const (
	maxAttributes     = 100
	maxAttributeKey   = 256  // bytes
	maxAttributeValue = 1024 // bytes

	// deadLetterRoom is what a dead letter may have beyond its message, in bytes: [Send] leaves it free below Pub/Sub's limit.
	deadLetterRoom = 4 << 10
)

// deadLetter is a message that will not be tried again.
type deadLetter struct {
	body        []byte
	attributes  map[string]string
	fallbackID  string
	attempt     int
	cause       error
	orderingKey string
	route       string    // the name that it came by
	received    time.Time // the last attempt
	published   time.Time // of an event: when Pub/Sub took it
	caller, url string    // of a task: who sent it, and where to
}

// bury puts a message into its route's dead-letter topic. Only when that has succeeded may it be acknowledged.
//
// The copy has no ordering key of its own: the dead letters of one key need no order, and an ordered publish could be
// held up by another's failure.
func (d *Dispatcher) bury(ctx context.Context, r *route, l deadLetter) error {
	topic := d.env.deadTopicOf(r)
	if _, err := d.pubsub.Publish(ctx, topic, pubsub.Message{Data: l.body, Attributes: l.marked(d.now())}); err != nil {
		return fmt.Errorf("the dead letter could not be published to %s: %w", topic, err)
	}
	return nil
}

// marked are the attributes of the copy: ours first, then as much of what came as Pub/Sub lets one publish.
func (l deadLetter) marked(now time.Time) map[string]string {
	attributes := map[string]string{
		attrID:            firstOf(l.attributes[attrID], l.fallbackID),
		wire.DeadRoute:    l.route,
		wire.DeadCause:    l.cause.Error(),
		wire.DeadAttempts: strconv.Itoa(l.attempt),
		wire.DeadTime:     now.UTC().Format(time.RFC3339Nano),
		wire.DeadReceived: l.received.UTC().Format(time.RFC3339Nano),
	}
	for name, value := range map[string]string{wire.DeadKey: l.orderingKey, wire.DeadCaller: l.caller, wire.DeadURL: l.url} {
		if value != "" {
			attributes[name] = value
		}
	}
	if !l.published.IsZero() {
		attributes[wire.DeadPublished] = l.published.UTC().Format(time.RFC3339Nano)
	}
	for _, key := range slices.Sorted(maps.Keys(l.attributes)) { // sorted: "ce-" and "content-type" come before most others
		_, ours := attributes[key]
		ours = ours || strings.HasPrefix(key, wire.Dead)            // what a sender calls so is not what it says
		reserved := strings.HasPrefix(strings.ToLower(key), "goog") // Pub/Sub adds them by itself, and lets nobody else
		if !ours && !reserved && key != "" && len(key) <= maxAttributeKey && len(attributes) < maxAttributes {
			attributes[key] = l.attributes[key]
		}
	}
	for key, value := range attributes {
		attributes[key] = truncate(value, maxAttributeValue)
	}
	return attributes
}

// attributesOfTask are a task's headers as attributes, but for those of the request itself.
func attributesOfTask(t *tasks.Delivery) map[string]string {
	attributes := make(map[string]string, len(t.Header))
	for name, values := range t.Header {
		if !ofRequest(name) {
			attributes[strings.ToLower(name)] = strings.Join(values, ", ")
		}
	}
	return attributes
}

// ofRequest reports whether a header, in net/http's canonical form, was added on the way: by Cloud Tasks, by Cloud Run or a
// proxy, or by HTTP itself. The token is gone already.
func ofRequest(name string) bool {
	switch name {
	case "Accept", "Accept-Encoding", "Connection", "Content-Length", "Forwarded", "From", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
		"User-Agent", "Via", "X-Cloud-Trace-Context":
		return true
	}
	for _, prefix := range []string{"Proxy-", "X-Appengine-", "X-Cloudtasks-", "X-Forwarded-", "X-Goog", "X-Serverless-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// truncate cuts s to n bytes at most, between characters.
func truncate(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
