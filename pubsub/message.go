package pubsub

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Pub/Sub's limits, in bytes unless said.
const (
	MaxRequestSize    = 10_000_000 // of one publish request: the message with its attributes, and the topic's name
	MaxAttributes     = 100        // attributes a message
	MaxAttributeKey   = 256
	MaxAttributeValue = 1024
	MaxOrderingKey    = 1024
)

// Message is a message to publish.
type Message struct {
	// Data is the payload. With the attributes at most 10 MB; data or an attribute must be there.
	Data []byte
	// Attributes are at most 100, keys of 1 to 256 bytes that do not begin with
	// goog, values of at most 1024 bytes.
	Attributes map[string]string
	// OrderingKey orders the messages that share it, on subscriptions that are Ordered; at most 1024 bytes.
	OrderingKey string
}

// Validate reports what [Client.Publish] would refuse before sending anything,
// for a message that goes by other means: limits and sizes. The topic's full name
// counts.
func (m *Message) Validate(topic string) error {
	if err := m.validate(topic); err != nil {
		return fmt.Errorf("pubsub: the message cannot be published: %w", err)
	}
	return nil
}

func (m *Message) validate(topic string) error {
	var problems []error
	if len(m.Data) == 0 && len(m.Attributes) == 0 {
		problems = append(problems, errors.New("the message is empty: give it data or an attribute"))
	}
	if n := len(m.Attributes); n > MaxAttributes {
		problems = append(problems, fmt.Errorf("Attributes: %w: %d, at most %d: move some into the data", ErrTooLarge, n, MaxAttributes))
	}
	for key, value := range m.Attributes {
		if err := checkAttribute(key, value); err != nil {
			problems = append(problems, err)
		}
	}
	switch {
	case len(m.OrderingKey) > MaxOrderingKey:
		problems = append(problems, fmt.Errorf("OrderingKey: %w: %d bytes, at most %d", ErrTooLarge, len(m.OrderingKey), MaxOrderingKey))
	case !utf8.ValidString(m.OrderingKey):
		problems = append(problems, errors.New("OrderingKey is not UTF-8"))
	}
	if size := m.requestSize(topic); size > MaxRequestSize {
		problems = append(problems, fmt.Errorf("%w: %d bytes with attributes, at most %d: store the data elsewhere and send where it is", ErrTooLarge, size, MaxRequestSize))
	}
	return errors.Join(problems...)
}

func checkAttribute(key, value string) error {
	switch {
	case key == "":
		return errors.New("Attributes: a key is empty")
	case len(key) > MaxAttributeKey:
		return fmt.Errorf("Attributes: %w: the key that begins with %.32q has %d bytes, at most %d", ErrTooLarge, key, len(key), MaxAttributeKey)
	case len(key) >= 4 && strings.EqualFold(key[:4], "goog"):
		return fmt.Errorf("Attributes: %q begins with goog, which Google keeps for itself: use another name", key)
	case len(value) > MaxAttributeValue:
		return fmt.Errorf("Attributes: %w: the value of %q has %d bytes, at most %d: move it into the data", ErrTooLarge, key, len(value), MaxAttributeValue)
	case !utf8.ValidString(key) || !utf8.ValidString(value):
		return fmt.Errorf("Attributes: %q or its value is not UTF-8: put bytes into the data", key)
	}
	return nil
}

// requestSize is proto.Size of a PublishRequest with this one message, without
// building one. Every tag of these messages takes one byte.
func (m *Message) requestSize(topic string) int {
	size := fieldSize(len(m.Data)) + fieldSize(len(m.OrderingKey))
	for key, value := range m.Attributes {
		// An entry's key and value are always there, even if empty.
		entry := 2 + protowire.SizeBytes(len(key)) + protowire.SizeBytes(len(value))
		size += 1 + protowire.SizeBytes(entry)
	}
	return fieldSize(len(topic)) + 1 + protowire.SizeBytes(size)
}

func fieldSize(n int) int {
	if n == 0 {
		return 0
	}
	return 1 + protowire.SizeBytes(n)
}
