package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// What a request that meets a fault ends with. Who logs them sees that they were asked for.
var (
	errRequestDropped = errors.New("fault on demand: the connection was lost before the request was sent")
	errAnswerDropped  = errors.New("fault on demand: the connection was lost after the receiver had answered")
)

const answerText = "fault on demand: the emulator answered in the receiver's place"

// maxDrain is how much of an answer that nobody wants is read, so that its connection can be used again.
const maxDrain = 256 << 10

type sourceKey struct{}

// WithSource says for which queue or subscription, by its full name, the requests of a context are made.
func WithSource(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, sourceKey{}, name)
}

// Transport returns a RoundTripper that sends by next, and breaks what the rules say.
func (s *Set) Transport(next http.RoundTripper) http.RoundTripper {
	return &transport{set: s, next: next}
}

type transport struct {
	set  *Set
	next http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	e, ok := t.set.choose(req)
	if !ok {
		return t.next.RoundTrip(req)
	}
	if err := wait(req.Context(), e.latency); err != nil {
		closeBody(req)
		return nil, err
	}
	switch {
	case e.Status != 0:
		closeBody(req)
		return answer(req, e.Status, e.RetryAfter), nil
	case e.Drop == DropRequest:
		closeBody(req)
		return nil, errRequestDropped
	case e.Drop == DropAnswer:
		resp, err := t.next.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		drain(resp)
		return nil, errAnswerDropped
	case e.Duplicate:
		return t.twice(req)
	default:
		return t.next.RoundTrip(req)
	}
}

// CloseIdleConnections lets http.Client.CloseIdleConnections reach the transport below.
func (t *transport) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// twice returns the first answer once the second is there.
func (t *transport) twice(req *http.Request) (*http.Response, error) {
	first, body, err := repeatable(req)
	if err != nil {
		return nil, err
	}
	resp, err := t.next.RoundTrip(first)
	if err != nil {
		return nil, err
	}
	// A context of its own: what traces the first request must not take the second's answer for its own.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer context.AfterFunc(req.Context(), cancel)()
	again := req.Clone(ctx) //nolint:contextcheck // see above; it ends with the request's
	again.Body = body
	if second, err := t.next.RoundTrip(again); err == nil {
		drain(second)
	}
	return resp, nil
}

// repeatable returns the request, and its body once more.
func repeatable(req *http.Request) (first *http.Request, body io.ReadCloser, err error) {
	if req.Body == nil || req.Body == http.NoBody {
		return req, req.Body, nil
	}
	if req.GetBody != nil {
		body, err = req.GetBody()
		if err != nil {
			closeBody(req)
			return nil, nil, fmt.Errorf("faults: reading the body again: %w", err)
		}
		return req, body, nil
	}
	whole, err := io.ReadAll(req.Body)
	closeBody(req)
	if err != nil {
		return nil, nil, fmt.Errorf("faults: reading the body: %w", err)
	}
	first = req.Clone(req.Context())
	first.Body = io.NopCloser(bytes.NewReader(whole))
	return first, io.NopCloser(bytes.NewReader(whole)), nil
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func answer(req *http.Request, status int, retryAfter time.Duration) *http.Response {
	header := http.Header{"Content-Type": {"text/plain; charset=utf-8"}}
	if retryAfter > 0 {
		header.Set("Retry-After", strconv.FormatInt(int64((retryAfter+time.Second-1)/time.Second), 10))
	}
	return &http.Response{
		Status:        fmt.Sprintf("%d %s", status, http.StatusText(status)),
		StatusCode:    status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        header,
		Body:          io.NopCloser(strings.NewReader(answerText)),
		ContentLength: int64(len(answerText)),
		Request:       req,
	}
}

func drain(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, maxDrain) // nobody wants it
	_ = resp.Body.Close()
}

// closeBody does what [http.RoundTripper] demands of one that does not send the request.
func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}
