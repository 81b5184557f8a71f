package dispatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/propagation"

	wsync "waybill.dev/sync"
)

// maxCallBody bounds both directions of a call: Cloud Run's limit for a request over HTTP/1.
const maxCallBody = 32 << 20

const (
	retryHeader = wsync.RetryHeader
	retrySafe   = wsync.RetrySafe
)

// RequestOption is an option of [Request]: [Deadline].
type RequestOption interface{ applyRequest(*requestOptions) }

type requestOptions struct{ deadline time.Duration }

func (o Deadline) applyRequest(r *requestOptions) { r.deadline = time.Duration(o) }

// caller makes one call: its client, and the URL, parsed once.
type caller struct {
	client *wsync.Client
	url    *url.URL
}

func newCaller(client *wsync.Client, endpoint string) (*caller, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, err
	}
	return &caller{client: client, url: u}, nil
}

// Request asks a question and waits for the answer, at most for the call's [Deadline], retries included.
//
// The error of a receiver that refused or failed is a *sync.Error of waybill.dev/sync, with its code; its text is the
// receiver's only if the receiver meant it for the caller. [ErrNotDeclared], [ErrTooLarge] and [ErrClosed] mean that nothing has left.
func Request[Q, R any](ctx context.Context, d *Dispatcher, call *Call[Q, R], question Q, options ...RequestOption) (R, error) {
	var reply R
	r := call.route
	if err := d.permit(ctx, r); err != nil {
		return reply, err
	}
	deadline, err := r.requestDeadline(options)
	if err != nil {
		return reply, err
	}
	body, err := r.codec.Marshal(question)
	if err != nil {
		return reply, fmt.Errorf("dispatch: %s: the question cannot be encoded, nothing was sent: %w", r, err)
	}
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	contentType, answer, err := d.ask(ctx, r, body)
	if err != nil {
		return reply, fmt.Errorf("dispatch: %s to service %q: %w", r, r.to.name, err)
	}
	codec, err := r.app.codecByContentType(contentType, call.replyCodec)
	if err == nil {
		err = codec.Unmarshal(answer, &reply)
	}
	if err != nil {
		return reply, fmt.Errorf("dispatch: %s to service %q was answered, but the reply cannot be decoded; compare the contracts that both were built with: %w", r, r.to.name, err)
	}
	return reply, nil
}

// requestDeadline is the declared deadline, or a shorter one.
func (r *route) requestDeadline(options []RequestOption) (time.Duration, error) {
	declared := r.effectiveDeadline()
	if len(options) == 0 {
		return declared, nil
	}
	o := requestOptions{deadline: declared}
	for _, option := range options {
		option.applyRequest(&o)
	}
	if o.deadline <= 0 || o.deadline > declared {
		return 0, fmt.Errorf("dispatch: %w: %s: Deadline(%v) is not between 0 and the declared %v; declare a longer one", ErrOption, r, o.deadline, declared)
	}
	return o.deadline, nil
}

// ask sends an encoded question, by way of the middleware if there is any, and returns the encoded answer.
func (d *Dispatcher) ask(ctx context.Context, r *route, body []byte) (contentType string, answer []byte, err error) {
	id, err := newID()
	if err != nil {
		return "", nil, err
	}
	if d.sending != nil {
		return d.askThrough(ctx, r, id, body)
	}
	return d.roundTrip(ctx, r, id, body, nil)
}

// roundTrip sends an encoded question and returns the encoded answer. attributes are those that have come through the send
// middleware, or nil.
func (d *Dispatcher) roundTrip(ctx context.Context, r *route, id string, body []byte, attributes map[string]string) (contentType string, answer []byte, err error) {
	if len(body) > maxCallBody {
		return "", nil, fmt.Errorf("%w: the question has %d bytes and a call takes %d at most; store it and send where it is, nothing was sent", ErrTooLarge, len(body), maxCallBody)
	}
	if !d.outbound.enter() {
		return "", nil, fmt.Errorf("%w, nothing was sent; request before Close or Shutdown", ErrClosed)
	}
	defer d.outbound.leave()
	c := d.calls[r]
	header := make(http.Header, 12) // with room for the two that carry the token, and for the timeout
	if attributes == nil {
		d.setHeader(ctx, header, r, id)
	}
	for name, value := range attributes {
		header.Set(name, value)
	}
	request := (&http.Request{
		Method:        http.MethodPost,
		URL:           c.url,
		Host:          c.url.Host,
		Header:        header,
		ContentLength: int64(len(body)),
		Body:          io.NopCloser(bytes.NewReader(body)),
		GetBody:       func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil },
	}).WithContext(ctx)
	if r.retry != nil { // the declaration says that the call may be repeated
		request = request.WithContext(wsync.WithIdempotent(ctx))
	}
	response, err := c.client.Do(request)
	if err != nil {
		return "", nil, err
	}
	defer response.Body.Close()
	if err := wsync.ReadError(response); err != nil {
		return "", nil, err
	}
	if response.StatusCode != http.StatusOK {
		return "", nil, fmt.Errorf("the answer %s is no reply of Waybill's; look at what is between the two services", response.Status)
	}
	answer, err = readAll(response)
	if err != nil {
		return "", nil, fmt.Errorf("%w: reading the answer: %w", ErrAmbiguous, err)
	}
	return response.Header.Get("Content-Type"), answer, nil
}

// setHeader is [Dispatcher.attributes] for a call, written as HTTP headers at once.
func (d *Dispatcher) setHeader(ctx context.Context, h http.Header, r *route, id string) {
	h["Ce-Id"] = []string{id}
	h["Ce-Source"] = []string{d.source}
	h["Ce-Type"] = []string{r.ceType}
	h["Ce-Specversion"] = []string{specVersion}
	h["Ce-Time"] = []string{d.now().UTC().Format(time.RFC3339Nano)}
	h["Content-Type"] = []string{r.codec.ContentType()}
	if r.schema != nil && r.schema.current > 1 {
		h[headerDataSchema] = []string{r.dataSchema()}
	}
	injectTrace(ctx, propagation.HeaderCarrier(h))
}

var errAnswerTooLarge = errors.New("it is larger than a call may be; return less, or where it is stored")

// readAll reads an answer of bounded size into a buffer of the announced one.
func readAll(response *http.Response) ([]byte, error) {
	if response.ContentLength > maxCallBody {
		return nil, errAnswerTooLarge
	}
	var b bytes.Buffer
	if response.ContentLength > 0 {
		b.Grow(int(response.ContentLength) + bytes.MinRead)
	}
	n, err := b.ReadFrom(io.LimitReader(response.Body, maxCallBody+1))
	if err != nil {
		return nil, err
	}
	if n > maxCallBody {
		return nil, errAnswerTooLarge
	}
	return b.Bytes(), nil
}
