// Package dial tells a gRPC call that was never sent, because nothing listened
// where it was to go, from one that may have been.
package dial

import (
	"context"
	"net"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// RefusedError is the error of a call that was not sent: its connection was refused.
type RefusedError struct {
	Address string // host:port
	err     error
}

func (e *RefusedError) Error() string {
	if google(e.Address) {
		return "the connection to " + e.Address + " was refused"
	}
	return "nothing listens on " + e.Address + " (connection refused): is the emulator running?"
}

// Unwrap returns gRPC's own error, with its status.
func (e *RefusedError) Unwrap() error { return e.err }

// MarkRefused is an interceptor that returns a [*RefusedError] for a call that
// was not sent because its connection was refused. Other errors pass unchanged.
func MarkRefused(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	// gRPC fills in the peer once the request has been given to a connection.
	var to peer.Peer
	err := invoke(ctx, method, req, reply, cc, append(slices.Clip(opts), grpc.Peer(&to))...)
	if err == nil || to.Addr != nil || !refused(err) {
		return err
	}
	return &RefusedError{Address: address(cc.Target()), err: err}
}

// refused looks at the text: gRPC keeps of a dialer's error nothing else.
func refused(err error) bool {
	s := status.Convert(err)
	return s.Code() == codes.Unavailable && strings.Contains(s.Message(), " refused")
}

// address is a target without its resolver: dns:///host:port, passthrough:///host:port.
func address(target string) string {
	return target[strings.LastIndexByte(target, '/')+1:]
}

func google(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	return strings.HasSuffix(host, ".googleapis.com")
}
