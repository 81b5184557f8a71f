package pubsub

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"golang.org/x/net/http/httpguts"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// FuzzPush builds pushes of any message: the wrapped body must be JSON that says what the message
// says, and the unwrapped request must be one that HTTP can carry.
func FuzzPush(f *testing.F) {
	f.Add([]byte("data"), "key", "value", "order", 3)
	f.Add([]byte{0xff, 0}, "a\"b", "<>&\u2028", "", 0)
	f.Add([]byte(nil), "Content-Length", "5", "\r\nX: y", 1)
	f.Add([]byte("x"), "authorization", "Bearer x", "a", 2)
	f.Add([]byte("x"), "x-goog-pubsub-message-id", "forged", "a", 2)
	f.Fuzz(func(t *testing.T, data []byte, key, value, ordering string, attempt int) {
		if !utf8.ValidString(key) || !utf8.ValidString(value) || !utf8.ValidString(ordering) {
			return // no gRPC or JSON request can hold these
		}
		attempt &= 0x7f
		m := &pubsubpb.PubsubMessage{
			Data: data, Attributes: map[string]string{key: value}, OrderingKey: ordering,
			MessageId: "12345678901234567", PublishTime: timestamppb.New(timestamppb.Now().AsTime()),
		}
		d := &push{delivery: delivery{msg: m, attempt: attempt}}

		_, body, err := request(d, subName, &pubsubpb.PushConfig{})
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			DeliveryAttempt int
			Message         struct {
				Attributes             map[string]string
				Data                   []byte
				MessageID, OrderingKey string
			}
			Subscription string
		}
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatalf("%v in %s", err, body)
		}
		if !bytes.Equal(got.Message.Data, data) || got.Message.Attributes[key] != value || got.Message.OrderingKey != ordering ||
			got.Message.MessageID != m.MessageId || got.Subscription != subName || got.DeliveryAttempt != attempt {
			t.Fatalf("%v became %s", m, body)
		}

		header, body, err := request(d, subName, &pubsubpb.PushConfig{Wrapper: &pubsubpb.PushConfig_NoWrapper_{NoWrapper: &pubsubpb.PushConfig_NoWrapper{WriteMetadata: true}}})
		if err != nil || !bytes.Equal(body, data) {
			t.Fatalf("%v, body %q", err, body)
		}
		for name, values := range header {
			for _, v := range values {
				if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(v) {
					t.Fatalf("header %q: %q", name, v)
				}
			}
		}
		for _, name := range []string{"Content-Length", "Transfer-Encoding", "Host", "Connection"} {
			if header.Get(name) != "" {
				t.Fatalf("the attribute %q sets %s", key, name)
			}
		}
		if header.Get("X-Goog-Pubsub-Message-Id") != m.MessageId {
			t.Fatalf("the attribute %q forges the message's id", key)
		}
		if err := header.Write(&bytes.Buffer{}); err != nil {
			t.Fatal(err)
		}
	})
}
