package cloudtasks

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"

	"waybill.dev/emulator/internal/rest"
)

// overREST serves the engine as the emulator does.
func (b *bench) overREST() http.Handler {
	h := rest.New(rest.Config{})
	b.Register(h)
	b.RegisterREST(h)
	return h
}

type restError struct {
	Error struct {
		Code    int               `json:"code"`
		Message string            `json:"message"`
		Status  string            `json:"status"`
		Details []json.RawMessage `json:"details"`
	} `json:"error"`
}

func post(t *testing.T, h http.Handler, path, contentType string, body []byte) (*httptest.ResponseRecorder, *cloudtaskspb.Task, restError) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var failed restError
	var answer struct {
		Task json.RawMessage `json:"task"`
	}
	task := &cloudtaskspb.Task{}
	if err := json.Unmarshal(w.Body.Bytes(), &failed); err != nil {
		t.Errorf("%s: %v", w.Body, err)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Errorf("%s: %v", w.Body, err)
	}
	if answer.Task != nil {
		if err := protojson.Unmarshal(answer.Task, task); err != nil {
			t.Errorf("%s: %v", answer.Task, err)
		}
	}
	return w, task, failed
}

func TestBufferTask(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		target := &cloudtaskspb.HttpTarget{
			UriOverride: override(func(o *cloudtaskspb.UriOverride) {
				o.Scheme, o.Host, o.Port = cloudtaskspb.UriOverride_HTTP.Enum(), new("mailer.test"), new(int64(8101))
				o.PathOverride = &cloudtaskspb.PathOverride{Path: "/send"}
				o.QueryOverride = &cloudtaskspb.QueryOverride{QueryParams: "a=1"}
			}),
			HttpMethod: cloudtaskspb.HttpMethod_PUT,
		}
		_, err := b.CreateQueue(b.ctx, &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{Name: queueA, HttpTarget: target}})
		b.must(err)
		h := b.overREST()
		raw := []byte("not JSON\x00\xff")

		w, named, _ := post(t, h, "/v2/"+queueA+"/tasks/mine:buffer", "application/octet-stream", raw)
		if w.Code != http.StatusOK || named.GetName() != queueA+"/tasks/mine" || named.GetHttpRequest().GetUrl() != "http://mailer.test:8101/send?a=1" || named.GetView() != cloudtaskspb.Task_BASIC {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		b.after(0)
		for _, path := range []string{"/tasks:buffer", "/tasks/:buffer?alt=json"} { // the second is gcloud's
			w, task, _ := post(t, h, "/v2/"+queueA+path, "application/x-www-form-urlencoded", []byte(`{"a":1}`))
			if w.Code != http.StatusOK || !strings.HasPrefix(task.GetName(), queueA+"/tasks/") {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
			b.after(0)
		}
		w, _, _ = post(t, h, "/v2/"+queueA+"/tasks:buffer", "", nil)
		if w.Code != http.StatusOK {
			t.Errorf("without a body: %d %s", w.Code, w.Body)
		}
		b.after(0)
		var got []string
		for _, d := range b.got() {
			got = append(got, d.method+" "+d.url+" "+d.header.Get("Content-Type")+" "+d.body)
		}
		const to = "PUT http://mailer.test:8101/send?a=1 "
		if diff := cmp.Diff([]string{to + "application/json " + string(raw), to + `application/json {"a":1}`, to + `application/json {"a":1}`, to + " "}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestBufferTaskErrors(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(nil, nil)
		h := b.overREST()
		check := func(path string, body []byte, code int, status, message string) {
			t.Helper()
			w, _, failed := post(t, h, path, "", body)
			if w.Code != code || failed.Error.Code != code || failed.Error.Status != status || !strings.HasPrefix(failed.Error.Message, message) {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
		}
		check("/v2/"+queueA+"/tasks:buffer", nil, 400, "FAILED_PRECONDITION", "The queue has no HTTP target for buffered tasks")
		check("/v2/"+location+"/queues/b/tasks:buffer", nil, 404, "NOT_FOUND", "Queue does not exist.")
		check("/v2/"+location+"/queues/b_/tasks:buffer", nil, 400, "INVALID_ARGUMENT", "Queue ID")
		b.Reset()
		_, err := b.CreateQueue(b.ctx, &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{
			Name: queueA, HttpTarget: &cloudtaskspb.HttpTarget{UriOverride: override(func(o *cloudtaskspb.UriOverride) { o.Host = new("a.test") })},
		}})
		b.must(err)
		check("/v2/"+queueA+"/tasks/a%20b:buffer", nil, 400, "INVALID_ARGUMENT", `Task ID "a b"`)
		check("/v2/"+queueA+"/tasks/%ff:buffer", nil, 400, "INVALID_ARGUMENT", "Task ID")
		check("/v2/"+queueA+"/tasks:buffer", make([]byte, 1<<20), 400, "INVALID_ARGUMENT", "Task size too large")
		check("/v2/"+queueA+"/tasks:buffer?x=1", nil, 400, "INVALID_ARGUMENT", "Invalid JSON payload received. Unknown name \"x\"")

		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v2/"+queueA+"/tasks:buffer", nil))
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "POST" {
			t.Errorf("GET: %d, Allow %q", w.Code, w.Header().Get("Allow"))
		}

		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		_, err = z.Write([]byte("packed"))
		b.must(err)
		b.must(z.Close())
		r := httptest.NewRequest(http.MethodPost, "/v2/"+queueA+"/tasks:buffer", &packed)
		r.Header.Set("Content-Encoding", "gzip")
		h.ServeHTTP(httptest.NewRecorder(), r)
		b.after(0)
		if got := b.got(); len(got) != 1 || got[0].body != "packed" || got[0].url != "https://a.test" {
			t.Errorf("gzip: %+v", got)
		}
	})
}

// Errors over REST have the same details as over gRPC.
func TestDetailsOverREST(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(nil, nil)
		h := b.overREST()
		_, _, failed := post(t, h, "/v2/"+queueA+"/tasks", "application/json", []byte(`{"task":{"httpRequest":{"url":"http://a.test","httpMethod":"GET","body":"aGk="}}}`))
		want := `{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"task.http_request.body","description":"HttpRequest.body is allowed with POST, PUT and PATCH only."}]}`
		if len(failed.Error.Details) != 1 || compact(t, failed.Error.Details[0]) != want {
			t.Errorf("%s", failed.Error.Details)
		}
		_, _, failed = post(t, h, "/v2/"+location+"/queues", "application/json", []byte(`{"name":"not-a-valid-queue-name"}`))
		want = `{"@type":"type.googleapis.com/google.rpc.Help","links":[{"description":"Definition of queue name","url":"https://cloud.google.com/tasks/docs/reference/rest/v2/projects.locations.queues#Queue.FIELDS.name"}]}`
		if len(failed.Error.Details) != 1 || compact(t, failed.Error.Details[0]) != want {
			t.Errorf("%s", failed.Error.Details)
		}
	})
}

func compact(t *testing.T, raw []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		t.Error(err)
	}
	return b.String()
}
