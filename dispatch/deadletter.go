package dispatch

import (
	"context"
	"fmt"
	"maps"
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

	maxAttributeValue = 1024 // bytes, Pub/Sub's limit
)

// corpse is a message that will not be tried again.
type corpse struct {
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
func (d *Dispatcher) bury(ctx context.Context, r *route, c corpse) error {
	attributes := maps.Clone(c.attributes)
	if attributes == nil {
		attributes = map[string]string{}
	}
	if attributes[attrID] == "" {
		attributes[attrID] = c.fallbackID
	}
	attributes[attrDeadRoute] = r.name
	attributes[attrDeadCause] = truncate(c.cause.Error(), maxAttributeValue)
	attributes[attrDeadAttempts] = strconv.Itoa(c.attempt)
	attributes[attrDeadTime] = time.Now().UTC().Format(time.RFC3339Nano)
	if c.orderingKey != "" {
		attributes[attrDeadKey] = c.orderingKey
	}
	topic := d.env.deadTopicOf(r)
	if _, err := d.pubsub.Publish(ctx, topic, pubsub.Message{Data: c.body, Attributes: attributes}); err != nil {
		return fmt.Errorf("the dead letter could not be published to %s: %w", topic, err)
	}
	return nil
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
