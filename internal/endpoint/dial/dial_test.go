package dial_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"waybill.dev/internal/endpoint/dial"
)

func call(t *testing.T, target string, opts ...grpc.DialOption) error {
	t.Helper()
	conn, err := grpc.NewClient(target, append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUnaryInterceptor(dial.MarkRefused))...)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.Invoke(t.Context(), "/a.Service/Method", &emptypb.Empty{}, &emptypb.Empty{})
}

func TestARefusedConnection(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	listener.Close()
	for _, target := range []string{addr, "dns:///" + addr, "passthrough:///" + addr} {
		err := call(t, target)
		refused, ok := errors.AsType[*dial.RefusedError](err)
		if !ok || refused.Address != addr || status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "emulator") {
			t.Errorf("%s: %v", target, err)
		}
	}
	to := grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	})
	if err := call(t, "passthrough:///pubsub.googleapis.com:443", to); err == nil || err.Error() != "the connection to pubsub.googleapis.com:443 was refused" {
		t.Errorf("Google's: %v", err)
	}
}

// TestOtherErrorsPass: above all one of a server's whose text speaks of a refused connection of its own.
func TestOtherErrorsPass(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error {
		return status.Error(codes.Unavailable, "upstream: connection refused")
	}))
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(listener) }()
	defer func() { server.Stop(); <-served }()
	for name, err := range map[string]error{
		"sent": call(t, listener.Addr().String()),
		"unreachable": call(t, "passthrough:///nowhere", grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			return nil, errors.New("no route to host")
		})),
	} {
		if _, ok := errors.AsType[*dial.RefusedError](err); ok || status.Code(err) != codes.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
}
