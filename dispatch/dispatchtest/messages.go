package dispatchtest

import (
	"cmp"
	"strconv"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/internal/wire"
)

// Sent lists the messages that services have sent on a route, in their order: tasks, events, a subscription's copies, a call's
// questions, each question once. What was refused, or dropped for its Key, was not sent.
func Sent[M any](b *Bench, r dispatch.Carrier[M]) []M {
	b.t.Helper()
	b.mu.Lock()
	var list []dispatch.Envelope
	for _, s := range b.sent {
		if s.route == r.Name() {
			list = append(list, s.envelope)
		}
	}
	b.mu.Unlock()
	return decode(b, r, list)
}

// Delivered lists the messages whose handler has returned nil, in their order, one for each such run.
func Delivered[M any](b *Bench, r dispatch.Carrier[M]) []M {
	b.t.Helper()
	return withOutcome(b, r, "Delivered", Done)
}

// Retried lists the messages that were to be tried again, one for each failed attempt.
func Retried[M any](b *Bench, r dispatch.Carrier[M]) []M {
	b.t.Helper()
	return withOutcome(b, r, "Retried", Again)
}

func withOutcome[M any](b *Bench, r dispatch.Carrier[M], what string, o Outcome) []M {
	b.t.Helper()
	b.received(r, what)
	var list []dispatch.Envelope
	for _, a := range b.Attempts(r) {
		if a.Outcome == o {
			list = append(list, a.envelope)
		}
	}
	return decode(b, r, list)
}

func decode[M any](b *Bench, r dispatch.Carrier[M], list []dispatch.Envelope) []M {
	b.t.Helper()
	var messages []M
	for _, e := range list {
		m, err := dispatch.Decode(r, e)
		if err != nil {
			b.t.Errorf("dispatchtest: message %s: %v", e.ID, err)
			continue
		}
		messages = append(messages, m)
	}
	return messages
}

// DeadLetter is a message that will not be tried again.
type DeadLetter[M any] struct {
	Message  M
	Err      error // that it cannot be decoded; Message is the zero value then
	ID       string
	Cause    string // the text of the last error
	Attempts int    // how often it was tried
}

// Dead lists the dead letters of a task or a subscription, in their order.
func Dead[M any](b *Bench, r dispatch.Inbound[M]) []DeadLetter[M] {
	b.t.Helper()
	name := b.received(r, "Dead")
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []DeadLetter[M]
	for _, d := range b.dead {
		if d.route != name {
			continue
		}
		letter := DeadLetter[M]{ID: d.envelope.ID, Cause: cause(d.envelope.Attributes)}
		letter.Message, letter.Err = dispatch.Decode(r, d.envelope)
		letter.Attempts, _ = strconv.Atoi(cmp.Or(d.envelope.Attributes[wire.DeadAttempts], d.envelope.Attributes[wire.PlatformCount]))
		list = append(list, letter)
	}
	return list
}

// cause is why a message is a dead letter.
func cause(attributes map[string]string) string {
	if n := attributes[wire.PlatformCount]; n != "" && attributes[wire.DeadCause] == "" {
		return "Pub/Sub gave it up after " + n + " attempts"
	}
	return attributes[wire.DeadCause]
}
