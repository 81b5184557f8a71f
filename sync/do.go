package sync

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v4"
	"waybill.dev/internal/endpoint"
	"waybill.dev/internal/retry"
)

// Do sends the request with an ID token and returns the receiver's answer,
// whatever its status but a redirect ([ErrRedirect]); [ReadError] tells good
// from bad. The caller closes its body. The request's URL must be of the
// client's origin. The request is not changed, but its body is read and closed.
//
// The package's documentation says what is repeated. When the attempts are used
// up the last answer is returned as it is, or the last error, which wraps
// [ErrAmbiguous] if any attempt may have been acted on.
func (c *Client) Do(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	if err := c.check(r); err != nil {
		closeBody(r)
		return nil, err
	}
	e := exchange{
		client:     c,
		request:    r,
		schedule:   retry.New(ctx, c.limits),
		idempotent: idempotent(r),
		replayable: r.Body == nil || r.Body == http.NoBody || r.GetBody != nil,
	}
	resp, err := backoff.RetryNotifyWithData(e.attempt, e.schedule, e.discard)
	switch {
	case err == nil:
		return resp, nil
	case errors.Is(err, errRepeat): // no attempt is left: the answer is the caller's
		if e.schedule.OverBudget() {
			resp.Body = &overBudget{resp.Body}
		}
		return resp, nil
	}
	e.discard(nil, 0)
	if e.last != nil && !errors.Is(err, e.last) {
		// The context ended during a wait.
		err = fmt.Errorf("%w (after %w)", err, e.last)
	}
	if e.schedule.OverBudget() {
		err = fmt.Errorf("%w (%w)", err, ErrRetryBudget)
	}
	if e.ambiguous {
		err = &ambiguousError{err}
	}
	return nil, fmt.Errorf("sync: %s %s: %w", method(r), place(r.URL), err)
}

// check refuses, before a token is minted, what must not get one.
func (c *Client) check(r *http.Request) error {
	switch {
	case r.Context().Err() != nil:
		return fmt.Errorf("sync: nothing was sent, the context had ended: %w", context.Cause(r.Context()))
	case r.URL == nil:
		return errors.New("sync: the request has no URL")
	case !endpoint.SameOrigin(r.URL, c.origin):
		return fmt.Errorf("sync: the request goes to %s, and this client sends its tokens to %s://%s only: use a client of that service", place(r.URL), c.origin.Scheme, c.origin.Host)
	case r.Host != "" && !endpoint.SameHost(c.origin.Scheme, r.Host, c.origin.Host):
		// Behind a shared front end the Host header says who gets the token.
		return fmt.Errorf("sync: the request's Host is %q, and this client sends its tokens to %s only: leave it empty", r.Host, c.origin.Host)
	}
	return nil
}

// errRepeat marks an answer that may be repeated; it never leaves the package.
var errRepeat = errors.New("the answer asks to be repeated")

// overBudget is the body of an answer that would have been repeated, had there
// been a retry left. [ReadError] says so.
type overBudget struct{ io.ReadCloser }

// exchange is one Do over its attempts.
type exchange struct {
	client     *Client
	request    *http.Request
	schedule   *retry.Schedule
	idempotent bool
	replayable bool
	sent       bool           // the request's own body is used up
	ambiguous  bool           // an attempt may have been acted on
	answer     *http.Response // the last, if it may be repeated
	last       error          // why the last attempt was not enough
}

func (e *exchange) attempt() (*http.Response, error) {
	c := new(connecting)
	r, err := e.prepare(c)
	if err != nil {
		return nil, backoff.Permanent(err)
	}
	resp, err := e.client.transport.RoundTrip(r)
	if err != nil {
		e.last = err
		notSent := c.notSent(err)
		e.ambiguous = e.ambiguous || !notSent
		if !e.replayable || !e.mayRepeatError(err, notSent) {
			return nil, backoff.Permanent(err)
		}
		return nil, err
	}
	resp.Request = e.request // the attempt's own holds the token
	if isRedirect(resp.StatusCode) {
		discardBody(resp)
		return nil, backoff.Permanent(fmt.Errorf("%w: %s to %s: configure the final URL", ErrRedirect, resp.Status, location(resp)))
	}
	if !e.replayable || !e.mayRepeatStatus(resp) {
		return resp, nil
	}
	if wait, ok := retryAfter(resp.Header, time.Now()); ok {
		e.schedule.AtLeast(wait)
	}
	e.ambiguous = e.ambiguous || !notActedOn(resp)
	e.answer = resp
	e.last = fmt.Errorf("the answer %s", resp.Status)
	return resp, errRepeat
}

// prepare returns the attempt's request: the user's with a token of its own, followed by c.
func (e *exchange) prepare(c *connecting) (*http.Request, error) {
	user := e.request
	token, err := e.client.tokens.Token(user.Context(), e.client.audience)
	if err != nil {
		if !e.sent {
			closeBody(user)
		}
		return nil, fmt.Errorf("no ID token for %s: %w", e.client.audience, err)
	}
	r := user.WithContext(c.trace(user.Context()))
	if r.Header = maps.Clone(user.Header); r.Header == nil { // cheaper than filling a new map
		r.Header = make(http.Header, 2)
	}
	bearer := []string{"Bearer " + token}
	r.Header["Authorization"] = bearer
	r.Header["X-Serverless-Authorization"] = bearer
	setTimeout(user.Context(), r.Header)
	if e.sent && user.GetBody != nil {
		if r.Body, err = user.GetBody(); err != nil {
			return nil, fmt.Errorf("the body cannot be sent again: %w", err)
		}
	}
	e.sent = true
	return r, nil
}

// discard makes the connection of an answer that will be repeated free again.
func (e *exchange) discard(error, time.Duration) {
	if e.answer != nil {
		discardBody(e.answer)
		e.answer = nil
	}
}

func (e *exchange) mayRepeatError(err error, notSent bool) bool {
	if e.request.Context().Err() != nil {
		return false
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return false
	}
	return e.idempotent || notSent
}

func (e *exchange) mayRepeatStatus(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable,
		http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout:
		return e.idempotent || notActedOn(resp)
	default:
		return false
	}
}

// notActedOn reports that the answer promises so.
func notActedOn(resp *http.Response) bool {
	return resp.StatusCode == http.StatusTooManyRequests ||
		resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get(RetryHeader) == RetrySafe
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// retryAfter reads the header's seconds or date, as the time to wait from now.
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	value := h.Get("Retry-After")
	if value == "" {
		return 0, false
	}
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(now), 0), true
	}
	return 0, false
}

// discardBody reads what is left of a short body, so that its connection can be
// used again, and closes it.
func discardBody(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, maxErrorBody)
	_ = resp.Body.Close()
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
}

func method(r *http.Request) string {
	if r.Method == "" {
		return http.MethodGet
	}
	return r.Method
}

// place is a URL without what may be secret in it: user information, query and fragment.
func place(u *url.URL) string {
	return u.Scheme + "://" + u.Host + u.EscapedPath()
}

func location(resp *http.Response) string {
	u, err := resp.Location()
	if err != nil {
		return "nowhere"
	}
	return place(u)
}
