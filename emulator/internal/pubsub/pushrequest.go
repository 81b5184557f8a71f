package pubsub

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"golang.org/x/net/http/httpguts"
)

// request builds the headers and the body of one push.
func request(d *push, subscription string, config *pubsubpb.PushConfig) (h http.Header, body []byte, err error) {
	h = make(http.Header)
	if unwrapped := config.GetNoWrapper(); unwrapped != nil {
		body = d.msg.GetData()
		if unwrapped.GetWriteMetadata() {
			setMetadata(h, d, subscription)
		}
	} else {
		h.Set("Content-Type", "application/json")
		body, err = envelope(d, subscription)
	}
	h.Set("From", "noreply@google.com")
	h.Set("User-Agent", "APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)")
	h.Set("Accept", "application/json")
	h.Set("Accept-Encoding", "gzip, deflate, br")
	return h, body, err
}

// setMetadata writes the attributes and the message's metadata as headers. Attributes that are no
// valid header, or would break the request, are left out.
func setMetadata(h http.Header, d *push, subscription string) {
	for key, value := range d.msg.GetAttributes() {
		if httpguts.ValidHeaderFieldName(key) && httpguts.ValidHeaderFieldValue(value) && !reservedHeader(key) {
			h.Set(key, value)
		}
	}
	h.Set("X-Goog-Pubsub-Message-Id", d.msg.GetMessageId())
	h.Set("X-Goog-Pubsub-Publish-Time", showTime(d.msg))
	h.Set("X-Goog-Pubsub-Subscription-Name", subscription)
	if key := d.msg.GetOrderingKey(); key != "" && httpguts.ValidHeaderFieldValue(key) {
		h.Set("X-Goog-Pubsub-Ordering-Key", key)
	}
	if d.attempt > 0 {
		h.Set("X-Goog-Pubsub-Delivery-Attempt", strconv.Itoa(d.attempt))
	}
}

// reservedHeader reports headers that no attribute may set: those of the connection, and the metadata's own.
func reservedHeader(key string) bool {
	key = strings.ToLower(key)
	switch key {
	case "connection", "content-length", "host", "keep-alive", "proxy-authenticate", "proxy-authorization",
		"proxy-connection", "te", "trailer", "transfer-encoding", "upgrade":
		return true
	}
	return strings.HasPrefix(key, "x-goog-pubsub-")
}

// wrapped is the body of a push. The service sends ids and times in both spellings.
type wrapped struct {
	DeliveryAttempt int            `json:"deliveryAttempt,omitempty"`
	Message         wrappedMessage `json:"message"`
	Subscription    string         `json:"subscription"`
}

type wrappedMessage struct {
	Attributes    map[string]string `json:"attributes,omitempty"`
	Data          []byte            `json:"data,omitempty"`
	MessageID     string            `json:"messageId"`
	MessageID2    string            `json:"message_id"`
	OrderingKey   string            `json:"orderingKey,omitempty"`
	PublishTime   string            `json:"publishTime"`
	PublishedTime string            `json:"publish_time"`
}

func envelope(d *push, subscription string) ([]byte, error) {
	published := showTime(d.msg)
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	err := enc.Encode(wrapped{
		DeliveryAttempt: d.attempt,
		Message: wrappedMessage{
			Attributes:    d.msg.GetAttributes(),
			Data:          d.msg.GetData(),
			MessageID:     d.msg.GetMessageId(),
			MessageID2:    d.msg.GetMessageId(),
			OrderingKey:   d.msg.GetOrderingKey(),
			PublishTime:   published,
			PublishedTime: published,
		},
		Subscription: subscription,
	})
	return bytes.TrimSuffix(body.Bytes(), []byte("\n")), err
}

// showTime is the publish time as protobuf's JSON has it: milliseconds, or none.
func showTime(m *pubsubpb.PubsubMessage) string {
	t := m.GetPublishTime().AsTime()
	if t.Nanosecond() == 0 {
		return t.Format(time.RFC3339)
	}
	return t.Format("2006-01-02T15:04:05.000Z07:00")
}
