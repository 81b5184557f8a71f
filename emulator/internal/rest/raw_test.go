package rest

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const buffer = "/google.cloud.tasks.v2.CloudTasks/BufferTask"

// newRaw serves one raw method that keeps what it was called with.
func newRaw(config Config, answer func() (proto.Message, error)) (h *Handler, calls *[]string) {
	calls = new([]string)
	config.Logger = slog.New(slog.DiscardHandler)
	h = New(config)
	h.HandleRaw(RawMethod{
		Name:   buffer,
		Paths:  []string{"/v2/{queue=queues/*}/tasks/{task_id}:buffer", "/v2/{queue=queues/*}/tasks:buffer"},
		Member: "task",
		Call: func(ctx context.Context, variables map[string]string, body []byte) (proto.Message, error) {
			method, _ := grpc.Method(ctx)
			md, _ := metadata.FromIncomingContext(ctx)
			*calls = append(*calls, strings.Join([]string{method, variables["queue"], variables["task_id"], string(body), strings.Join(md["authorization"], "")}, "|"))
			return answer()
		},
	})
	return h, calls
}

func aTask() (proto.Message, error) {
	return &cloudtaskspb.Task{Name: "t", View: cloudtaskspb.Task_BASIC}, nil
}

func TestRawMethod(t *testing.T) {
	h, calls := newRaw(Config{}, aTask)
	for _, path := range []string{"/v2/queues/q/tasks/a%20b:buffer", "/v2/queues/q/tasks:buffer", "/v2/queues/q/tasks/:buffer?alt=json&prettyPrint=false"} {
		answer := do(h, "POST", path, "{not JSON", "Authorization", "Bearer x")
		if answer.Code != http.StatusOK {
			t.Errorf("%s: %d %s", path, answer.Code, bodyOf(t, answer))
		}
	}
	want := []string{buffer + "|queues/q|a b|{not JSON|Bearer x", buffer + "|queues/q||{not JSON|Bearer x", buffer + "|queues/q||{not JSON|Bearer x"}
	if diff := cmp.Diff(want, *calls); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got, want := bodyOf(t, do(h, "POST", "/v2/queues/q/tasks:buffer", "")), "{\n  \"task\": {\n    \"name\": \"t\",\n    \"view\": \"BASIC\"\n  }\n}\n"; got != want {
		t.Errorf("answer %s", got)
	}
	if got := bodyOf(t, do(h, "POST", "/v2/queues/q/tasks:buffer?$alt=json;enum-encoding=int&prettyPrint=false", "")); got != "{\"task\":{\"name\":\"t\",\"view\":1}}\n" {
		t.Errorf("answer %s", got)
	}
}

func TestRawMethodErrors(t *testing.T) {
	for what, c := range map[string]struct {
		answer     func() (proto.Message, error)
		path, body string
		code       int
		status     string
	}{
		"the method's own":      {func() (proto.Message, error) { return nil, status.Error(codes.NotFound, "x") }, "/v2/queues/q/tasks:buffer", "", 404, "NOT_FOUND"},
		"no status":             {func() (proto.Message, error) { return nil, errors.New("x") }, "/v2/queues/q/tasks:buffer", "", 500, "UNKNOWN"},
		"a panic":               {func() (proto.Message, error) { panic("x") }, "/v2/queues/q/tasks:buffer", "", 500, "INTERNAL"},
		"an answer that is bad": {func() (proto.Message, error) { return &cloudtaskspb.Task{Name: "\xff"}, nil }, "/v2/queues/q/tasks:buffer", "", 500, "INTERNAL"},
		"a query":               {aTask, "/v2/queues/q/tasks:buffer?x=1", "", 400, "INVALID_ARGUMENT"},
		"a large body":          {aTask, "/v2/queues/q/tasks:buffer", "12345678901", 400, "INVALID_ARGUMENT"},
		"another verb":          {aTask, "/v2/queues/q/tasks/:run", "", 404, "NOT_FOUND"},
	} {
		h, _ := newRaw(Config{MaxBody: 10}, c.answer)
		answer := do(h, "POST", c.path, c.body)
		if got := errorOf(t, answer); answer.Code != c.code || got.Status != c.status || got.Code != c.code {
			t.Errorf("%s: %d %+v", what, answer.Code, got)
		}
	}
}

func TestRawMethodGoesThroughTheInterceptor(t *testing.T) {
	seen := ""
	h, calls := newRaw(Config{Interceptor: func(ctx context.Context, request any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		seen = info.FullMethod
		return next(ctx, request)
	}}, aTask)
	if answer := do(h, "POST", "/v2/queues/q/tasks:buffer", ""); answer.Code != http.StatusOK || seen != buffer || len(*calls) != 1 {
		t.Errorf("%d, intercepted %q, %d calls", answer.Code, seen, len(*calls))
	}
}

func TestRawMethodsOnOnePathPanic(t *testing.T) {
	h, _ := newRaw(Config{}, aTask)
	for _, path := range []string{"/v2/{queue=queues/*}/tasks:buffer", "no slash"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s was accepted", path)
				}
			}()
			h.HandleRaw(RawMethod{Name: "other", Paths: []string{path}})
		}()
	}
}
