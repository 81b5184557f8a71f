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

const (
	// maxReceive is above Pub/Sub's largest request (10 MB of messages, before their encoding).
	maxReceive = 32 << 20
	// Windows that are set are not measured, which gRPC does by a ping after nearly every small request.
	streamWindow     = 1 << 20
	connectionWindow = 4 << 20
)

func newGRPCServer(logger *slog.Logger) *grpc.Server {
	r := recoverer{logger}
	return grpc.NewServer(
		grpc.MaxRecvMsgSize(maxReceive),
		// A publish of 100 messages is larger than gRPC's default of 64 KB, and would wait for a window update.
		grpc.InitialWindowSize(1<<20),
		grpc.InitialConnWindowSize(16<<20),
		grpc.InitialWindowSize(streamWindow),
		grpc.InitialConnWindowSize(connectionWindow),
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
