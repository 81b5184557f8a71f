package cloudtasks

import (
	"net/url"
	"strings"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"golang.org/x/net/http/httpguts"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	maxAhead       = 720 * time.Hour
	minDeadline    = 15 * time.Second
	maxDeadline    = 30 * time.Minute
	maxURL         = 2083
	maxHeaderBytes = 80 << 10
	maxTask        = 1_048_569
)

// newSpec checks a task as a client sent it, name apart, and returns the copy to keep.
func newSpec(sent *cloudtaskspb.Task, now time.Time) (*cloudtaskspb.Task, error) {
	t := proto.CloneOf(sent)
	switch {
	case t.GetAppEngineHttpRequest() != nil:
		return nil, missing("App Engine targets", "use an HTTP target")
	case t.GetHttpRequest() == nil:
		return nil, invalid("Task.httpRequest is required.")
	}
	if err := checkRequest(t.GetHttpRequest()); err != nil {
		return nil, err
	}
	if t.DispatchDeadline != nil {
		d := t.DispatchDeadline.AsDuration()
		if t.DispatchDeadline.CheckValid() != nil || d < minDeadline || d > maxDeadline {
			return nil, invalid("Task.dispatchDeadline must be between [15s, 30m].")
		}
		t.DispatchDeadline = durationpb.New(d.Truncate(time.Millisecond))
	}
	due := now
	if t.ScheduleTime != nil {
		if err := t.ScheduleTime.CheckValid(); err != nil {
			return nil, invalid("Task.scheduleTime is not a timestamp.")
		}
		due = t.ScheduleTime.AsTime()
	}
	if due.Sub(now) > maxAhead {
		return nil, invalid("Task.scheduleTime must be no more than 720h in the future.")
	}
	if due.Before(now) {
		due = now
	}
	if t.RetryConfig != nil {
		withDefaultDoublings(t.RetryConfig)
		if err := completeRetry("Task.retryConfig", t.RetryConfig); err != nil {
			return nil, err
		}
	}
	t.ScheduleTime = microseconds(due)
	t.CreateTime = timestamppb.New(now.Truncate(time.Second))
	t.DispatchCount, t.ResponseCount, t.FirstAttempt, t.LastAttempt = 0, 0, nil, nil
	t.View = cloudtaskspb.Task_VIEW_UNSPECIFIED
	if proto.Size(t) > maxTask {
		return nil, invalid("Task size too large")
	}
	return t, nil
}

// checkRequest fills in the method. A URL that Go cannot parse is accepted, as by the real service, unless
// it has no host at all.
func checkRequest(r *cloudtaskspb.HttpRequest) error {
	switch target := r.GetUrl(); {
	case target == "":
		return invalid("HttpRequest.url is required.")
	case !strings.HasPrefix(target, "http://") && !strings.HasPrefix(target, "https://"):
		return invalid("HttpTarget.url must start with 'http://' or 'https://'.")
	case len(target) > maxURL:
		return invalid("HttpRequest.url must have no more than %d characters.", maxURL)
	default:
		if u, err := url.Parse(target); err == nil && u.Host == "" {
			return invalid("HttpRequest.url must have a host.")
		}
	}
	if r.HttpMethod == cloudtaskspb.HttpMethod_HTTP_METHOD_UNSPECIFIED {
		r.HttpMethod = cloudtaskspb.HttpMethod_POST
	}
	switch r.HttpMethod {
	case cloudtaskspb.HttpMethod_POST, cloudtaskspb.HttpMethod_PUT, cloudtaskspb.HttpMethod_PATCH:
	case cloudtaskspb.HttpMethod_GET, cloudtaskspb.HttpMethod_HEAD, cloudtaskspb.HttpMethod_DELETE, cloudtaskspb.HttpMethod_OPTIONS:
		if len(r.GetBody()) > 0 {
			return invalid("HttpRequest.body is allowed with POST, PUT and PATCH only.")
		}
	default:
		return invalid("HttpRequest.httpMethod %d is unknown.", r.HttpMethod)
	}
	size := 0
	for name, value := range r.GetHeaders() {
		size += len(name) + len(value)
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return invalid("HttpRequest.headers has a name or a value that HTTP does not allow.")
		}
	}
	if size >= maxHeaderBytes {
		return invalid("HttpRequest.headers must have less than 80KB.")
	}
	return checkAuthorization(r)
}

func checkAuthorization(r *cloudtaskspb.HttpRequest) error {
	if t := r.GetOidcToken(); t != nil && !strings.Contains(t.GetServiceAccountEmail(), "@") {
		return invalid("HttpRequest.oidcToken.serviceAccountEmail must be a service account's email address.")
	}
	if t := r.GetOauthToken(); t != nil && !strings.Contains(t.GetServiceAccountEmail(), "@") {
		return invalid("HttpRequest.oauthToken.serviceAccountEmail must be a service account's email address.")
	}
	return nil
}
