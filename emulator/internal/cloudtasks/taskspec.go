package cloudtasks

import (
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

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

	// longestID is how much a name that the service makes up can add to a task's size.
	longestID = 20
)

// newSpec checks a task for a queue as a client sent it, and returns the copy to keep. Whether the name is free, is
// another question.
func (e *Engine) newSpec(queue string, sent *cloudtaskspb.Task, now time.Time) (*cloudtaskspb.Task, error) {
	t := proto.CloneOf(sent)
	if t == nil {
		t = &cloudtaskspb.Task{}
	}
	if err := e.checkTarget(queue, t); err != nil {
		return nil, err
	}
	if err := completeDeadline(t); err != nil {
		return nil, err
	}
	if err := completeSchedule(t, now); err != nil {
		return nil, err
	}
	if t.RetryConfig != nil {
		withDefaultDoublings(t.RetryConfig)
		if err := completeRetry("task.retry_config", t.RetryConfig); err != nil {
			return nil, err
		}
	}
	t.CreateTime = timestamppb.New(now.Truncate(time.Second))
	t.DispatchCount, t.ResponseCount, t.FirstAttempt, t.LastAttempt = 0, 0, nil, nil
	t.View = cloudtaskspb.Task_VIEW_UNSPECIFIED
	size := storedSize(t)
	if t.GetName() == "" {
		size += len(queue) + len("/tasks/") + longestID
	}
	if size > maxTask {
		return nil, refused("Task size too large")
	}
	return t, nil
}

func (e *Engine) checkTarget(queue string, t *cloudtaskspb.Task) error {
	switch target := t.GetMessageType().(type) {
	case *cloudtaskspb.Task_HttpRequest:
		if target.HttpRequest == nil {
			target.HttpRequest = &cloudtaskspb.HttpRequest{}
		}
		return e.checkRequest(queue, target.HttpRequest)
	case *cloudtaskspb.Task_AppEngineHttpRequest:
		if target.AppEngineHttpRequest == nil {
			target.AppEngineHttpRequest = &cloudtaskspb.AppEngineHttpRequest{}
		}
		return e.completeAppEngine(queue, target.AppEngineHttpRequest)
	default:
		return invalid("task.http_request", "Task.httpRequest is required.")
	}
}

// completeDeadline leaves out App Engine's default, which depends on the application; zero asks for it.
func completeDeadline(t *cloudtaskspb.Task) error {
	if t.DispatchDeadline == nil {
		return nil
	}
	d := t.DispatchDeadline.AsDuration()
	valid := t.DispatchDeadline.CheckValid() == nil
	if t.GetAppEngineHttpRequest() == nil {
		if !valid || d < minDeadline || d > maxDeadline {
			return refused("Task.dispatchDeadline must be between [15s, 30m].")
		}
	} else if valid && d == 0 {
		t.DispatchDeadline = nil
		return nil
	} else if !valid || d < minDeadline || d > maxAppEngineDeadline {
		return refused("Task.dispatchDeadline must be between [15s, 24h15s].")
	}
	t.DispatchDeadline = durationpb.New(d.Truncate(time.Millisecond))
	return nil
}

func completeSchedule(t *cloudtaskspb.Task, now time.Time) error {
	due := now
	if t.ScheduleTime != nil {
		if err := t.ScheduleTime.CheckValid(); err != nil {
			return invalid("task.schedule_time", "Task.scheduleTime is not a timestamp.")
		}
		due = t.ScheduleTime.AsTime()
	}
	if due.Sub(now) > maxAhead {
		return refused("The Task.scheduleTime, %s, is too far in the future. Schedule time must be no more than 720h in the future.", inCalifornia(due))
	}
	if due.Before(now) {
		due = now
	}
	t.ScheduleTime = microseconds(due)
	return nil
}

// inCalifornia writes a time as the real service does in its errors. Without a time zone database it is UTC.
func inCalifornia(t time.Time) string {
	if zone, err := time.LoadLocation("America/Los_Angeles"); err == nil {
		t = t.In(zone)
	}
	return t.Format(time.RFC3339)
}

