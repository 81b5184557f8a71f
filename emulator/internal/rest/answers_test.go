package rest

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func TestAnswer(t *testing.T) {
	h, recorded := newRecorded(Config{})
	recorded.answer = func(proto.Message) (proto.Message, error) {
		return &cloudtaskspb.Task{
			Name:             queue + "/tasks/t",
			ScheduleTime:     timestamppb.New(time.Date(2027, 1, 2, 3, 4, 5, 6000, time.UTC)),
			DispatchDeadline: durationpb.New(1500 * time.Millisecond),
			View:             cloudtaskspb.Task_FULL,
			MessageType:      &cloudtaskspb.Task_HttpRequest{HttpRequest: &cloudtaskspb.HttpRequest{Url: "http://a/?b&c", HttpMethod: cloudtaskspb.HttpMethod_POST, Body: []byte("hi")}},
		}, nil
	}
	const spaced = `{
  "name": "projects/p/locations/us-central1/queues/q/tasks/t",
  "httpRequest": {
    "url": "http://a/?b&c",
    "httpMethod": "POST",
    "body": "aGk="
  },
  "scheduleTime": "2027-01-02T03:04:05.000006Z",
  "dispatchDeadline": "1.500s",
  "view": "FULL"
}
`
	numbers := strings.NewReplacer(`"POST"`, "1", `"FULL"`, "2").Replace(spaced)
	compact := strings.NewReplacer("\n", "", "  ", "", `": `, `":`).Replace(spaced) + "\n"
	for query, want := range map[string]string{
		"":                                   spaced,
		"?alt=json":                          spaced,
		"?$alt=json;enum-encoding=int":       numbers,
		"?%24alt=json%3Benum-encoding%3Dint": numbers,
		"?prettyPrint=false":                 compact,
	} {
		answer := do(h, "GET", "/v2/"+queue+"/tasks/t"+query, "")
		if diff := cmp.Diff(want, bodyOf(t, answer)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", query, diff)
		}
		if got := answer.Header().Get("Content-Type"); got != "application/json; charset=UTF-8" {
			t.Errorf("Content-Type = %q", got)
		}
	}
}

func TestEmptyAnswer(t *testing.T) {
	h, _ := newRecorded(Config{})
	if got := bodyOf(t, do(h, "POST", "/v1/projects/p/subscriptions/s:pull", `{"maxMessages": 1}`)); got != "{}\n" {
		t.Errorf("body = %q", got)
	}
}

func TestErrorAnswer(t *testing.T) {
	h, recorded := newRecorded(Config{})
	recorded.answer = func(proto.Message) (proto.Message, error) {
		s, err := status.New(codes.FailedPrecondition, `no "<such>" thing`).WithDetails(&errdetails.ErrorInfo{Reason: "R", Domain: "d"})
		if err != nil {
			t.Error(err)
		}
		return nil, s.Err()
	}
	answer := do(h, "GET", "/v2/"+queue, "")
	const want = `{
  "error": {
    "code": 400,
    "message": "no \"\u003csuch\u003e\" thing",
    "status": "FAILED_PRECONDITION",
    "details": [
      {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "R",
        "domain": "d"
      }
    ]
  }
}
`
	if diff := cmp.Diff(want, bodyOf(t, answer)); diff != "" || answer.Code != http.StatusBadRequest {
		t.Errorf("status %d, body (-want +got):\n%s", answer.Code, diff)
	}
}

