package rest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/proto"
)

// BenchmarkPublish is one message of 1 KB, without a socket.
func BenchmarkPublish(b *testing.B) {
	h, recorded := newRecorded(Config{})
	reply := &pubsubpb.PublishResponse{MessageIds: []string{"12345678901234567"}}
	recorded.answer = func(proto.Message) (proto.Message, error) { return reply, nil }
	body := `{"messages": [{"data": "` + strings.Repeat("QUJD", 341) + `"}]}`
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		request := httptest.NewRequest(http.MethodPost, "/v1/projects/p/topics/t:publish?$alt=json;enum-encoding=int", strings.NewReader(body))
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, request)
		if answer.Code != http.StatusOK {
			b.Fatal(answer.Body)
		}
	}
}

func BenchmarkRoute(b *testing.B) {
	h, _ := newRecorded(Config{})
	b.ReportAllocs()
	for b.Loop() {
		if h.router.find(http.MethodPost, "/v2/projects/p/locations/l/queues/q/tasks/t:run").route == nil {
			b.Fatal("no route")
		}
	}
}
