package rest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// Config of a [Handler]. The zero value works.
type Config struct {
	// MaxBody bounds a request body in bytes, as sent and as decompressed. Default: 20 MiB,
	// so that a publish of 10 MB fits in base64.
	MaxBody int64

	// Interceptor, if set, wraps every call, as the one of a gRPC server does.
	Interceptor grpc.UnaryServerInterceptor

	// Logger gets the panics of implementations. Default: slog.Default().
	Logger *slog.Logger
}

const defaultMaxBody = 20 << 20

// A Handler serves registered gRPC services over HTTP. Use [New].
type Handler struct {
	config Config
	router router
}

var _ interface {
	http.Handler
	grpc.ServiceRegistrar
} = (*Handler)(nil)

// New returns a Handler without services: every path answers 404.
func New(config Config) *Handler {
	if config.MaxBody <= 0 {
		config.MaxBody = defaultMaxBody
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	return &Handler{config: config}
}

// RegisterService adds the unary methods that have an http rule. Like [http.ServeMux.Handle]
// it panics on what can only be a mistake in the program: a service whose descriptor is not
// linked, a rule that cannot be read, two methods on one path.
func (h *Handler) RegisterService(desc *grpc.ServiceDesc, impl any) {
	if err := h.register(desc, impl); err != nil {
		panic(fmt.Sprintf("rest: registering %s: %v", desc.ServiceName, err))
	}
}

func (h *Handler) register(desc *grpc.ServiceDesc, impl any) error {
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(desc.ServiceName))
	if err != nil {
		return err
	}
	service, ok := found.(protoreflect.ServiceDescriptor)
	if !ok {
		return errors.New("the name is not a service's")
	}
	for _, m := range desc.Methods {
		method := service.Methods().ByName(protoreflect.Name(m.MethodName))
		if method == nil {
			return fmt.Errorf("the descriptor has no method %s", m.MethodName)
		}
		rule := ruleOf(method)
		if rule == nil {
			continue
		}
		base := route{fullMethod: "/" + desc.ServiceName + "/" + m.MethodName, method: m.Handler, impl: impl}
		if err := h.router.bind(method, rule, base); err != nil {
			return fmt.Errorf("%s: %w", m.MethodName, err)
		}
	}
	return nil
}

func ruleOf(method protoreflect.MethodDescriptor) *annotations.HttpRule {
	if rule, ok := mixinRule(method.FullName()); ok {
		return rule
	}
	rule, _ := proto.GetExtension(method.Options(), annotations.E_Http).(*annotations.HttpRule)
	return rule
}

// ServeHTTP answers one request. It closes nothing and keeps nothing.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r, params, err := h.parameters(w, r)
	if err != nil {
		writeError(w, err, format{})
		return
	}
	f, err := parseFormat(params)
	if err != nil {
		writeError(w, err, f)
		return
	}
	found := h.router.find(r.Method, r.URL.EscapedPath())
	if found.route == nil {
		writeNoRoute(w, r, found.allowed, f)
		return
	}
	ctx := serverContext(r.Context(), r.Header, found.route.fullMethod)
	if found.route.raw != nil {
		h.serveRaw(ctx, w, r, found, params, f) //nolint:contextcheck // ctx is the request's, with the values of a gRPC server
		return
	}
	reply, err := h.call(ctx, w, r, found, params) //nolint:contextcheck // ctx is the request's, with the values of a gRPC server
	if err != nil {
		writeError(w, err, f)
		return
	}
	message, ok := reply.(proto.Message)
	if !ok {
		writeError(w, errInternal(), f)
		return
	}
	writeMessage(w, message, f)
}

// parameters are those of the query string. A POST that stands for a GET, since its URL would
// be too long, has them in a form; the request that comes back is that GET.
func (h *Handler) parameters(w http.ResponseWriter, r *http.Request) (*http.Request, []param, error) {
	params, err := parseQuery(r.URL.RawQuery)
	method := r.Header.Get("X-HTTP-Method-Override")
	if err != nil || r.Method != http.MethodPost || method == "" {
		return r, params, err
	}
	overridden := r.WithContext(r.Context())
	overridden.Method = strings.ToUpper(method)
	if overridden.Method != http.MethodGet {
		return overridden, params, nil
	}
	form, err := readBody(w, r, h.config.MaxBody)
	if err != nil {
		return r, nil, err
	}
	more, err := parseQuery(strings.TrimSpace(string(form)))
	overridden.Body = io.NopCloser(http.NoBody)
	overridden.ContentLength = 0
	overridden.Header = r.Header.Clone()
	overridden.Header.Del("Content-Encoding")
	return overridden, append(params, more...), err
}

func (h *Handler) call(ctx context.Context, w http.ResponseWriter, r *http.Request, found match, params []param) (reply any, err error) {
	rt := found.route
	defer func() {
		if value := recover(); value != nil {
			h.logPanic(ctx, rt.fullMethod, value)
			reply, err = nil, errInternal()
		}
	}()
	decode := func(request any) error {
		message, ok := request.(proto.Message)
		if !ok {
			return errInternal()
		}
		body, err := readBody(w, r, h.config.MaxBody)
		if err != nil {
			return err
		}
		return rt.decode(message.ProtoReflect(), body, params, found)
	}
	return rt.method(rt.impl, ctx, decode, h.config.Interceptor)
}

func (h *Handler) logPanic(ctx context.Context, fullMethod string, value any) {
	h.config.Logger.ErrorContext(ctx, "rest: a service panicked",
		slog.String("method", fullMethod), slog.Any("panic", value), slog.String("stack", string(debug.Stack())))
}

func errInternal() error { return status.Error(codes.Internal, "Internal error encountered.") }

// serverContext looks to the implementation like the context of a gRPC server.
func serverContext(ctx context.Context, header http.Header, fullMethod string) context.Context {
	md := make(metadata.MD)
	for name, values := range header {
		name = strings.ToLower(name)
		if name == "authorization" || name == "user-agent" || strings.HasPrefix(name, "x-goog-") {
			md[name] = values
		}
	}
	ctx = metadata.NewIncomingContext(ctx, md)
	return grpc.NewContextWithServerTransportStream(ctx, transportStream(fullMethod))
}

// transportStream lets an implementation ask for its method, and set headers, which have no
// counterpart here.
type transportStream string

func (s transportStream) Method() string             { return string(s) }
func (transportStream) SetHeader(metadata.MD) error  { return nil }
func (transportStream) SendHeader(metadata.MD) error { return nil }
func (transportStream) SetTrailer(metadata.MD) error { return nil }
