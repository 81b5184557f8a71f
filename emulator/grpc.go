package emulator

import (
	"context"
	"log/slog"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// maxReceive is above Pub/Sub's largest request (10 MB of messages, before their encoding).
const maxReceive = 32 << 20

func newGRPCServer(logger *slog.Logger) *grpc.Server {
	r := recoverer{logger}
	return grpc.NewServer(
		grpc.MaxRecvMsgSize(maxReceive),
		// Clients that ping more often than gRPC's default allows would be cut off; Google lets them.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(r.unary),
		grpc.ChainStreamInterceptor(r.stream),
	)
}

// recoverer makes a panic an INTERNAL error of one call, as net/http does for HTTP.
type recoverer struct{ logger *slog.Logger }

func (r recoverer) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	defer r.recover(ctx, info.FullMethod, &err)
	return next(ctx, req)
}

func (r recoverer) stream(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	defer r.recover(s.Context(), info.FullMethod, &err)
	return next(srv, s)
}

func (r recoverer) recover(ctx context.Context, method string, err *error) {
	if p := recover(); p != nil {
		r.logger.ErrorContext(ctx, "emulator: a call panicked", "method", method, "panic", p, "stack", string(debug.Stack()))
		*err = status.Error(codes.Internal, "the emulator failed: its log has the stack")
	}
}
