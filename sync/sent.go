package sync

import (
	"context"
	"errors"
	"net"
	"net/http/httptrace"
	"sync/atomic"

	"waybill.dev/internal/outcome"
)

// connecting follows one attempt up to its connection: what got none was never sent.
type connecting struct{ asked, connected atomic.Bool }

func (c *connecting) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { c.asked.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { c.connected.Store(true) },
	})
}

// notSent reports that nothing of the attempt that ended in err was sent. A
// transport that tells no trace may have sent it, unless its dialer failed.
func (c *connecting) notSent(err error) bool {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return true
	}
	return c.asked.Load() && !c.connected.Load()
}

// ambiguousError is [ErrAmbiguous] in the words of a call.
type ambiguousError struct{ err error }

func (e *ambiguousError) Error() string {
	return "no answer, and the receiver may have acted on it: " + e.err.Error()
}

func (e *ambiguousError) Unwrap() error { return e.err }

func (e *ambiguousError) Is(target error) bool { return target == outcome.ErrAmbiguous }
