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
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"sync/atomic"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"waybill.dev/emulator/internal/deliverylog"
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

	log *deliverylog.Log
}

// New returns an Endpoint. The configuration must not change any more.
func New(c Config) *Endpoint {
	return &Endpoint{Config: c, log: deliverylog.New(c.Logger, slog.String("subscription", c.Subscription))}
}

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

			MaxResponseHeaderBytes: maxHeaderBytes,
		}
	}
	client.Timeout = 0
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client
}

// Post sends one request and returns nil if the answer acknowledges: exactly 102, 200, 201, 202
// and 204 do. It returns a [Refusal] for any other answer, and another error if there was none.
// The header becomes the request's, except that only the Signer sets its Authorization. The
// message's ID is only for the log.
func (e *Endpoint) Post(ctx context.Context, messageID string, header http.Header, body []byte) error {
	err := e.post(ctx, header, body)
	url, id := e.Push.GetPushEndpoint(), slog.String("message_id", messageID)
	refusal, refused := errors.AsType[*Refusal](err)
	switch {
	case err == nil:
		e.log.Succeeded(ctx, url, id)
	case errors.Is(ctx.Err(), context.Canceled): // given up by the caller
	case refused:
		e.log.Refused(ctx, url, refusal.Status, refusal.Reason, id)
	default:
		e.log.Failed(ctx, url, err.Error(), id)
	}
	return err
}

func (e *Endpoint) post(ctx context.Context, header http.Header, body []byte) error {
	// The hook runs on the connection's goroutine, which may outlive the request.
	var processing atomic.Bool // a 102 came: it acknowledges, whatever follows
	var informational atomic.Int32
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
			if code == http.StatusProcessing {
				processing.Store(true)
			}
			if informational.Add(1) > maxInformational {
				return errors.New("the receiver sends informational answers without end")
			}
			return nil
		},
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.Push.GetPushEndpoint(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("the target is not a URL: %w", deliverylog.Unanswered(err))
	}
	req.Header = header
	if err := e.authorize(header); err != nil {
		return err
	}
	resp, err := e.Client.Do(req)
	if err != nil {
		if processing.Load() {
			return nil
		}
		return unreachable(err)
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes)) // read so that the connection is used again
	if processing.Load() || acknowledges(resp.StatusCode) {
		return nil
	}
	return &Refusal{Status: resp.StatusCode, Reason: deliverylog.Reason(resp.StatusCode, resp.Header, answer)}
}

func acknowledges(status int) bool {
	switch status {
	case http.StatusProcessing, http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent:
		return true
	}
	return false
}

// Bounds on an answer, so that an endless one costs little.
const (
	maxInformational = 100      // answers below 200 before the final one
	maxHeaderBytes   = 64 << 10 // of Client's own transport
	maxAnswerBytes   = 64 << 10 // that are read of a body
)

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
	Reason string // the receiver's own word, if it has said one
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("the receiver answered %d: %s", r.Status, r.Reason)
}

// unreachable says why there was no answer.
func unreachable(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("no answer within the ack deadline")
	}
	return deliverylog.Unanswered(err)
}
