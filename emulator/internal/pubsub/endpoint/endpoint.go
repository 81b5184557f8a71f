// Package endpoint posts to push receivers: it signs, decides what an answer means, and logs what
// goes wrong once per reason. It knows nothing of messages and subscriptions but their names.
package endpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
)

// Signer issues ID tokens.
type Signer interface {
	// IDToken returns a token of that service account for that audience, valid for an hour.
	IDToken(account, audience string) (string, error)
}

// Config configures an Endpoint. Everything but Signer is required.
type Config struct {
	Subscription string // only for the log
	Push         *pubsubpb.PushConfig
	Signer       Signer // nil: pushes that ask for a token fail
	Client       *http.Client
	Logger       *slog.Logger
}

// Endpoint is the receiver of one subscription. It is safe for concurrent use.
type Endpoint struct {
	Config

	tokenMu sync.Mutex
	token   string
	until   time.Time // on the wall clock

	reports Reports
}

// New returns an Endpoint. The configuration must not change any more.
func New(c Config) *Endpoint { return &Endpoint{Config: c} }

// Client returns a copy of c that is fit for pushes: it follows no redirects and has no timeout of
// its own. A client without a transport, or nil, gets one that keeps idle connections, which the
// caller is to close.
func Client(c *http.Client, idle int) *http.Client {
	client := http.Client{}
	if c != nil {
		client = *c
	}
	if client.Transport == nil {
		client.Transport = &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			MaxIdleConnsPerHost: idle,
			IdleConnTimeout:     90 * time.Second,
		}
	}
	client.Timeout = 0
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client
}

// Post sends one request and returns nil if the answer acknowledges: exactly 102, 200, 201, 202
// and 204 do. It returns a [Refusal] for any other answer, and another error if there was none.
// The header becomes the request's, except that only the Signer sets its Authorization.
func (e *Endpoint) Post(ctx context.Context, header http.Header, body []byte) error {
	err := e.post(ctx, header, body)
	switch {
	case err == nil:
		e.reports.Clear()
	case errors.Is(ctx.Err(), context.Canceled): // given up by the caller
	case e.reports.First(reasonKey(err)):
		e.Logger.Warn("push not acknowledged",
			slog.String("subscription", e.Subscription),
			slog.String("endpoint", show(e.Push.GetPushEndpoint())),
			slog.Any("reason", err))
	}
	return err
}

func (e *Endpoint) post(ctx context.Context, header http.Header, body []byte) error {
	processing := false // a 102 came: it acknowledges, whatever follows
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
			processing = processing || code == http.StatusProcessing
			return nil
		},
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.Push.GetPushEndpoint(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header = header
	if err := e.authorize(header); err != nil {
		return err
	}
	resp, err := e.Client.Do(req)
	if err != nil {
		if processing {
			return nil
		}
		return unreachable(err)
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // read so that the connection is used again
	if processing || acknowledges(resp.StatusCode) {
		return nil
	}
	return &Refusal{Status: resp.StatusCode, answer: excerpt(resp.Header, answer)}
}

func acknowledges(status int) bool {
	switch status {
	case http.StatusProcessing, http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent:
		return true
	}
	return false
}

// tokenLife is how long a token is used. It is far below the hour for which it is valid, and
// makes signing cheap.
const tokenLife = time.Minute

// authorize sets the Authorization header that the push configuration asks for, and no other.
func (e *Endpoint) authorize(header http.Header) error {
	header.Del("Authorization")
	oidc := e.Push.GetOidcToken()
	if oidc == nil {
		return nil
	}
	if e.Signer == nil {
		return errors.New("the subscription asks for an ID token, but there is no signer")
	}
	e.tokenMu.Lock()
	defer e.tokenMu.Unlock()
	if !time.Now().Before(e.until) {
		audience := oidc.GetAudience()
		if audience == "" {
			audience = e.Push.GetPushEndpoint()
		}
		token, err := e.Signer.IDToken(oidc.GetServiceAccountEmail(), audience)
		if err != nil {
			return fmt.Errorf("signing the ID token: %w", err)
		}
		e.token, e.until = token, time.Now().Add(tokenLife)
	}
	header.Set("Authorization", "Bearer "+e.token)
	return nil
}

// Refusal is an answer with a status that does not acknowledge.
type Refusal struct {
	Status int
	answer string // the first line of a plain text body
}

func (r *Refusal) Error() string {
	s := fmt.Sprintf("the receiver answered %d %s", r.Status, http.StatusText(r.Status))
	if r.Status >= 300 && r.Status < 400 {
		s += " (redirects are not followed)"
	}
	if r.answer != "" {
		s += ": " + r.answer
	}
	return s
}

// reasonKey is what makes two failures the same in the log.
func reasonKey(err error) string {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return fmt.Sprint(r.Status)
	}
	return err.Error()
}

// excerpt is the first line of an answer, if it is text that a receiver wrote to be read.
func excerpt(h http.Header, body []byte) string {
	if !strings.HasPrefix(h.Get("Content-Type"), "text/plain") || h.Get("Content-Encoding") != "" {
		return ""
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	const most = 200
	if len(line) > most {
		line = strings.ToValidUTF8(line[:most], "") + "..."
	}
	return line
}

// unreachable says why there was no answer, without what differs from try to try (ports) or is
// secret (the endpoint's query).
func unreachable(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("no answer within the ack deadline")
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return fmt.Errorf("%s: %w", op.Op, op.Err)
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// show leaves out the parts of a URL in which people keep secrets.
func show(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// Reports remembers which reasons of failure have been logged since the last success. The zero
// value is ready, and safe for concurrent use.
type Reports struct {
	mu   sync.Mutex
	seen map[string]bool
}

// First reports whether reason is new.
func (r *Reports) First(reason string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[reason] {
		return false
	}
	if r.seen == nil {
		r.seen = make(map[string]bool)
	}
	r.seen[reason] = true
	return true
}

// Clear forgets all reasons: the next failure is news again.
func (r *Reports) Clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.seen)
}
