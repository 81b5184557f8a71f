package rest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
)

// FuzzRequest sends any method, path, query and body. Whatever they are, the answer is JSON,
// nothing panics, and what reaches an implementation can be marshalled.
func FuzzRequest(f *testing.F) {
	for _, seed := range [][4]string{
		{"POST", "/v1/projects/p/topics/t:publish", "alt=json", `{"messages": [{"data": "aGk=", "attributes": {"a": "b"}}]}`},
		{"PATCH", "/v1/projects/p/subscriptions/s", "", `{"subscription": {"retryPolicy": {"minimumBackoff": "1.5s"}}, "updateMask": "retry_policy,pushConfig.oidcToken"}`},
		{"PATCH", "/v2/projects/p/locations/l/queues/q", "updateMask=rateLimits,labels.`A-b`&$alt=json;enum-encoding=int", `{"rateLimits": {"maxDispatchesPerSecond": 1e400}}`},
		{"POST", "/v2/projects/p/locations/l/queues/q/tasks", "responseView=2", `{"task": {"httpRequest": {"httpMethod": 9, "headers": {"a": 1}}, "scheduleTime": "9999-12-31T23:59:59.9999999999Z"}}`},
		{"POST", "/v2/projects/p/locations/l/queues/q/tasks:batchCreate", "", `{"requests": [{"task": {"name": null}}, [], 7]}`},
		{"GET", "/v2/projects/p/locations/l/queues/q/tasks", "pageSize=99999999999&pageSize=-1&x=%ff", ""},
		{"GET", "/v1/projects/p/topics/%ff%2F%25:getIamPolicy", "options.requestedPolicyVersion=", ""},
		{"DELETE", "/v1/projects//topics/", "task.http_request.body=_-8=&task.dispatchDeadline=-1s", "{}"},
		{"PUT", "/v1/projects/p/topics/t", "", strings.Repeat(`{"labels":`, 100)},
		{"PUT", "/v1/projects/p/topics/t", "", `{"labels": {"a": "b", "a": "c"}, "labels": [], "é": "\ud800"}`},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	h, recorded := newRecorded(Config{MaxBody: 1 << 16})
	f.Fuzz(func(t *testing.T, method, path, query, body string) {
		target, err := url.Parse(path)
		if err != nil || target.Scheme != "" || target.Host != "" {
			return // net/http would not have let it in
		}
		request := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		request.Method, request.URL.Path, request.URL.RawPath, request.URL.RawQuery = method, target.Path, target.RawPath, query
		recorded.method, recorded.request = "", nil
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, request)

		if !json.Valid(answer.Body.Bytes()) {
			t.Errorf("the answer is not JSON: %q", answer.Body)
		}
		if answer.Code == http.StatusInternalServerError {
			t.Errorf("status 500: %s", answer.Body)
		}
		if reached := recorded.method != ""; reached != (answer.Code == http.StatusOK) {
			t.Errorf("status %d, reached %q", answer.Code, recorded.method)
		}
		if recorded.request != nil {
			if _, err := proto.Marshal(recorded.request); err != nil {
				t.Errorf("the request cannot be marshalled: %v", err)
			}
		}
	})
}
