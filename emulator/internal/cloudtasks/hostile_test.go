package cloudtasks

import (
	"context"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waybill.dev/emulator/internal/clock"
	"waybill.dev/emulator/internal/rest"
)

// methods collects what an engine registers, to be called by its full name.
type methods map[string]func(ctx context.Context, decode func(any) error) (any, error)

func (m methods) RegisterService(desc *grpc.ServiceDesc, impl any) {
	for _, method := range desc.Methods {
		m["/"+desc.ServiceName+"/"+method.MethodName] = func(ctx context.Context, decode func(any) error) (any, error) {
			return method.Handler(impl, ctx, decode, nil)
		}
	}
}

// unreachable fails every delivery.
type unreachable struct{}

func (unreachable) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, http.ErrHandlerTimeout
}

func newHostileEngine(tb testing.TB) *Engine {
	tb.Helper()
	c := clock.New()
	e := New(Config{
		Clock: c, Signer: fakeSigner{}, HTTPClient: &http.Client{Transport: unreachable{}}, Logger: slog.New(slog.DiscardHandler),
		AppEngine: "http://127.0.0.1:1", Location: "us-central1",
	})
	tb.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = e.Close(ctx)
		c.Close()
	})
	return e
}

// Requests without anything in them, and with nothing in their lists, get an error or an answer.
func TestEmptyRequests(t *testing.T) {
	e := newHostileEngine(t)
	registered := make(methods)
	e.Register(registered)
	if len(registered) < 20 {
		t.Errorf("only %d methods", len(registered))
	}
	for name, call := range registered {
		for _, lists := range []bool{false, true} {
			_, err := call(t.Context(), func(request any) error {
				if lists {
					appendNothing(request.(proto.Message).ProtoReflect())
				}
				return nil
			})
			if code := status.Code(err); err == nil || code == codes.Internal || code == codes.Unknown {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// appendNothing gives every list one empty element, and every message one that is empty.
func appendNothing(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		switch field := fields.Get(i); {
		case field.IsList():
			list := m.Mutable(field).List()
			list.Append(list.NewElement())
		case field.Message() != nil && !field.IsMap() && field.ContainingOneof() == nil:
			appendNothing(m.Mutable(field).Message())
		}
	}
}

func TestHostileValues(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(nil, nil)
		huge := &durationpb.Duration{Seconds: math.MaxInt64, Nanos: -1}
		for what, task := range map[string]*cloudtaskspb.Task{
			"nothing in the oneof": {MessageType: &cloudtaskspb.Task_HttpRequest{}},
			"no token":             newTask(request(func(r *cloudtaskspb.HttpRequest) { r.AuthorizationHeader = &cloudtaskspb.HttpRequest_OidcToken{} })),
			"no OAuth token":       newTask(request(func(r *cloudtaskspb.HttpRequest) { r.AuthorizationHeader = &cloudtaskspb.HttpRequest_OauthToken{} })),
			"a deadline of ages":   newTask(func(t *cloudtaskspb.Task) { t.DispatchDeadline = huge }),
			"a negative deadline":  newTask(deadline(math.MinInt64)),
			"a time that is none":  newTask(func(t *cloudtaskspb.Task) { t.ScheduleTime = &timestamppb.Timestamp{Seconds: math.MaxInt64} }),
			"the end of time":      newTask(func(t *cloudtaskspb.Task) { t.ScheduleTime = &timestamppb.Timestamp{Seconds: 253402300799} }),
			"a backoff of ages":    newTask(func(t *cloudtaskspb.Task) { t.RetryConfig = &cloudtaskspb.RetryConfig{MinBackoff: huge} }),
			"a negative retry": newTask(func(t *cloudtaskspb.Task) {
				t.RetryConfig = &cloudtaskspb.RetryConfig{MaxRetryDuration: durationpb.New(-1)}
			}),
			"a URL that is no UTF-8":   newTask(target("http://\xff/")),
			"a name that is no UTF-8":  newTask(named("\xff")),
			"a header that is no text": newTask(request(func(r *cloudtaskspb.HttpRequest) { r.Headers = map[string]string{"\xff": ""} })),
			"a host in brackets":       newTask(target("http://[::1")),
			"a port that is none":      newTask(target("http://a:b/")),
			"a control character":      newTask(target("http://a\x00b/")),
		} {
			_, err := b.CreateTask(b.ctx, &cloudtaskspb.CreateTaskRequest{Parent: queueA, Task: task})
			if code := status.Code(err); code != codes.InvalidArgument {
				t.Errorf("%s: %v", what, err)
			}
		}
		for what, task := range map[string]*cloudtaskspb.Task{
			"the beginning of time": newTask(func(t *cloudtaskspb.Task) { t.ScheduleTime = &timestamppb.Timestamp{Seconds: -62135596800} }),
			"a header of the connection": newTask(request(func(r *cloudtaskspb.HttpRequest) {
				r.Headers = map[string]string{"Transfer-Encoding": "chunked", "Trailer": "x", "Connection": "close"}
			})),
			"a URL that has to be encoded": newTask(target("http://a.test/ä b?%zz#\x01")),
			"doublings without end": newTask(func(t *cloudtaskspb.Task) {
				t.RetryConfig = &cloudtaskspb.RetryConfig{MaxDoublings: math.MaxInt32, MaxAttempts: math.MaxInt32, MaxRetryDuration: durationpb.New(math.MaxInt64), MinBackoff: durationpb.New(1), MaxBackoff: durationpb.New(math.MaxInt64)}
			}),
		} {
			if _, err := b.CreateTask(b.ctx, &cloudtaskspb.CreateTaskRequest{Parent: queueA, Task: task}); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		b.after(time.Minute)
		if got := len(b.got()); got != 4 {
			t.Errorf("%d of 4 tasks were delivered; log:\n%s", got, b.log)
		}
		for _, r := range []*cloudtaskspb.RateLimits{{MaxDispatchesPerSecond: math.SmallestNonzeroFloat64}, {MaxDispatchesPerSecond: 1e-9}} {
			b.update(&cloudtaskspb.Queue{RateLimits: r}, "rate_limits")
			b.create()
			b.after(time.Hour)
		}
	})
}

// FuzzMasks: whatever the paths are, an update with them gives an error, or a queue that can be updated again.
func FuzzMasks(f *testing.F) {
	for _, mask := range []string{
		"rate_limits", "rateLimits.maxDispatchesPerSecond,retry_config", "*", "", ",", ".", "name.x", "http_target.oidc_token.audience",
		"http_target.header_overrides.header", "httpTarget.uriOverride.host.x", "state", "purge_time.seconds", "retry_config.min_backoff.nanos", "\xff", "Ä",
	} {
		f.Add(mask)
	}
	e := newHostileEngine(f)
	s := service{Engine: e}
	f.Fuzz(func(t *testing.T, mask string) {
		r := &cloudtaskspb.UpdateQueueRequest{Queue: fullQueue()}
		if _, err := s.UpdateQueue(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		r = &cloudtaskspb.UpdateQueueRequest{Queue: &cloudtaskspb.Queue{Name: queueA}, UpdateMask: newMask(mask)}
		got, err := s.UpdateQueue(t.Context(), r)
		if err != nil {
			if status.Code(err) != codes.InvalidArgument {
				t.Errorf("%q: %v", mask, err)
			}
			return
		}
		if _, err := complete(got); err != nil {
			t.Errorf("%q left a queue that is not valid: %v", mask, err)
		}
	})
}

func newMask(text string) *fieldmaskpb.FieldMask {
	return &fieldmaskpb.FieldMask{Paths: strings.Split(text, ",")}
}

// FuzzREST sends any request to the whole service over REST. Nothing answers 500.
func FuzzREST(f *testing.F) {
	for _, seed := range [][3]string{
		{"POST", "/v2/" + location + "/queues", `{"name":"` + queueA + `","rateLimits":{"maxDispatchesPerSecond":"NaN"}}`},
		{"POST", "/v2/" + location + "/queues", `{"name":"` + location + `/queues/b","httpTarget":{"uriOverride":{"host":"a","port":"-1"},"headerOverrides":[{},null]}}`},
		{"PATCH", "/v2/" + queueA + "?updateMask=httpTarget.oidcToken.audience,retry_config", `{"httpTarget":{"oidcToken":{}},"retryConfig":{"minBackoff":"-1s"}}`},
		{"PATCH", "/v2/" + queueA + "?updateMask=rateLimits", `{"rateLimits":{"maxDispatchesPerSecond":1e-320}}`},
		{"GET", "/v2/" + location + "/queues?filter=state%3APAUSED&pageSize=2147483647&pageToken=AAAA", ""},
		{"POST", "/v2/" + queueA + "/tasks", `{"task":{"httpRequest":{"url":"http://a/%zz","headers":{"a":"b"},"body":"aGk="},"scheduleTime":"2000-01-01T00:00:00Z"},"responseView":"FULL"}`},
		{"POST", "/v2/" + queueA + "/tasks", `{"task":{"appEngineHttpRequest":{"relativeUri":"//x","appEngineRouting":{"service":"s"}},"dispatchDeadline":"315576000000s"}}`},
		{"POST", "/v2/" + queueA + "/tasks:batchCreate", `{"requests":[null,{},{"task":{}},{"task":{"httpRequest":null}}],"requestId":"x"}`},
		{"POST", "/v2/" + queueA + "/tasks:batchDelete", `{"names":["","` + queueA + `/tasks/t"]}`},
		{"POST", "/v2/" + queueA + "/tasks/t:buffer", "\x00\xff"},
		{"POST", "/v2/" + queueA + "/tasks/t:run", `{"responseView":99}`},
		{"GET", "/v2/" + location + "/operations/x", ""},
		{"PATCH", "/v2/" + location + "/cmekConfig?updateMask=kmsKey", `{"kmsKey":"x"}`},
		{"POST", "/v2/" + queueA + ":setIamPolicy", `{"policy":{"bindings":[{"role":"roles/x","members":["allUsers",""],"condition":{}}]},"updateMask":"etag"}`},
		{"GET", "/v2/projects/shop/locations?filter=labels%3A*", ""},
		{"DELETE", "/v2/" + queueA, ""},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	e := newHostileEngine(f)
	h := rest.New(rest.Config{Logger: slog.New(slog.DiscardHandler)})
	e.Register(h)
	e.RegisterREST(h)
	f.Fuzz(func(t *testing.T, method, target, body string) {
		u, err := url.Parse(target)
		if err != nil || u.Scheme != "" || u.Host != "" {
			return // net/http would not have let it in
		}
		_, _ = service{Engine: e}.CreateQueue(t.Context(), &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{Name: queueA}}) // usually there
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Method, r.URL = method, u
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code == http.StatusInternalServerError || w.Code == http.StatusNotImplemented {
			t.Errorf("%s %s %q: %d %s", method, target, body, w.Code, w.Body)
		}
	})
}

// FuzzMessages calls any method with any message. Nothing panics.
func FuzzMessages(f *testing.F) {
	e := newHostileEngine(f)
	registered := make(methods)
	e.Register(registered)
	names := make([]string, 0, len(registered))
	for name := range registered {
		names = append(names, name)
	}
	slices.Sort(names)
	seed := func(m proto.Message) {
		raw, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		for i, name := range names {
			if inputOf(f, name) == m.ProtoReflect().Descriptor().FullName() {
				f.Add(uint8(i), raw)
			}
		}
	}
	seed(&cloudtaskspb.CreateQueueRequest{Parent: location, Queue: fullQueue()})
	seed(&cloudtaskspb.UpdateQueueRequest{Queue: fullQueue()})
	seed(&cloudtaskspb.CreateTaskRequest{Parent: queueA, Task: newTask()})
	seed(&cloudtaskspb.BatchCreateTasksRequest{Parent: queueA, Requests: []*cloudtaskspb.CreateTaskRequest{{Task: newTask()}}})
	seed(&cloudtaskspb.BatchDeleteTasksRequest{Parent: queueA, Names: []string{queueA + "/tasks/t"}})
	seed(&cloudtaskspb.ListTasksRequest{Parent: queueA, PageSize: 1, PageToken: "dAA"})
	seed(&longrunningpb.WaitOperationRequest{Name: location + "/operations/o", Timeout: durationpb.New(-1)})
	f.Fuzz(func(t *testing.T, which uint8, raw []byte) {
		_, err := registered[names[int(which)%len(names)]](t.Context(), func(request any) error {
			if proto.Unmarshal(raw, request.(proto.Message)) != nil {
				return status.Error(codes.InvalidArgument, "not a message")
			}
			return nil
		})
		if code := status.Code(err); code == codes.Internal || code == codes.Unknown {
			t.Error(err)
		}
	})
}

func inputOf(f *testing.F, fullMethod string) protoreflect.FullName {
	f.Helper()
	service, method, _ := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		f.Fatal(err)
	}
	return found.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(method)).Input().FullName()
}