// checkRequest fills in the method. A URL with a bad escape is accepted, as by the real service; [encodeURL] mends it.
func (e *Engine) checkRequest(queue string, r *cloudtaskspb.HttpRequest) error {
	switch target := r.GetUrl(); {
	case target == "":
		return refused("HttpRequest.url is required.")
	case !strings.HasPrefix(target, "http://") && !strings.HasPrefix(target, "https://"):
		return refused("HttpTarget.url must start with 'http://' or 'https://'.")
	case len(encodeURL(target)) > maxURL:
		return invalid("task.http_request.url", "HttpRequest.url must have no more than %d characters after encoding.", maxURL)
	default:
		if u, err := url.Parse(encodeURL(target)); err != nil || u.Host == "" || !utf8.ValidString(target) {
			return invalid("task.http_request.url", "HttpRequest.url must have a valid host.")
		}
	}
	if r.HttpMethod == cloudtaskspb.HttpMethod_HTTP_METHOD_UNSPECIFIED {
		r.HttpMethod = cloudtaskspb.HttpMethod_POST
	}
	if _, known := cloudtaskspb.HttpMethod_name[int32(r.HttpMethod)]; !known {
		return invalid("task.http_request.http_method", "HttpRequest.httpMethod %d is unknown.", r.HttpMethod)
	}
	if len(r.GetBody()) > 0 && !mayHaveBody(r.HttpMethod) {
		return invalid("task.http_request.body", "HttpRequest.body is allowed with POST, PUT and PATCH only.")
	}
	if err := checkHeaders("task.http_request.headers", "HttpRequest.headers", r.GetHeaders()); err != nil {
		return err
	}
	size := 0
	for name, value := range r.GetHeaders() {
		size += len(name) + len(value)
	}
	if size >= maxHeaderBytes {
		return invalid("task.http_request.headers", "HttpRequest.headers must have less than 80KB.")
	}
	deleteFold(r.GetHeaders(), "User-Agent") // the service's own replaces it; see materialize
	return e.checkAuthorization(queue, r)
}

func checkHeaders(field, shown string, headers map[string]string) error {
	for name, value := range headers {
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return invalid(field, "%s has a name or a value that HTTP does not allow.", shown)
		}
	}
	return nil
}

func (e *Engine) checkAuthorization(queue string, r *cloudtaskspb.HttpRequest) error {
	var field, account string
	switch token := r.GetAuthorizationHeader().(type) {
	case *cloudtaskspb.HttpRequest_OidcToken:
		field, account = "task.http_request.oidc_token", token.OidcToken.GetServiceAccountEmail()
	case *cloudtaskspb.HttpRequest_OauthToken:
		field, account = "task.http_request.oauth_token", token.OauthToken.GetServiceAccountEmail()
	default:
		return nil
	}
	if e.config.StrictTokens && !strings.HasPrefix(r.GetUrl(), "https://") {
		return invalid("task.http_request.url", "HttpRequest.url must start with 'https://' for tasks with an authorization header.")
	}
	return e.checkAccount(field+".service_account_email", queue, account)
}

// checkAccount wants an email address, which is what the tokens can name. Whether the account exists and whether the
// caller may act as it, nothing here knows.
func (e *Engine) checkAccount(field, queue, account string) error {
	name, domain, found := strings.Cut(account, "@")
	unfit := func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"<>\/:?#@`, r) }
	if !found || name == "" || domain == "" || strings.ContainsFunc(name, unfit) || strings.ContainsFunc(domain, unfit) {
		return invalid(field, "The service account must be an email address, as in NAME@PROJECT_ID.iam.gserviceaccount.com.")
	}
	project, own := strings.CutSuffix(domain, ".iam.gserviceaccount.com")
	if e.config.StrictTokens && own && project != projectOf(queue) {
		return invalid(field, "The service account must be within the queue's project %s.", projectOf(queue))
	}
	return nil
}
