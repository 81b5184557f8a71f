package sync_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	wsync "waybill.dev/sync"
)

func answer(status int, contentType, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {contentType}}, Body: io.NopCloser(strings.NewReader(body))}
}

func TestForeignAnswersBecomeErrors(t *testing.T) {
	for _, test := range []struct {
		name string
		resp *http.Response
		code wsync.Code
		says string
	}{
		{"a proxy's page", answer(502, "text/html", "<html>\n<b>Bad\x1b[31m gateway</b>"), wsync.Unavailable, "<html> <b>Bad [31m gateway</b>"},
		{"JSON of another kind", answer(404, "application/json", `{"error":"x"}`), wsync.NotFound, "404"},
		{"broken JSON", answer(409, "application/json; charset=utf-8", `{`), wsync.Aborted, "409"},
		{"no body", answer(429, "", ""), wsync.ResourceExhausted, "Too Many Requests"},
		{"an unknown status", answer(418, "", ""), wsync.Unknown, "418"},
		{"a long page", answer(500, "text/plain", strings.Repeat("x", 100_000)), wsync.Internal, "xxx"},
		{"not modified", answer(304, "", ""), wsync.Unknown, "304"},
	} {
		e, ok := errors.AsType[*wsync.Error](wsync.ReadError(test.resp))
		if !ok || e.Code != test.code || !strings.Contains(e.Error(), test.says) || len(e.Error()) > 700 {
			t.Errorf("%s: %.200v", test.name, e)
		}
	}
}

func TestStatusAndCodeAgree(t *testing.T) {
	// A code that travels as a bare status comes back as one that callers treat alike.
	for _, code := range []wsync.Code{
		wsync.Canceled, wsync.InvalidArgument, wsync.DeadlineExceeded, wsync.NotFound, wsync.PermissionDenied,
		wsync.ResourceExhausted, wsync.Aborted, wsync.Unimplemented, wsync.Internal, wsync.Unavailable, wsync.Unauthenticated,
	} {
		if err := wsync.ReadError(answer(code.Status(), "", "")); !isCode(err, code) {
			t.Errorf("%s is %d, which reads as %v", code, code.Status(), err)
		}
	}
	for code, status := range map[wsync.Code]int{
		wsync.AlreadyExists: 409, wsync.FailedPrecondition: 400, wsync.OutOfRange: 400, wsync.DataLoss: 500, wsync.Unknown: 500, "made_up": 500,
	} {
		if code.Status() != status {
			t.Errorf("%s is %d", code, code.Status())
		}
	}
}

func TestErrorsIs(t *testing.T) {
	err := wsync.Errorf(wsync.NotFound, "reading: %w", io.ErrUnexpectedEOF)
	if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, &wsync.Error{Code: wsync.NotFound}) || errors.Is(err, &wsync.Error{Code: wsync.Internal}) {
		t.Error("Is is wrong")
	}
	if got := err.Error(); got != "sync: not_found: reading: unexpected EOF" {
		t.Error(got)
	}
}

// TestTheReceiversLogIsNamed: only where there is more in it than the caller was told.
func TestTheReceiversLogIsNamed(t *testing.T) {
	for body, want := range map[string]string{
		`{"code":"internal","id":"01a2"}`:                              "sync: internal: the receiver failed; its log says why under message_id 01a2",
		`{"code":"failed_precondition","id":"01a2","permanent":true}`:  "sync: failed_precondition: the receiver failed; its log says why under message_id 01a2",
		`{"code":"internal","message":"the disk is full","id":"01a2"}`: "sync: internal: the disk is full (id 01a2)",
		`{"code":"not_found","id":"01a2"}`:                             "sync: not_found (id 01a2)",
		`{"code":"internal"}`:                                          "sync: internal",
	} {
		if got := wsync.ReadError(answer(500, "application/json", body)); got.Error() != want {
			t.Errorf("%s reads %q", body, got)
		}
	}
	if err := wsync.ReadError(answer(500, "application/json", `{"code":"internal","id":"01a2"}`)); !errors.Is(err, &wsync.Error{Code: wsync.Internal}) {
		t.Errorf("not of its code: %v", err)
	}
}

func FuzzReadError(f *testing.F) {
	f.Add(404, "application/json", []byte(`{"code":"not_found","message":"m","id":"1","permanent":true}`))
	f.Add(422, "application/json;", []byte(`{"code":1}`))
	f.Add(500, "a/b; c", []byte("\xff\x00"))
	f.Fuzz(func(t *testing.T, status int, contentType string, body []byte) {
		err := wsync.ReadError(answer(status, contentType, string(body)))
		if (err == nil) != (status < 300) {
			t.Errorf("status %d: %v", status, err)
		}
		if e, ok := errors.AsType[*wsync.Error](err); err != nil && (!ok || e.Code == "") {
			t.Errorf("status %d: %#v", status, err)
		}
	})
}
