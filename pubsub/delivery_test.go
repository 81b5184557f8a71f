package pubsub

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

func FuzzParseWrapped(f *testing.F) {
	for _, seed := range []string{
		`{"message":{"attributes":{"a":"b"},"data":"eyJpZCI6NDJ9","messageId":"1","message_id":"1","orderingKey":"k","publishTime":"2026-01-02T03:04:05.678Z"},"subscription":"projects/p/subscriptions/s","deliveryAttempt":2}`,
		`{"message":{"data":""},"subscription":"s"}`,
		`{"message":{"data":"eA"},"subscription":"s"}`,
		`{"message":null,"subscription":"s"}`,
		`{"message":{"publishTime":"yesterday"},"subscription":"s","deliveryAttempt":-1}`,
		`{"message":{"data":1e999}}`,
		"null", "[]", "", "{", `"`, "\xff",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := parseWrapped(body)
		if err != nil {
			if d != nil {
				t.Error("a delivery beside an error")
			}
			return
		}
		if d.Subscription == "" || d.Attempt < 0 {
			t.Errorf("%+v", d)
		}
	})
}

// FuzzRoundTrip: what a push says is what the handler gets.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte(`{"id":42}`), "ce-id", "0196", "key")
	f.Add([]byte{0, 0xff}, `"`, "\\u0000", "é\n")
	f.Fuzz(func(t *testing.T, data []byte, key, value, ordering string) {
		key, value, ordering = strings.ToValidUTF8(key, "?"), strings.ToValidUTF8(value, "?"), strings.ToValidUTF8(ordering, "?")
		body, err := json.Marshal(map[string]any{
			"message": map[string]any{
				"data": base64.StdEncoding.EncodeToString(data), "attributes": map[string]string{key: value}, "orderingKey": ordering, "messageId": "1",
			},
			"subscription": "s",
		})
		if err != nil {
			t.Fatal(err)
		}
		d, err := parseWrapped(body)
		if err != nil {
			t.Fatal(err)
		}
		if string(d.Data) != string(data) || d.Attributes[key] != value || d.OrderingKey != ordering {
			t.Errorf("%+v from %s", d, body)
		}
	})
}

func FuzzParseUnwrapped(f *testing.F) {
	f.Add("2", "2026-01-02T03:04:05Z", "Ce-Id", "1")
	f.Add("-2", "", "Authorization", "Bearer secret")
	f.Add("99999999999", "x", "X-Goog-Pubsub-Other", "")
	f.Fuzz(func(t *testing.T, attempt, published, name, value string) {
		name = http.CanonicalHeaderKey(name)
		h := http.Header{headerAttempt: {attempt}, headerPublishTime: {published}, name: {value}}
		d := parseUnwrapped(h, nil)
		if d.Attempt < 0 {
			t.Errorf("attempt %d", d.Attempt)
		}
		if _, ok := d.Attributes["authorization"]; ok {
			t.Error("the token is an attribute")
		}
	})
}
