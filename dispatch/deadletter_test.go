package dispatch

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"waybill.dev/tasks"
)

// A dead letter has the headers that the sender gave its task, also those of a send middleware, and not those of the way.
func TestADeadTaskKeepsItsSendersHeaders(t *testing.T) {
	h := http.Header{}
	for name, value := range map[string]string{
		"ce-id": "1", "content-type": "application/json", "waybill-replay": "2", "x-tenant": "blue", "traceparent": "00-1",
		"x-cloudtasks-queuename": "q", "x-appengine-country": "ZZ", "x-google-whatever": "1", "x-goog-pubsub-message-id": "1", "x-forwarded-for": "10.0.0.1", "forwarded": "for=1",
		"x-cloud-trace-context": "1/2", "user-agent": "Google-Cloud-Tasks", "content-length": "7", "accept-encoding": "gzip", "via": "1.1 google", "x-serverless-authorization": "secret",
	} {
		h.Set(name, value)
	}
	h.Add("x-two", "a")
	h.Add("x-two", "b")
	want := map[string]string{"ce-id": "1", "content-type": "application/json", "waybill-replay": "2", "x-tenant": "blue", "traceparent": "00-1", "x-two": "a, b"}
	if diff := cmp.Diff(want, attributesOfTask(&tasks.Delivery{Header: h})); diff != "" {
		t.Errorf("the attributes (-want +got):\n%s", diff)
	}
}

// What a replay goes by is what the receiver saw, and not what a sender calls so.
func TestADeadLettersOwnAttributesCannotBeForged(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	letter := deadLetter{
		attributes: map[string]string{
			"ce-id": "1", "waybill-replay": "1", "waybill-dead-caller": "billing@p", "waybill-dead-url": "https://evil.example", "waybill-dead-route": "charge", "waybill-dead-ordering-key": "x",
		},
		attempt: 8, cause: errors.New("no"), route: "index-user", received: at, published: at.Add(-time.Hour),
	}
	want := map[string]string{
		"ce-id": "1", "waybill-replay": "1", "waybill-dead-route": "index-user", "waybill-dead-cause": "no", "waybill-dead-attempts": "8",
		"waybill-dead-time": "2026-01-02T03:04:06.000000006Z", "waybill-dead-received": "2026-01-02T03:04:05.000000006Z", "waybill-dead-published": "2026-01-02T02:04:05.000000006Z",
	}
	if diff := cmp.Diff(want, letter.marked(at.Add(time.Second))); diff != "" {
		t.Errorf("the attributes (-want +got):\n%s", diff)
	}
}
