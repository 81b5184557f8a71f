package pubsub

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"waybill.dev/auth"
)

// Delivery is one push of a message. All but Caller is what the body or the
// headers say: information, never identity.
type Delivery struct {
	ID           string            // Pub/Sub's id of the message, the same at each delivery
	Data         []byte            // the payload, the handler's to keep
	Attributes   map[string]string // of an unwrapped push: the headers, with names in lower case
	OrderingKey  string            // empty for an unordered message
	PublishTime  time.Time         // when Pub/Sub accepted the message
	ReceivedAt   time.Time         // when this push arrived, by this machine's clock
	Subscription string            // the full name; empty for an unwrapped push without metadata
	Attempt      int               // from 1; 0 without a dead-letter policy
	Caller       auth.Identity     // the subscription's push account, not the publisher
}

// envelope is the body of a wrapped push. Pub/Sub sends both spellings of two of its fields.
type envelope struct {
	Message *struct {
		Attributes   map[string]string `json:"attributes"`
		Data         []byte            `json:"data"`
		MessageID    string            `json:"messageId"`
		MessageID2   string            `json:"message_id"`
		OrderingKey  string            `json:"orderingKey"`
		PublishTime  string            `json:"publishTime"`
		PublishTime2 string            `json:"publish_time"`
	} `json:"message"`
	Subscription    string `json:"subscription"`
	DeliveryAttempt int    `json:"deliveryAttempt"`
}

var (
	errNoMessage      = errors.New("the body has no message")
	errNoSubscription = errors.New("the body names no subscription")
)

func parseWrapped(body []byte) (*Delivery, error) {
	var e envelope
	if err := json.Unmarshal(body, &e); err != nil {
		return nil, fmt.Errorf("the body is not the JSON of a wrapped push (if the subscription is unwrapped, set Unwrapped): %w", withoutData(err))
	}
	switch {
	case e.Message == nil:
		return nil, errNoMessage
	case e.Subscription == "":
		return nil, errNoSubscription
	}
	m := e.Message
	d := &Delivery{
		ID:           m.MessageID,
		Data:         m.Data,
		Attributes:   m.Attributes,
		OrderingKey:  m.OrderingKey,
		Subscription: e.Subscription,
		Attempt:      max(e.DeliveryAttempt, 0),
	}
	if d.ID == "" {
		d.ID = m.MessageID2
	}
	published := m.PublishTime
	if published == "" {
		published = m.PublishTime2
	}
	d.PublishTime = parseTime(published)
	return d, nil
}

// withoutData drops what an error of encoding/json may quote of a payload.
func withoutData(err error) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%s must not be a JSON %s", e.Field, firstWord(e.Value))
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("syntax error at byte %d", e.Offset)
	}
	return errors.New("the data is not base64")
}

func firstWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return word
}

func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}
	}
	return t
}

// The keys are in the canonical form of net/http.
const (
	headerPrefix       = "X-Goog-Pubsub-"
	headerID           = headerPrefix + "Message-Id"
	headerPublishTime  = headerPrefix + "Publish-Time"
	headerSubscription = headerPrefix + "Subscription-Name"
	headerOrderingKey  = headerPrefix + "Ordering-Key"
	headerAttempt      = headerPrefix + "Delivery-Attempt"
)

func parseUnwrapped(h http.Header, body []byte) *Delivery {
	d := &Delivery{
		ID:           h.Get(headerID),
		Data:         body,
		Attributes:   make(map[string]string, len(h)),
		OrderingKey:  h.Get(headerOrderingKey),
		PublishTime:  parseTime(h.Get(headerPublishTime)),
		Subscription: h.Get(headerSubscription),
	}
	if n, err := strconv.ParseUint(h.Get(headerAttempt), 10, 31); err == nil {
		d.Attempt = int(n)
	}
	for name, values := range h {
		if len(values) > 0 && !transportHeader(name) {
			d.Attributes[strings.ToLower(name)] = values[0]
		}
	}
	return d
}

// transportHeader reports whether a header belongs to the request itself:
// nothing tells an attribute's header from it but its name.
func transportHeader(name string) bool {
	switch name {
	case "Authorization", "X-Serverless-Authorization", "Cookie",
		"Accept", "Accept-Encoding", "Connection", "Content-Length", "From", "User-Agent":
		return true
	}
	return strings.HasPrefix(name, headerPrefix)
}

func logAttrs(d *Delivery) []slog.Attr {
	attrs := append(make([]slog.Attr, 0, 7), slog.String("subscription", d.Subscription), slog.String("caller", d.Caller.Email))
	if id := d.Attributes["ce-id"]; id != "" { // a CloudEvent's own id, the same in the sender's log
		return append(attrs, slog.String("message_id", id), slog.String("pubsub_id", d.ID))
	}
	return append(attrs, slog.String("message_id", d.ID))
}