func TestErrorStatuses(t *testing.T) {
	h, recorded := newRecorded(Config{})
	for _, tt := range []struct {
		err    error
		code   int
		status string
	}{
		{status.Error(codes.Canceled, "m"), 499, "CANCELLED"},
		{status.Error(codes.Unknown, "m"), 500, "UNKNOWN"},
		{status.Error(codes.InvalidArgument, "m"), 400, "INVALID_ARGUMENT"},
		{status.Error(codes.DeadlineExceeded, "m"), 504, "DEADLINE_EXCEEDED"},
		{status.Error(codes.NotFound, "m"), 404, "NOT_FOUND"},
		{status.Error(codes.AlreadyExists, "m"), 409, "ALREADY_EXISTS"},
		{status.Error(codes.PermissionDenied, "m"), 403, "PERMISSION_DENIED"},
		{status.Error(codes.ResourceExhausted, "m"), 429, "RESOURCE_EXHAUSTED"},
		{status.Error(codes.FailedPrecondition, "m"), 400, "FAILED_PRECONDITION"},
		{status.Error(codes.Aborted, "m"), 409, "ABORTED"},
		{status.Error(codes.OutOfRange, "m"), 400, "OUT_OF_RANGE"},
		{status.Error(codes.Unimplemented, "m"), 501, "UNIMPLEMENTED"},
		{status.Error(codes.Internal, "m"), 500, "INTERNAL"},
		{status.Error(codes.Unavailable, "m"), 503, "UNAVAILABLE"},
		{status.Error(codes.DataLoss, "m"), 500, "DATA_LOSS"},
		{status.Error(codes.Unauthenticated, "m"), 401, "UNAUTHENTICATED"},
		{context.DeadlineExceeded, 504, "DEADLINE_EXCEEDED"},
		{context.Canceled, 499, "CANCELLED"},
		{errors.New("m"), 500, "UNKNOWN"},
	} {
		recorded.answer = func(proto.Message) (proto.Message, error) { return nil, tt.err }
		answer := do(h, "GET", "/v2/"+queue+"?prettyPrint=false", "")
		if answer.Code != tt.code || !strings.Contains(bodyOf(t, answer), `"status":"`+tt.status+`"`) {
			t.Errorf("%v: status %d, %s", tt.err, answer.Code, answer.Body)
		}
		if got := answer.Header().Get("WWW-Authenticate"); (got != "") != (tt.code == http.StatusUnauthorized) {
			t.Errorf("%v: WWW-Authenticate = %q", tt.err, got)
		}
	}
}

