package httpserve_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"waybill.dev/internal/httpserve"
	"waybill.dev/internal/outcome"
)

func userCode(depth int) {
	if depth > 0 {
		userCode(depth - 1)
		return
	}
	var none []int
	_ = none[depth] // a panic of the runtime's, which has frames of its own
}

func TestTheStackIsTheUsersFrames(t *testing.T) {
	var got error
	// The machinery below the user's code: a server, and this package.
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = httpserve.Run(r.Context(), 0, func(context.Context) error {
			http.HandlerFunc(func(http.ResponseWriter, *http.Request) { userCode(1) }).ServeHTTP(w, r)
			return nil
		})
	}))
	resp, err := s.Client().Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	s.Close()
	p, ok := errors.AsType[*outcome.Panic](got)
	if !ok {
		t.Fatal(got)
	}
	frames := strings.Split(p.Stack, " < ")
	if len(frames) != 4 || !strings.HasPrefix(frames[0], "httpserve_test.userCode httpserve/stack_test.go:") || !strings.Contains(frames[3], "TestTheStackIsTheUsersFrames") {
		t.Errorf("the stack is %q", frames)
	}
}

func TestADeepStackIsCut(t *testing.T) {
	err := httpserve.Run(t.Context(), 0, func(context.Context) error { userCode(1000); return nil })
	p, ok := errors.AsType[*outcome.Panic](err)
	if !ok || strings.Count(p.Stack, " < ") != 15 || strings.Contains(p.Stack, "\n") {
		t.Errorf("%+v", p)
	}
}
