package pubsub

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"waybill.dev/emulator/internal/rest"
)

// TestREST walks through the four services over HTTP, as curl would.
func TestREST(t *testing.T) {
	s := newService(t, Config{})
	handler := rest.New(rest.Config{})
	s.Register(handler)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	data := base64.StdEncoding.EncodeToString([]byte(`{"n":1}`))
	definition, err := json.Marshal(record())
	if err != nil {
		t.Fatal(err)
	}
	const avro = `{"type":"AVRO","definition":`
	for _, call := range []struct {
		method, path, body string
		code               int
		want               string // a part of the answer
	}{
		{"POST", "schemas?schemaId=order", avro + string(definition) + `}`, 200, `"revisionId"`},
		{"POST", "schemas?schemaId=order", avro + string(definition) + `}`, 409, "Resource already exists in the project (resource=order)."},
		{"GET", "schemas/order?view=BASIC", "", 200, `"name": "projects/p/schemas/order"`},
		{"GET", "schemas?view=FULL", "", 200, `"definition"`},
		{"POST", "schemas/order:commit", `{"schema":` + avro + string(definition) + `}}`, 200, `"revisionId"`},
		{"GET", "schemas/order:listRevisions", "", 200, `"schemas"`},
		{"POST", "schemas/order:rollback", `{"revisionId":"12345678"}`, 404, "order@12345678"},
		{"DELETE", "schemas/order@12345678:deleteRevision", "", 404, "order@12345678"},
		{"POST", "schemas:validate", `{"schema":` + avro + `"{"}}`, 400, "Could not parse schema definition"},
		{"POST", "schemas:validateMessage", `{"name":"projects/p/schemas/order","message":"` + data + `","encoding":"JSON"}`, 200, "{}"},
		{"PUT", "topics/orders", `{"schemaSettings":{"schema":"projects/p/schemas/order","encoding":"JSON"},"labels":{"a":"b"},"messageRetentionDuration":"3600s"}`, 200, `"state": "ACTIVE"`},
		{"PATCH", "topics/orders", `{"topic":{"labels":{"c":"d"}},"updateMask":"labels"}`, 200, `"c": "d"`},
		{"GET", "topics", "", 200, `"projects/p/topics/orders"`},
		{"PUT", "subscriptions/mailer", `{"topic":"projects/p/topics/orders","enableMessageOrdering":true,"retryPolicy":{"minimumBackoff":"1s"}}`, 200, `"maximumBackoff": "600s"`},
		{"PATCH", "subscriptions/mailer", `{"subscription":{"ackDeadlineSeconds":20},"updateMask":"ackDeadlineSeconds"}`, 200, `"ackDeadlineSeconds": 20`},
		{"GET", "subscriptions/mailer", "", 200, `"topicMessageRetentionDuration": "3600s"`},
		{"GET", "subscriptions", "", 200, `"projects/p/subscriptions/mailer"`},
		{"GET", "topics/orders/subscriptions", "", 200, `"projects/p/subscriptions/mailer"`},
		{"POST", "topics/orders:publish", `{"messages":[{"data":"` + data + `"}]}`, 200, `"messageIds"`},
		{"POST", "topics/orders:publish", `{"messages":[{"data":"AAAA"}]}`, 400, "INVALID_JSON_AVRO_MESSAGE"},
		{"PUT", "snapshots/before", `{"subscription":"projects/p/subscriptions/mailer","labels":{"a":"b"}}`, 200, `"expireTime"`},
		{"PATCH", "snapshots/before", `{"snapshot":{"labels":{"c":"d"}},"updateMask":"labels"}`, 200, `"c": "d"`},
		{"GET", "snapshots/before", "", 200, `"topic": "projects/p/topics/orders"`},
		{"GET", "snapshots", "", 200, `"projects/p/snapshots/before"`},
		{"GET", "topics/orders/snapshots", "", 200, `"projects/p/snapshots/before"`},
		{"POST", "subscriptions/mailer:pull", `{"maxMessages":1}`, 200, `"googclient_schemaencoding": "JSON"`},
		{"POST", "subscriptions/mailer:acknowledge", `{"ackIds":["x"]}`, 400, "You have passed an invalid ack ID to the service (ack_id=x)."},
		{"POST", "subscriptions/mailer:modifyAckDeadline", `{"ackIds":["x"],"ackDeadlineSeconds":601}`, 400, "Invalid ack deadline given (ack_deadline=601)."},
		{"POST", "subscriptions/mailer:seek", `{"snapshot":"projects/p/snapshots/before"}`, 200, "{}"},
		{"POST", "subscriptions/mailer:seek", `{"time":"2020-01-01T00:00:00Z"}`, 200, "{}"},
		{"POST", "subscriptions/mailer:modifyPushConfig", `{"pushConfig":{}}`, 200, "{}"},
		{"GET", "topics/orders:getIamPolicy", "", 200, `"etag"`},
		{"POST", "subscriptions/mailer:setIamPolicy", `{"policy":{"bindings":[{"role":"roles/pubsub.viewer","members":["allUsers"]}]}}`, 200, `"roles/pubsub.viewer"`},
		{"POST", "snapshots/before:testIamPermissions", `{"permissions":["pubsub.snapshots.seek"]}`, 200, `"pubsub.snapshots.seek"`},
		{"GET", "schemas/order:getIamPolicy", "", 200, `"etag"`},
		{"POST", "subscriptions/mailer:detach", "", 200, "{}"},
		{"DELETE", "snapshots/before", "", 200, "{}"},
		{"DELETE", "subscriptions/mailer", "", 200, "{}"},
		{"DELETE", "topics/orders", "", 200, "{}"},
		{"DELETE", "schemas/order", "", 200, "{}"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), call.method, server.URL+"/v1/projects/p/"+call.path, strings.NewReader(call.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != call.code || !strings.Contains(string(answer), call.want) {
			t.Errorf("%s %s: %d %s (%v)\nwant %d and %s", call.method, call.path, resp.StatusCode, answer, err, call.code, call.want)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}