// The sentences are those recorded from the real services.
func TestRefusals(t *testing.T) {
	const payload = "Invalid JSON payload received. "
	for _, tt := range []struct{ name, verb, target, body, message string }{
		{"unknown field", "POST", "/v1/" + topic + ":publish", `{"mesages": []}`, payload + `Unknown name "mesages": Cannot find field.`},
		{
			"unknown nested fields", "POST", "/v2/" + queue + "/tasks", `{"task": {"httpRequest": {"uri": 1, "verb": 2}}}`,
			payload + `Unknown name "uri" at 'task.http_request': Cannot find field.` + "\n" + payload + `Unknown name "verb" at 'task.http_request': Cannot find field.`,
		},
		{"unknown field in a list", "POST", "/v1/" + topic + ":publish", `{"messages": [{}, {"body": ""}]}`, payload + `Unknown name "body" at 'messages[1]': Cannot find field.`},
		{"wrong type", "POST", "/v1/projects/p/subscriptions/s:pull", `{"maxMessages": "ten"}`, `Invalid value at 'max_messages' (TYPE_INT32), "ten"`},
		{"wrong enum", "POST", "/v2/" + queue + "/tasks", `{"task": {"httpRequest": {"httpMethod": "FETCH"}}}`, `Invalid value at 'task.http_request.http_method' (type.googleapis.com/google.cloud.tasks.v2.HttpMethod), "FETCH"`},
		{"wrong time", "POST", "/v2/" + queue + "/tasks", `{"task": {"scheduleTime": "soon"}}`, `Invalid value at 'task.schedule_time' (type.googleapis.com/google.protobuf.Timestamp), "soon"`},
		{"a text for a message", "POST", "/v2/" + queue + "/tasks", `{"task": "t"}`, `Invalid value at 'task' (type.googleapis.com/google.cloud.tasks.v2.Task), "t"`},
		{"a list for a text", "POST", "/v2/" + queue + "/tasks", `{"task": {"name": ["t"]}}`, payload + `Unknown name "name" at 'task': Proto field is not repeating, cannot start list.`},
		{"bad base64, not shown", "POST", "/v1/" + topic + ":publish", `{"messages": [{"data": "secret!"}]}`, `Invalid value at 'messages[0].data' (TYPE_BYTES), Base64 decoding failed`},
		{"twice", "PUT", "/v1/" + topic, `{"kmsKeyName": "a", "kms_key_name": "b"}`, payload + `Unknown name "kms_key_name": The field is given twice.`},
		{"no object", "PUT", "/v1/" + topic, `[]`, payload + `Unknown name "": Root element must be a message.`},
		{"cut off", "PUT", "/v1/" + topic, `{"labels": {`, payload + `unexpected end of JSON input.`},
		{"not JSON", "PATCH", "/v1/" + topic, `topic=t`, payload + `invalid character 'o' in literal true (expecting 'r').`},
		{"unknown parameter", "GET", "/v2/" + queue + "/tasks?size=1", "", payload + `Unknown name "size": Cannot bind query parameter. Field 'size' could not be found in request message.`},
		{"unknown nested parameter", "GET", "/v2/" + queue + "/tasks?pageSize.x=1", "", payload + `Unknown name "pageSize.x": Cannot bind query parameter. Field 'pageSize.x' could not be found in request message.`},
		{"wrong parameter", "GET", "/v2/" + queue + "/tasks?pageSize=ten", "", `Invalid value at 'page_size' (TYPE_INT32), "ten"`},
		{"a parameter twice", "GET", "/v2/" + queue + "/tasks?pageSize=1&page_size=2", "", payload + `Unknown name "page_size": Proto field is not repeating, cannot start list.`},
		{"a message as parameter", "POST", "/v2/" + queue + "/tasks?task=t", "", payload + `Unknown name "task": Cannot bind query parameter. 'task' is a message type. Parameters can only be bound to primitive types.`},
		{"a map as parameter", "PUT", "/v1/" + topic + "?labels=t", "", payload + `Unknown name "labels": Cannot bind query parameter. 'labels' is a message type. Parameters can only be bound to primitive types.`},
		{"a bad escape", "GET", "/v2/" + queue + "/tasks?pageToken=%zz", "", `Invalid query string: invalid URL escape "%zz".`},
		{"a name that is no UTF-8", "GET", "/v1/projects/p/topics/%ff", "", `Invalid value at 'topic' (TYPE_STRING), "projects/p/topics/\ufffd"`},
		{"another format", "GET", "/v2/" + queue + "?alt=proto", "", `The response format "proto" is not supported: use alt=json.`},
		{"a body where none belongs", "GET", "/v2/" + queue, `{"name": "q"}`, `Invalid request: this method takes no body. Send its fields in the path and in the query string.`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, recorded := newRecorded(Config{})
			answer := do(h, tt.verb, tt.target, tt.body)
			if answer.Code != http.StatusBadRequest {
				t.Errorf("status %d, want 400", answer.Code)
			}
			if diff := cmp.Diff(tt.message, errorOf(t, answer).Message); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
			if recorded.method != "" {
				t.Errorf("the implementation was called: %s", recorded.method)
			}
		})
	}
}

func TestRefusalHasDetails(t *testing.T) {
	h, _ := newRecorded(Config{})
	answer := do(h, "POST", "/v2/"+queue+"/tasks", `{"task": {"httpRequest": {"uri": 1}}, "x": 1}`)
	const want = `{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[` +
		`{"field":"task.http_request","description":"Invalid JSON payload received. Unknown name \"uri\" at 'task.http_request': Cannot find field."},` +
		`{"description":"Invalid JSON payload received. Unknown name \"x\": Cannot find field."}]}`
	details := errorOf(t, answer).Details
	if len(details) != 1 {
		t.Fatalf("%d details", len(details))
	}
	var got bytes.Buffer
	if err := json.Compact(&got, details[0]); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("details (-want +got):\n%s", diff)
	}
}

