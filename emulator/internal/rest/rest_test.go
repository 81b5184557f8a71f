package rest

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"cloud.google.com/go/iam/apiv1/iampb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/cloud/location"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/testing/protocmp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// services are the real ones; their calls end in the recorder.
func services() []*grpc.ServiceDesc {
	return []*grpc.ServiceDesc{
		&cloudtaskspb.CloudTasks_ServiceDesc,
		&pubsubpb.Publisher_ServiceDesc,
		&pubsubpb.Subscriber_ServiceDesc,
		&pubsubpb.SchemaService_ServiceDesc,
		&iampb.IAMPolicy_ServiceDesc,
		&longrunningpb.Operations_ServiceDesc,
		locations(),
	}
}

// locations is written out here: the generated code registers on a *grpc.Server only.
func locations() *grpc.ServiceDesc {
	method := func(name string, fresh func() any) grpc.MethodDesc {
		info := &grpc.UnaryServerInfo{FullMethod: "/google.cloud.location.Locations/" + name}
		return grpc.MethodDesc{
			MethodName: name,
			Handler: func(_ any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
				request := fresh()
				if err := decode(request); err != nil {
					return nil, err
				}
				return intercept(ctx, request, info, nil)
			},
		}
	}
	return &grpc.ServiceDesc{
		ServiceName: "google.cloud.location.Locations",
		Methods: []grpc.MethodDesc{
			method("ListLocations", func() any { return new(location.ListLocationsRequest) }),
			method("GetLocation", func() any { return new(location.GetLocationRequest) }),
		},
	}
}

// A recorder stands for every implementation: it keeps the last call, and answers.
type recorder struct {
	method  string
	request proto.Message
	ctx     context.Context

	answer func(request proto.Message) (proto.Message, error) // nil: an empty answer
}

func (r *recorder) intercept(ctx context.Context, request any, info *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
	r.method, r.request, r.ctx = info.FullMethod, request.(proto.Message), ctx
	if r.answer != nil {
		return r.answer(r.request)
	}
	return emptyAnswer(info.FullMethod), nil
}

func emptyAnswer(fullMethod string) proto.Message {
	name := protoreflect.FullName(strings.ReplaceAll(fullMethod[1:], "/", "."))
	method, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil {
		panic(err)
	}
	output, err := protoregistry.GlobalTypes.FindMessageByName(method.(protoreflect.MethodDescriptor).Output().FullName())
	if err != nil {
		panic(err)
	}
	return output.New().Interface()
}

func newRecorded(config Config) (*Handler, *recorder) {
	r := new(recorder)
	config.Interceptor = r.intercept
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	h := New(config)
	for _, desc := range services() {
		h.RegisterService(desc, nil)
	}
	return h, r
}

func do(h http.Handler, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, request)
	return answer
}

func bodyOf(t *testing.T, answer *httptest.ResponseRecorder) string {
	t.Helper()
	b, err := io.ReadAll(answer.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// wantRequest checks that the last call was this one, with this message.
func (r *recorder) wantRequest(t *testing.T, method string, want proto.Message) {
	t.Helper()
	if r.method != method {
		t.Errorf("called %q, want %q", r.method, method)
	}
	if diff := cmp.Diff(want, r.request, protocmp.Transform()); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
}

// errorOf reads {"error":{...}}.
func errorOf(t *testing.T, answer *httptest.ResponseRecorder) errorBody {
	t.Helper()
	var got errorAnswer
	if err := json.Unmarshal([]byte(bodyOf(t, answer)), &got); err != nil {
		t.Fatal(err)
	}
	return got.Error
}
