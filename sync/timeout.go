package sync

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// TimeoutHeader carries how much of the caller's deadline is left when an
// attempt leaves: milliseconds, rounded down, at least 1. [Client.Do] sets it
// from the request's context, and [NewHandler]'s handler ends its own context
// no later.
//
// It is a duration, as gRPC's grpc-timeout, so the two clocks need not agree.
// What the network takes is not subtracted: the handler's time ends that much
// after the caller's.
const TimeoutHeader = "Waybill-Timeout-Ms"

// maxTimeoutDigits bounds what is read: a hundred days.
const maxTimeoutDigits = 10

// setTimeout writes what is left of ctx's deadline, and removes what a caller's own code may have put there.
func setTimeout(ctx context.Context, h http.Header) {
	deadline, ok := ctx.Deadline()
	if !ok {
		delete(h, TimeoutHeader)
		return
	}
	h[TimeoutHeader] = []string{strconv.FormatInt(max(time.Until(deadline).Milliseconds(), 1), 10)}
}

// timeout is the earlier of a handler's deadline, 0 meaning none, and what its caller has left. What is not a number of
// milliseconds counts as no bound: the header can only shorten what the receiver has declared.
func timeout(declared time.Duration, h http.Header) time.Duration {
	values := h[TimeoutHeader]
	if len(values) == 0 || len(values[0]) > maxTimeoutDigits {
		return declared
	}
	ms, err := strconv.ParseUint(values[0], 10, 63)
	if err != nil {
		return declared
	}
	left := time.Duration(max(ms, 1)) * time.Millisecond
	if declared > 0 {
		return min(declared, left)
	}
	return left
}