func TestNoRoute(t *testing.T) {
	h, recorded := newRecorded(Config{})
	for _, tt := range []struct {
		verb, target string
		code         int
		allow        string
	}{
		{"GET", "/", 404, ""},
		{"GET", "/v1/projects", 404, ""},
		{"GET", "/v9/" + topic, 404, ""},
		{"POST", "/v1/projects/p/topics/", 404, ""},
		{"POST", "/v2/" + queue + "/tasks/:run", 404, ""},
		{"GET", "/v1/" + topic + ":publish", 405, "POST"},
		{"POST", "/v2/" + queue, 405, "DELETE, GET, PATCH"},
		{"OPTIONS", "/v1/" + topic, 405, "DELETE, GET, PATCH, PUT"},
	} {
		answer := do(h, tt.verb, tt.target, "")
		if answer.Code != tt.code || answer.Header().Get("Allow") != tt.allow {
			t.Errorf("%s %s: status %d, allow %q; want %d, %q", tt.verb, tt.target, answer.Code, answer.Header().Get("Allow"), tt.code, tt.allow)
		}
		if got := errorOf(t, answer); got.Code != tt.code || !strings.Contains(got.Message, tt.verb) {
			t.Errorf("%s %s: %+v", tt.verb, tt.target, got)
		}
	}
	if recorded.method != "" {
		t.Errorf("reached %s", recorded.method)
	}
}

func TestBodyLimit(t *testing.T) {
	const limit = 1000
	h, recorded := newRecorded(Config{MaxBody: limit})
	long := `{"messages": [{"data": "` + strings.Repeat("A", limit) + `"}]}`
	var compressed bytes.Buffer
	w := gzip.NewWriter(&compressed)
	if _, err := io.WriteString(w, long); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if compressed.Len() > limit {
		t.Fatal("the compressed body does not fit")
	}
	for name, answer := range map[string]*httptest.ResponseRecorder{
		"plain":      do(h, "POST", "/v1/"+topic+":publish", long),
		"compressed": do(h, "POST", "/v1/"+topic+":publish", compressed.String(), "Content-Encoding", "gzip"),
	} {
		if got := errorOf(t, answer); got.Code != 400 || got.Message != "Request payload size exceeds the limit: 1000 bytes." {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if recorded.method != "" {
		t.Error("the implementation was called")
	}
	fits := `{"messages": [{"data": "` + strings.Repeat("A", limit-28) + `"}]}`
	if answer := do(h, "POST", "/v1/"+topic+":publish", fits); len(fits) != limit || answer.Code != http.StatusOK {
		t.Errorf("%d bytes: status %d", len(fits), answer.Code)
	}
}

func TestBrokenBody(t *testing.T) {
	h, recorded := newRecorded(Config{})
	request := httptest.NewRequest("POST", "/v1/"+topic+":publish", iotest.ErrReader(io.ErrUnexpectedEOF))
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, request)
	for name, answer := range map[string]*httptest.ResponseRecorder{
		"cut off":        answer,
		"not gzip":       do(h, "POST", "/v1/"+topic+":publish", "{}", "Content-Encoding", "gzip"),
		"other encoding": do(h, "POST", "/v1/"+topic+":publish", "{}", "Content-Encoding", "br"),
	} {
		if got := errorOf(t, answer); got.Code != 400 || got.Status != "INVALID_ARGUMENT" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if recorded.method != "" {
		t.Error("the implementation was called")
	}
}

func TestPanicOfTheImplementation(t *testing.T) {
	var log bytes.Buffer
	h, recorded := newRecorded(Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	recorded.answer = func(proto.Message) (proto.Message, error) { panic("broken") }
	if got := errorOf(t, do(h, "GET", "/v2/"+queue, "")); got.Code != 500 || got.Status != "INTERNAL" {
		t.Errorf("answer %+v", got)
	}
	for _, want := range []string{"broken", "CloudTasks/GetQueue", "answers_test.go"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, &log)
		}
	}
	recorded.answer = nil
	if answer := do(h, "GET", "/v2/"+queue, ""); answer.Code != http.StatusOK {
		t.Errorf("afterwards: status %d", answer.Code)
	}
}

func TestRegisterRefuses(t *testing.T) {
	h, _ := newRecorded(Config{})
	unknown := pubsubpb.Publisher_ServiceDesc
	unknown.ServiceName = "example.Unknown"
	for name, desc := range map[string]*grpc.ServiceDesc{"twice": &pubsubpb.Publisher_ServiceDesc, "without a descriptor": &unknown} {
		if err := h.register(desc, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("RegisterService does not panic")
		}
	}()
	h.RegisterService(&unknown, nil)
}
