package httpserve_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"waybill.dev/internal/httpserve"
	"waybill.dev/internal/outcome"
)

func TestReadBody(t *testing.T) {
	for _, test := range []struct {
		name   string
		body   io.Reader
		length int64
		want   string
		status int // 200: read
	}{
		{"declared", strings.NewReader("12345"), 5, "12345", 200},
		{"declared, at the limit", strings.NewReader("1234567890"), 10, "1234567890", 200},
		{"declared, above it", strings.NewReader("12345678901"), 11, "", 413},
		{"declared, but shorter", strings.NewReader("123"), 5, "", 400},
		{"declared empty", strings.NewReader(""), 0, "", 200},
		{"byte by byte", iotest.OneByteReader(strings.NewReader("12345")), 5, "12345", 200},
		{"undeclared", strings.NewReader("12345"), -1, "12345", 200},
		{"undeclared, at the limit", strings.NewReader("1234567890"), -1, "1234567890", 200},
		{"undeclared, above it", strings.NewReader("12345678901"), -1, "", 413},
		{"undeclared, broken", io.MultiReader(strings.NewReader("123"), iotest.ErrReader(io.ErrUnexpectedEOF)), -1, "", 400},
	} {
		r := httptest.NewRequest(http.MethodPost, "/", test.body)
		r.ContentLength = test.length
		w := httptest.NewRecorder()
		body, refusal := httpserve.ReadBody(w, r, 10)
		status := http.StatusOK
		if refusal != nil {
			status = refusal.Status
		}
		if string(body) != test.want || status != test.status {
			t.Errorf("%s: %q, %d", test.name, body, status)
		}
	}
}

func TestSetRetryAfter(t *testing.T) {
	for delay, want := range map[time.Duration]string{
		0: "1", -time.Hour: "1", time.Millisecond: "1", time.Second: "1", 1001 * time.Millisecond: "2", time.Hour: "3600",
	} {
		h := http.Header{}
		httpserve.SetRetryAfter(h, delay)
		if got := h.Get("Retry-After"); got != want {
			t.Errorf("%v is %q, want %q", delay, got, want)
		}
	}
}

func TestHeaderLeavesOutCredentials(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/", http.NoBody)
	r.Header = http.Header{"Authorization": {"a"}, "X-Serverless-Authorization": {"b"}, "Cookie": {"c"}, "Ce-Id": {"1"}}
	if diff := cmp.Diff(http.Header{"Ce-Id": {"1"}}, httpserve.Header(r)); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
	if r.Header.Get("Authorization") != "a" {
		t.Error("the request was changed")
	}
}

func TestRecover(t *testing.T) {
	run := func(f func() error) (err error) {
		defer httpserve.Recover(&err)
		return f()
	}
	if err := run(func() error { return io.EOF }); !errors.Is(err, io.EOF) {
		t.Errorf("without a panic: %v", err)
	}
	p, ok := errors.AsType[*outcome.Panic](run(func() error { panic(io.EOF) }))
	if !ok || !errors.Is(p, io.EOF) || !strings.Contains(p.Stack, "TestRecover") {
		t.Errorf("%v", p)
	}
	for _, abort := range []error{http.ErrAbortHandler, fmt.Errorf("gone: %w", http.ErrAbortHandler)} {
		func() {
			defer func() {
				if got := recover(); got != abort { //nolint:errorlint // the very value must go on
					t.Errorf("recovered %v", got)
				}
			}()
			_ = run(func() error { panic(abort) })
		}()
	}
}
