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

	"waybill.dev/pubsub"
)

// Attributes that a dead letter has beside those of the message itself. Pub/Sub's own dead-lettering, the backstop
// behind Waybill's, adds CloudPubSubDeadLetterSource... instead.
const (
	attrDeadRoute    = "waybill-dead-route"    // the task or subscription that failed
	attrDeadCause    = "waybill-dead-cause"    // the last error's text
	attrDeadAttempts = "waybill-dead-attempts" // how often it was tried; 0 where the transport does not count
	attrDeadTime     = "waybill-dead-time"
	attrDeadKey      = "waybill-dead-ordering-key"
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
}

// bury puts a message into its route's dead-letter topic. Only when that has succeeded may it be acknowledged.
//
// The copy has no ordering key of its own: the dead letters of one key need no order, and an ordered publish could be
// held up by another's failure.
func (d *Dispatcher) bury(ctx context.Context, r *route, l deadLetter) error {
	topic := d.env.deadTopicOf(r)
	if _, err := d.pubsub.Publish(ctx, topic, pubsub.Message{Data: l.body, Attributes: l.marked(r, d.now())}); err != nil {
		return fmt.Errorf("the dead letter could not be published to %s: %w", topic, err)
	}
	return nil
}

// marked are the attributes of the copy: ours first, then as much of what came as Pub/Sub lets one publish.
func (l deadLetter) marked(r *route, now time.Time) map[string]string {
	attributes := map[string]string{
		attrID:           firstOf(l.attributes[attrID], l.fallbackID),
		attrDeadRoute:    r.name,
		attrDeadCause:    l.cause.Error(),
		attrDeadAttempts: strconv.Itoa(l.attempt),
		attrDeadTime:     now.UTC().Format(time.RFC3339Nano),
	}
	if l.orderingKey != "" {
		attributes[attrDeadKey] = l.orderingKey
	}
	for _, key := range slices.Sorted(maps.Keys(l.attributes)) { // sorted: "ce-" and "content-type" come before most others
		_, ours := attributes[key]
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
