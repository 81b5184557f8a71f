package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"waybill.dev/emulator/internal/pubsub/endpoint"
)

// maxMessageBytes is more than any request or response of Pub/Sub has.
const maxMessageBytes = 32 << 20

// Config configures a Proxy.
type Config struct {
	// Upstream is the HOST:PORT of Google's emulator. Required.
	Upstream string
	// PushURL is the URL, as Google's emulator reaches it, under which the Proxy is served. Required.
	PushURL string
	// Signer signs pushes that ask for a token. Nil: such pushes fail, and the log says why.
	Signer endpoint.Signer
	// HTTPClient sends the pushes on. It never follows redirects. Nil, or without a Transport:
	// one of the Proxy's own.
	HTTPClient *http.Client
	// Logger reports pushes that fail. Nil: slog.Default().
	Logger *slog.Logger
}

func (c Config) validate() error {
	var problems []error
	if c.Upstream == "" {
		problems = append(problems, errors.New("pubsub: upstream: Upstream is empty: name the HOST:PORT of Google's emulator"))
	}
	if u, err := url.Parse(c.PushURL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		problems = append(problems, fmt.Errorf("pubsub: upstream: PushURL %q is no http URL: name the one under which Google's emulator reaches the proxy", c.PushURL))
	}
	return errors.Join(problems...)
}

// Proxy passes Pub/Sub through and signs pushes. All methods are safe for concurrent use.
type Proxy struct {
	conn      *grpc.ClientConn
	pushURL   string // with a slash at the end
	endpoints *endpoints
	client    *http.Client
	ownClient bool
	logger    *slog.Logger
	signer    endpoint.Signer
}

// New returns a Proxy. The upstream need not run yet.
func New(c Config) (*Proxy, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("passthrough:///"+c.Upstream,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageBytes), grpc.MaxCallSendMsgSize(maxMessageBytes)))
	if err != nil {
		return nil, fmt.Errorf("pubsub: upstream %s: %w", c.Upstream, err)
	}
	p := &Proxy{
		conn:      conn,
		pushURL:   strings.TrimSuffix(c.PushURL, "/") + "/",
		endpoints: newEndpoints(),
		client:    endpoint.Client(c.HTTPClient, 128),
		ownClient: c.HTTPClient == nil || c.HTTPClient.Transport == nil,
		logger:    c.Logger,
		signer:    c.Signer,
	}
	if p.logger == nil {
		p.logger = slog.Default()
	}
	return p, nil
}

// Close ends the connection to the upstream, and with it every call. It may be called twice.
func (p *Proxy) Close() error {
	if p.ownClient {
		p.client.CloseIdleConnections()
	}
	if err := p.conn.Close(); err != nil && status.Code(err) != codes.Canceled {
		return fmt.Errorf("pubsub: upstream: %w", err)
	}
	return nil
}

// Register makes the Proxy answer for Publisher, Subscriber and SchemaService on r.
func (p *Proxy) Register(r grpc.ServiceRegistrar) {
	for _, file := range []protoreflect.FileDescriptor{pubsubpb.File_google_pubsub_v1_pubsub_proto, pubsubpb.File_google_pubsub_v1_schema_proto} {
		for i := range file.Services().Len() {
			r.RegisterService(p.describe(file.Services().Get(i)), p)
		}
	}
}

// describe makes a gRPC service of a service's descriptor, each method of which goes upstream.
func (p *Proxy) describe(service protoreflect.ServiceDescriptor) *grpc.ServiceDesc {
	desc := &grpc.ServiceDesc{ServiceName: string(service.FullName()), HandlerType: (*any)(nil), Metadata: service.ParentFile().Path()}
	for i := range service.Methods().Len() {
		m := method{
			proxy: p,
			path:  fmt.Sprintf("/%s/%s", service.FullName(), service.Methods().Get(i).Name()),
			in:    messageType(service.Methods().Get(i).Input()),
			out:   messageType(service.Methods().Get(i).Output()),
		}
		name := string(service.Methods().Get(i).Name())
		if service.Methods().Get(i).IsStreamingClient() {
			desc.Streams = append(desc.Streams, grpc.StreamDesc{StreamName: name, Handler: m.stream, ServerStreams: true, ClientStreams: true})
			continue
		}
		desc.Methods = append(desc.Methods, grpc.MethodDesc{MethodName: name, Handler: m.unary})
	}
	return desc
}

// messageType finds the generated type, which importing pubsubpb has registered.
func messageType(d protoreflect.MessageDescriptor) protoreflect.MessageType {
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		panic(fmt.Sprintf("pubsub: upstream: %s is not linked: %v", d.FullName(), err))
	}
	return t
}

// method is one RPC of a service that is passed through.
type method struct {
	proxy   *Proxy
	path    string
	in, out protoreflect.MessageType
}

func (m method) unary(_ any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) { //nolint:revive // gRPC's signature
	req := m.in.New().Interface()
	if err := decode(req); err != nil {
		return nil, err
	}
	call := func(ctx context.Context, req any) (any, error) {
		change, err := m.proxy.hide(req.(proto.Message))
		if err != nil {
			return nil, err
		}
		resp := m.out.New().Interface()
		if err := m.proxy.conn.Invoke(outgoing(ctx), m.path, req, resp); err != nil {
			if m.proxy.adopt(outgoing(ctx), req.(proto.Message), err) {
				change.apply()
			} else {
				change.undo()
			}
			return nil, err
		}
		change.apply()
		m.proxy.restore(resp)
		return resp, nil
	}
	if intercept == nil {
		return call(ctx, req)
	}
	return intercept(ctx, req, &grpc.UnaryServerInfo{Server: m.proxy, FullMethod: m.path}, call)
}

// stream passes both directions through until the upstream ends the stream or the client leaves.
func (m method) stream(_ any, down grpc.ServerStream) error {
	ctx, cancel := context.WithCancel(outgoing(down.Context()))
	defer cancel()
	up, err := m.proxy.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, m.path)
	if err != nil {
		return err
	}
	go func() { // ends with the client's stream, at the latest when this function returns
		if err := pass(m.in, up.SendMsg, down.RecvMsg); errors.Is(err, io.EOF) {
			_ = up.CloseSend() // the upstream's answer is what counts
		} else {
			cancel()
		}
	}()
	err = pass(m.out, down.SendMsg, up.RecvMsg)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// pass moves messages until one side fails.
func pass(t protoreflect.MessageType, send, receive func(any) error) error {
	for {
		msg := t.New().Interface()
		if err := receive(msg); err != nil {
			return err
		}
		if err := send(msg); err != nil {
			return err
		}
	}
}

// outgoing passes the caller's metadata on, without what belongs to its own connection.
func outgoing(ctx context.Context) context.Context {
	in, _ := metadata.FromIncomingContext(ctx)
	out := metadata.MD{}
	for key, values := range in {
		if strings.HasPrefix(key, "x-goog-") {
			out[key] = values
		}
	}
	return metadata.NewOutgoingContext(ctx, out)
}
