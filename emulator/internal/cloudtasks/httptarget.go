package cloudtasks

import (
	"maps"
	"net/url"
	"strings"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"golang.org/x/net/http/httpguts"
)

// completeHTTPTarget checks what a queue changes in the requests of its tasks. A token of which nothing is left, as a
// mask can make one, is none.
func (e *Engine) completeHTTPTarget(t *cloudtaskspb.HttpTarget, queue string) error {
	if err := checkOverride(t.GetUriOverride()); err != nil {
		return err
	}
	if _, known := cloudtaskspb.HttpMethod_name[int32(t.GetHttpMethod())]; !known {
		return invalid("queue.http_target.http_method", "Queue.httpTarget.httpMethod %d is unknown.", t.GetHttpMethod())
	}
	size := 0
	for _, override := range t.GetHeaderOverrides() {
		key, value := override.GetHeader().GetKey(), override.GetHeader().GetValue()
		size += len(key) + len(value)
		if !httpguts.ValidHeaderFieldName(key) || !httpguts.ValidHeaderFieldValue(value) {
			return invalid("queue.http_target.header_overrides", "Queue.httpTarget.headerOverrides has a key or a value that HTTP does not allow.")
		}
	}
	if size >= maxHeaderBytes {
		return invalid("queue.http_target.header_overrides", "Queue.httpTarget.headerOverrides must have less than 80KB.")
	}
	oidc, oauth := t.GetOidcToken(), t.GetOauthToken()
	if oidc != nil && oidc.GetServiceAccountEmail() == "" && oidc.GetAudience() == "" ||
		oauth != nil && oauth.GetServiceAccountEmail() == "" && oauth.GetScope() == "" {
		t.AuthorizationHeader = nil
		return nil
	}
	if oidc != nil {
		return e.checkQueueToken("queue.http_target.oidc_token", "audience", queue, oidc.GetServiceAccountEmail(), oidc.GetAudience())
	}
	if oauth != nil {
		return e.checkQueueToken("queue.http_target.oauth_token", "scope", queue, oauth.GetServiceAccountEmail(), oauth.GetScope())
	}
	return nil
}

// checkQueueToken demands both parts of a queue's token. The sentence about the account is the real service's, as
// gcloud's source quotes it.
func (e *Engine) checkQueueToken(field, part, queue, account, value string) error {
	if account == "" {
		return invalid(field+".service_account_email", "service_account_email must be set.")
	}
	if value == "" {
		return invalid(field+"."+part, "%s must be set.", part)
	}
	return e.checkAccount(field+".service_account_email", queue, account)
}

func checkOverride(o *cloudtaskspb.UriOverride) error {
	const field = "queue.http_target.uri_override"
	if _, known := cloudtaskspb.UriOverride_Scheme_name[int32(o.GetScheme())]; !known {
		return invalid(field+".scheme", "Queue.httpTarget.uriOverride.scheme %d is unknown.", o.GetScheme())
	}
	if _, known := cloudtaskspb.UriOverride_UriOverrideEnforceMode_name[int32(o.GetUriOverrideEnforceMode())]; !known {
		return invalid(field+".uri_override_enforce_mode", "Queue.httpTarget.uriOverride.uriOverrideEnforceMode %d is unknown.", o.GetUriOverrideEnforceMode())
	}
	if o == nil {
		return nil
	}
	if o.Host != nil && !isHost(o.GetHost()) {
		return invalid(field+".host", "Queue.httpTarget.uriOverride.host must be a host name without scheme, port or path, and not empty.")
	}
	if o.GetPort() < 0 || o.GetPort() > 65535 {
		return invalid(field+".port", "Queue.httpTarget.uriOverride.port must be between 0, which clears it, and 65535.")
	}
	if len(escape(o.GetPathOverride().GetPath())) > maxURL {
		return invalid(field+".path_override.path", "Queue.httpTarget.uriOverride.pathOverride.path must have no more than %d characters.", maxURL)
	}
	if len(escape(o.GetQueryOverride().GetQueryParams())) > maxURL {
		return invalid(field+".query_override.query_params", "Queue.httpTarget.uriOverride.queryOverride.queryParams must have no more than %d characters.", maxURL)
	}
	return nil
}

// isHost takes a name or an address, IPv6 with or without its brackets.
func isHost(host string) bool {
	bare := strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	u, err := url.Parse("http://" + joinPort(host, "") + "/")
	return err == nil && bare != "" && u.Hostname() == bare && u.Port() == "" && u.User == nil && u.Path == "/"
}

// outgoing is a task's request as its queue changes it. Without changes it is the task's own message; it is never
// changed afterwards.
func outgoing(task *cloudtaskspb.HttpRequest, queue *cloudtaskspb.HttpTarget) (*cloudtaskspb.HttpRequest, error) {
	if queue == nil {
		return task, nil
	}
	changed := &cloudtaskspb.HttpRequest{
		HttpMethod:          task.GetHttpMethod(),
		Headers:             task.GetHeaders(),
		Body:                task.GetBody(),
		AuthorizationHeader: task.GetAuthorizationHeader(),
	}
	var err error
	if changed.Url, err = overrideURL(task.GetUrl(), queue.GetUriOverride()); err != nil {
		return nil, err
	}
	if queue.GetHttpMethod() != cloudtaskspb.HttpMethod_HTTP_METHOD_UNSPECIFIED {
		changed.HttpMethod = queue.GetHttpMethod()
		if !mayHaveBody(changed.HttpMethod) {
			changed.Body = nil
		}
	}
	if overrides := queue.GetHeaderOverrides(); len(overrides) > 0 {
		changed.Headers = make(map[string]string, len(task.GetHeaders())+len(overrides))
		maps.Copy(changed.Headers, task.GetHeaders())
		for _, o := range overrides {
			deleteFold(changed.Headers, o.GetHeader().GetKey())
			changed.Headers[o.GetHeader().GetKey()] = o.GetHeader().GetValue()
		}
	}
	switch token := queue.GetAuthorizationHeader().(type) {
	case *cloudtaskspb.HttpTarget_OidcToken:
		changed.AuthorizationHeader = &cloudtaskspb.HttpRequest_OidcToken{OidcToken: token.OidcToken}
	case *cloudtaskspb.HttpTarget_OauthToken:
		changed.AuthorizationHeader = &cloudtaskspb.HttpRequest_OauthToken{OauthToken: token.OauthToken}
	}
	return changed, nil
}

// deleteFold deletes every spelling of a header's name.
func deleteFold(headers map[string]string, name string) {
	for have := range headers {
		if strings.EqualFold(have, name) {
			delete(headers, have)
		}
	}
}

// headerOf finds a header by any spelling of its name.
func headerOf(headers map[string]string, name string) (string, bool) {
	for have, value := range headers {
		if strings.EqualFold(have, name) {
			return value, true
		}
	}
	return "", false
}

func mayHaveBody(m cloudtaskspb.HttpMethod) bool {
	switch m {
	case cloudtaskspb.HttpMethod_POST, cloudtaskspb.HttpMethod_PUT, cloudtaskspb.HttpMethod_PATCH:
		return true
	default:
		return false
	}
}
