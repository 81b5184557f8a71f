package cloudtasks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"waybill.dev/emulator/internal/deliverylog"
)

const (
	maxAppEngineDeadline = 24*time.Hour + 15*time.Second
	appEngineAgent       = "AppEngine-Google; (+http://code.google.com/appengine)"
)

var errNoAppEngine = status.Error(codes.FailedPrecondition,
	"The emulator does not know where the App Engine application listens: start it with --app-engine http://HOST:PORT (Config.AppEngine), or give the task an httpRequest.")

// completeAppEngine checks an App Engine request and fills in what the service does.
func (e *Engine) completeAppEngine(queue string, r *cloudtaskspb.AppEngineHttpRequest) error {
	const field = "task.app_engine_http_request"
	if r.HttpMethod == cloudtaskspb.HttpMethod_HTTP_METHOD_UNSPECIFIED {
		r.HttpMethod = cloudtaskspb.HttpMethod_POST
	}
	if _, known := cloudtaskspb.HttpMethod_name[int32(r.HttpMethod)]; !known {
		return invalid(field+".http_method", "AppEngineHttpRequest.httpMethod %d is unknown.", r.HttpMethod)
	}
	if len(r.GetBody()) > 0 && r.HttpMethod != cloudtaskspb.HttpMethod_POST && r.HttpMethod != cloudtaskspb.HttpMethod_PUT {
		return invalid(field+".body", "AppEngineHttpRequest.body is allowed with POST and PUT only.")
	}
	if r.RelativeUri == "" {
		r.RelativeUri = "/"
	}
	switch uri := r.GetRelativeUri(); {
	case !strings.HasPrefix(uri, "/"):
		return invalid(field+".relative_uri", "AppEngineHttpRequest.relativeUri must begin with '/'.")
	case strings.Contains(uri, " "):
		return invalid(field+".relative_uri", "AppEngineHttpRequest.relativeUri must not have spaces.")
	case len(uri) > maxURL:
		return invalid(field+".relative_uri", "AppEngineHttpRequest.relativeUri must have no more than %d characters.", maxURL)
	}
	if _, err := url.ParseRequestURI(r.GetRelativeUri()); err != nil {
		return invalid(field+".relative_uri", "AppEngineHttpRequest.relativeUri is not a valid relative URI.")
	}
	if err := checkHeaders(field+".headers", "AppEngineHttpRequest.headers", r.GetHeaders()); err != nil {
		return err
	}
	if r.AppEngineRouting == nil {
		r.AppEngineRouting = &cloudtaskspb.AppEngineRouting{}
	}
	if err := completeRouting(field+".app_engine_routing", queue, r.AppEngineRouting); err != nil {
		return err
	}
	if e.config.AppEngine == "" {
		return errNoAppEngine
	}
	return nil
}

// completeRouting sets the host: instance, version and service, those that are given, before the application's. New
// applications have a region in it, PROJECT.REGION.r.appspot.com; the proto's comment has the older form.
func completeRouting(field, queue string, r *cloudtaskspb.AppEngineRouting) error {
	host := projectOf(queue) + ".appspot.com"
	if domain, id, found := strings.Cut(projectOf(queue), ":"); found { // example.com:shop
		host = id + "." + domain + ".a.appspot.com"
	}
	for _, part := range []struct{ name, id string }{{"service", r.GetService()}, {"version", r.GetVersion()}, {"instance", r.GetInstance()}} {
		if part.id == "" {
			continue
		}
		if !isID(part.id, 100, "-") {
			return invalid(field+"."+part.name, "AppEngineRouting.%s can contain only letters ([A-Za-z]), numbers ([0-9]), or hyphens (-).", part.name)
		}
		host = part.id + "." + host
	}
	r.Host = host
	return nil
}

// newAppEngineRequest goes to the configured application. The host of the routing is in the Host header, where the
// application sees it in production too.
func (e *Engine) newAppEngineRequest(ctx context.Context, a *attempt) (*http.Request, error) {
	if e.config.AppEngine == "" { // the task is of an earlier life, which had one
		return nil, errors.New("no App Engine application is configured: start the emulator with --app-engine")
	}
	target := a.spec.GetAppEngineHttpRequest()
	address := strings.TrimSuffix(e.config.AppEngine, "/") + target.GetRelativeUri()
	request, err := http.NewRequestWithContext(ctx, target.GetHttpMethod().String(), address, bytes.NewReader(target.GetBody()))
	if err != nil {
		return nil, fmt.Errorf("the App Engine address is not a URL: %w", deliverylog.Unanswered(err))
	}
	routing := target.GetAppEngineRouting()
	if override := a.queue.GetAppEngineRoutingOverride(); override != nil {
		routing = override
	}
	request.Host = routing.GetHost()
	for name, value := range appEngineHeaders(target) {
		if canonical := textproto.CanonicalMIMEHeaderKey(name); !reserved(canonical) || canonical == "User-Agent" {
			request.Header.Set(name, value)
		}
	}
	setDeliveryHeaders(request.Header, "X-AppEngine-", "App Error", a)
	return request, nil
}

// appEngineHeaders are the headers of a request with those that the service adds at its creation.
func appEngineHeaders(r *cloudtaskspb.AppEngineHttpRequest) map[string]string {
	headers := make(map[string]string, len(r.GetHeaders())+3)
	maps.Copy(headers, r.GetHeaders())
	agent, given := headerOf(headers, "User-Agent")
	deleteFold(headers, "User-Agent")
	headers["User-Agent"] = appEngineAgent
	if given {
		headers["User-Agent"] = agent + " " + appEngineAgent
	}
	deleteFold(headers, "Content-Length")
	if len(r.GetBody()) > 0 {
		headers["Content-Length"] = strconv.Itoa(len(r.GetBody()))
		if _, given := headerOf(headers, "Content-Type"); !given {
			headers["Content-Type"] = "application/octet-stream"
		}
	}
	return headers
}
