package cloudtasks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"

	"waybill.dev/emulator/internal/deliverylog"
	"waybill.dev/emulator/internal/faults"
)

const (
	defaultDeadline = 10 * time.Minute
	agent           = "Google-Cloud-Tasks"
	// maxDrain is how much of an answer is read, so that the connection can be used again.
	maxDrain = 256 << 10
)

// deliver makes the attempt's request and waits for its answer, within the task's deadline.
func (e *Engine) deliver(ctx context.Context, log *deliverylog.Log, a *attempt) result {
	deadline := defaultDeadline
	if d := a.spec.GetDispatchDeadline(); d != nil {
		deadline = d.AsDuration()
	}
	ctx, cancel := context.WithTimeout(faults.WithSource(ctx, parentOf(a.spec.GetName())), deadline)
	defer cancel()

	request, err := e.newRequest(ctx, a)
	if err != nil {
		log.Failed(ctx, a.spec.GetHttpRequest().GetUrl(), err.Error(), slog.String("task", a.task.id))
		return result{status: http.StatusServiceUnavailable}
	}
	r, reason := e.exchange(request, a.spec.GetAppEngineHttpRequest() != nil)
	url := request.URL.String()
	id := slog.String("task", a.task.id)
	switch {
	case r.ok():
		log.Succeeded(ctx, url, id)
	case r.answered: // also if the time ran out just then
		log.Refused(ctx, url, r.status, reason, id)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		r = result{status: http.StatusGatewayTimeout}
		log.Failed(ctx, url, fmt.Sprintf("no answer within the dispatch deadline of %v", deadline), id)
	case ctx.Err() == nil: // else it was broken off by Reset or Close
		log.Failed(ctx, url, reason, id)
	}
	return r
}

// exchange returns the answer, and why it is not a success.
func (e *Engine) exchange(request *http.Request, appEngine bool) (result, string) {
	none := result{status: http.StatusServiceUnavailable, appEngine: appEngine}
	client := &e.client
	if e.config.FollowRedirects && !appEngine {
		client = &e.follower
	}
	response, err := client.Do(request)
	if err != nil {
		return none, deliverylog.Unanswered(err).Error()
	}
	defer func() { _ = response.Body.Close() }() // read to its end, or of no more use

	start, err := io.ReadAll(io.LimitReader(response.Body, deliverylog.AnswerBytes))
	if err == nil {
		_, err = io.CopyN(io.Discard, response.Body, maxDrain)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return none, "the answer broke off: " + deliverylog.Unanswered(err).Error()
	}
	return result{
		status:     response.StatusCode,
		answered:   true,
		appEngine:  appEngine,
		retryAfter: parseRetryAfter(response.Header.Get("Retry-After"), time.Now()),
	}, deliverylog.Reason(response.StatusCode, response.Header, start)
}

func (e *Engine) newRequest(ctx context.Context, a *attempt) (*http.Request, error) {
	if a.spec.GetAppEngineHttpRequest() != nil {
		return e.newAppEngineRequest(ctx, a)
	}
	target, err := outgoing(a.spec.GetHttpRequest(), a.queue.GetHttpTarget())
	if err != nil {
		return nil, fmt.Errorf("the target is not a URL: %w", deliverylog.Unanswered(err))
	}
	request, err := http.NewRequestWithContext(ctx, target.GetHttpMethod().String(), encodeURL(target.GetUrl()), bytes.NewReader(target.GetBody()))
	if err != nil {
		return nil, fmt.Errorf("the target is not a URL: %w", deliverylog.Unanswered(err))
	}
	for name, value := range target.GetHeaders() {
		if !reserved(name) {
			request.Header.Set(name, value)
		}
	}
	if err := e.authorize(request, target); err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", agent)
	setDeliveryHeaders(request.Header, "X-CloudTasks-", "", a)
	return request, nil
}

func (e *Engine) authorize(request *http.Request, target *cloudtaskspb.HttpRequest) error {
	var bearer string
	var err error
	switch {
	case target.GetOidcToken() != nil:
		audience := target.GetOidcToken().GetAudience()
		if audience == "" {
			audience = target.GetUrl()
		}
		bearer, err = e.config.Signer.IDToken(target.GetOidcToken().GetServiceAccountEmail(), audience)
	case target.GetOauthToken() != nil:
		bearer, err = e.config.Signer.AccessToken(target.GetOauthToken().GetServiceAccountEmail())
	default:
		return nil
	}
	if err != nil {
		return fmt.Errorf("no token: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+bearer)
	return nil
}

// setDeliveryHeaders writes the names with the documented capitals, which Go's canonical form is not. The reason of a
// retry is what was recorded from the real service: nothing for an HTTP target, "App Error" for App Engine.
func setDeliveryHeaders(h http.Header, prefix, reason string, a *attempt) {
	queueID, taskID := shortNames(a.spec.GetName())
	h[prefix+"QueueName"] = []string{queueID}
	h[prefix+"TaskName"] = []string{taskID}
	h[prefix+"TaskRetryCount"] = []string{strconv.Itoa(int(a.retries))}
	h[prefix+"TaskExecutionCount"] = []string{strconv.Itoa(int(a.executions))}
	micros := a.schedule.UnixMicro()
	h[prefix+"TaskETA"] = []string{fmt.Sprintf("%d.%06d", micros/1e6, micros%1e6)}
	if a.retries > 0 {
		if a.previous != 0 { // else the attempt before is still in flight
			h[prefix+"TaskPreviousResponse"] = []string{strconv.Itoa(a.previous)}
		}
		h[prefix+"TaskRetryReason"] = []string{reason}
	}
}

// reserved tells the headers of a task that the service ignores or sets itself.
func reserved(name string) bool {
	switch name = textproto.CanonicalMIMEHeaderKey(name); name {
	case "Host", "Content-Length", "User-Agent",
		"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return strings.HasPrefix(name, "X-Google-") ||
		strings.HasPrefix(name, "X-Appengine-") ||
		strings.HasPrefix(name, "X-Cloudtasks-")
}

// parseRetryAfter reads seconds or a date; 0 for neither.
func parseRetryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(date.Sub(now), 0)
	}
	return 0
}
