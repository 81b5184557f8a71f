package cloudtasks

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

func appEngine(change func(*cloudtaskspb.AppEngineHttpRequest)) func(*cloudtaskspb.Task) {
	return func(t *cloudtaskspb.Task) {
		r := &cloudtaskspb.AppEngineHttpRequest{}
		change(r)
		t.MessageType = &cloudtaskspb.Task_AppEngineHttpRequest{AppEngineHttpRequest: r}
	}
}

// withApp runs a test on a bench with an App Engine application.
func withApp(t *testing.T, r receiver, test func(*bench)) {
	t.Helper()
	inBubble(t, r, func(b *bench) {
		b.config.AppEngine = "http://127.0.0.1:8080"
		b.queue(nil, &cloudtaskspb.RetryConfig{MinBackoff: durationpb.New(10 * time.Second)})
		test(b)
	})
}

// The headers are those that were recorded from the real service.
func TestAppEngineDelivery(t *testing.T) {
	var host string
	withApp(t, nil, func(b *bench) {
		created := b.create(named("t1"), b.in(time.Second), appEngine(func(r *cloudtaskspb.AppEngineHttpRequest) {
			r.RelativeUri = "/work?a=1"
			r.Body = []byte("hello")
			r.AppEngineRouting = &cloudtaskspb.AppEngineRouting{Service: "mail", Version: "v2", Instance: "i1", Host: "mine.test"}
			r.Headers = map[string]string{
				"x-mixed": "kept", "User-Agent": "mine",
				"Host": "elsewhere.test", "X-AppEngine-TaskRetryCount": "9", "X-Google-Thing": "1", "Content-Length": "99",
			}
		}))
		want := &cloudtaskspb.AppEngineHttpRequest{
			HttpMethod:       cloudtaskspb.HttpMethod_POST,
			RelativeUri:      "/work?a=1",
			AppEngineRouting: &cloudtaskspb.AppEngineRouting{Service: "mail", Version: "v2", Instance: "i1", Host: "i1.v2.mail.shop.appspot.com"},
			Headers: map[string]string{
				"x-mixed": "kept", "User-Agent": "mine AppEngine-Google; (+http://code.google.com/appengine)",
				"Host": "elsewhere.test", "X-AppEngine-TaskRetryCount": "9", "X-Google-Thing": "1",
				"Content-Length": "5", "Content-Type": "application/octet-stream",
			},
		}
		if diff := cmp.Diff(want, created.GetAppEngineHttpRequest(), protocmp.Transform()); diff != "" || created.GetDispatchDeadline() != nil {
			t.Errorf("created %v (-want +got):\n%s", created, diff)
		}
		b.after(time.Minute)
		got := b.got()
		if len(got) != 1 {
			t.Fatalf("%d deliveries", len(got))
		}
		host = got[0].host
		got[0].host = ""
		if diff := cmp.Diff(delivery{
			at: time.Second, url: "http://127.0.0.1:8080/work?a=1", method: "POST", body: "hello",
			header: http.Header{
				"X-Mixed":                        {"kept"},
				"User-Agent":                     {"mine AppEngine-Google; (+http://code.google.com/appengine)"},
				"Content-Type":                   {"application/octet-stream"},
				"X-AppEngine-QueueName":          {"a"},
				"X-AppEngine-TaskName":           {"t1"},
				"X-AppEngine-TaskRetryCount":     {"0"},
				"X-AppEngine-TaskExecutionCount": {"0"},
				"X-AppEngine-TaskETA":            {"946684801.000000"},
			},
		}, got[0], cmp.AllowUnexported(delivery{})); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	if host != "i1.v2.mail.shop.appspot.com" {
		t.Errorf("Host %q", host)
	}
}

// A 503 counts as an execution for App Engine, and the reason of a retry is "App Error": recorded.
func TestAppEngineRetries(t *testing.T) {
	withApp(t, answers(503, 404, 200), func(b *bench) {
		name := b.create(appEngine(func(*cloudtaskspb.AppEngineHttpRequest) {})).GetName()
		b.after(time.Hour)
		var got []string
		for _, d := range b.got() {
			got = append(got, strings.Join([]string{
				strings.Join(d.header["X-AppEngine-TaskRetryCount"], ""), strings.Join(d.header["X-AppEngine-TaskExecutionCount"], ""),
				strings.Join(d.header["X-AppEngine-TaskPreviousResponse"], ""), strings.Join(d.header["X-AppEngine-TaskRetryReason"], ""),
			}, ","))
		}
		if diff := cmp.Diff([]string{"0,0,,", "1,1,503,App Error", "2,2,404,App Error"}, got); diff != "" || b.exists(name) {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if u := b.got()[0]; u.url != "http://127.0.0.1:8080/" || u.header.Get("User-Agent") != "AppEngine-Google; (+http://code.google.com/appengine)" || u.header.Get("Content-Type") != "" {
			t.Errorf("without a URI and a body: %+v", u)
		}
	})
}

// App Engine's 429 does not slow the queue down, its 503 does.
func TestAppEngineBackPressure(t *testing.T) {
	for status, slows := range map[int]bool{429: false, 503: true} {
		r := result{status: status, answered: true, appEngine: true}
		if r.refusesLoad() != slows {
			t.Errorf("%d: refuses load: %v", status, r.refusesLoad())
		}
	}
	withApp(t, func(_ context.Context, n int, _ delivery) (*http.Response, error) {
		r := answer([]int{429, 503, 200}[min(n, 2)])
		r.Header.Set("Retry-After", "60")
		return r, nil
	}, func(b *bench) {
		b.create(appEngine(func(*cloudtaskspb.AppEngineHttpRequest) {}))
		b.after(time.Hour)
		if diff := cmp.Diff([]time.Duration{0, 10 * time.Second, 70 * time.Second}, b.times()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// The routing of the queue is for all its tasks, those that wait already included.
func TestAppEngineRoutingOverride(t *testing.T) {
	withApp(t, nil, func(b *bench) {
		update := func(routing *cloudtaskspb.AppEngineRouting, paths ...string) *cloudtaskspb.AppEngineRouting {
			q, err := b.UpdateQueue(b.ctx, &cloudtaskspb.UpdateQueueRequest{
				Queue:      &cloudtaskspb.Queue{Name: queueA, AppEngineRoutingOverride: routing},
				UpdateMask: &fieldmaskpb.FieldMask{Paths: paths},
			})
			b.must(err)
			return q.GetAppEngineRoutingOverride()
		}
		task := appEngine(func(r *cloudtaskspb.AppEngineHttpRequest) {
			r.AppEngineRouting = &cloudtaskspb.AppEngineRouting{Service: "mail"}
		})
		b.create(task, b.in(time.Second))
		b.create(task, b.in(time.Hour))
		got := update(&cloudtaskspb.AppEngineRouting{Service: "orders", Version: "v2", Host: "mine"}, "appEngineRoutingOverride")
		want := &cloudtaskspb.AppEngineRouting{Service: "orders", Version: "v2", Host: "v2.orders.shop.appspot.com"}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		got = update(&cloudtaskspb.AppEngineRouting{Service: "bills", Host: "mine"}, "app_engine_routing_override.service", "app_engine_routing_override.host")
		want = &cloudtaskspb.AppEngineRouting{Service: "bills", Version: "v2", Host: "v2.bills.shop.appspot.com"}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("by a leaf; the host is output only (-want +got):\n%s", diff)
		}
		b.after(time.Minute)
		if got := update(&cloudtaskspb.AppEngineRouting{}, "appEngineRoutingOverride"); got != nil {
			t.Errorf("an empty one takes it away, as gcloud does it: %v", got)
		}
		b.after(time.Hour)
		var hosts []string
		for _, d := range b.got() {
			hosts = append(hosts, d.host)
		}
		if diff := cmp.Diff([]string{"v2.bills.shop.appspot.com", "mail.shop.appspot.com"}, hosts); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestAppEngineErrors(t *testing.T) {
	withApp(t, nil, func(b *bench) {
		const field = "task.app_engine_http_request."
		for _, c := range []struct {
			name           string
			change         func(*cloudtaskspb.AppEngineHttpRequest)
			field, message string
		}{
			{"method", func(r *cloudtaskspb.AppEngineHttpRequest) { r.HttpMethod = 99 }, "http_method", "AppEngineHttpRequest.httpMethod 99"},
			{"body with PATCH", func(r *cloudtaskspb.AppEngineHttpRequest) {
				r.HttpMethod, r.Body = cloudtaskspb.HttpMethod_PATCH, []byte("x")
			}, "body", "AppEngineHttpRequest.body is allowed with POST and PUT only."},
			{"absolute URI", func(r *cloudtaskspb.AppEngineHttpRequest) { r.RelativeUri = "http://a.test/" }, "relative_uri", "AppEngineHttpRequest.relativeUri must begin with '/'."},
			{"space", func(r *cloudtaskspb.AppEngineHttpRequest) { r.RelativeUri = "/a b" }, "relative_uri", "AppEngineHttpRequest.relativeUri must not have spaces."},
			{"bad URI", func(r *cloudtaskspb.AppEngineHttpRequest) { r.RelativeUri = "/%zz" }, "relative_uri", "AppEngineHttpRequest.relativeUri is not a valid"},
			{"long URI", func(r *cloudtaskspb.AppEngineHttpRequest) { r.RelativeUri = "/" + strings.Repeat("x", 2083) }, "relative_uri", "AppEngineHttpRequest.relativeUri must have no more than 2083"},
			{"header", func(r *cloudtaskspb.AppEngineHttpRequest) { r.Headers = map[string]string{"a b": "c"} }, "headers", "AppEngineHttpRequest.headers"},
			{"service", func(r *cloudtaskspb.AppEngineHttpRequest) {
				r.AppEngineRouting = &cloudtaskspb.AppEngineRouting{Service: "a.b/c"}
			}, "app_engine_routing.service", "AppEngineRouting.service"},
		} {
			t.Run(c.name, func(t *testing.T) {
				_, err := b.tryCreate(appEngine(c.change))
				wantError(t, err, codes.InvalidArgument, c.message)
				wantField(t, err, field+c.field)
			})
		}
		nothing := appEngine(func(*cloudtaskspb.AppEngineHttpRequest) {})
		for _, d := range []time.Duration{time.Nanosecond, 14 * time.Second, 24*time.Hour + 16*time.Second} {
			_, err := b.tryCreate(nothing, deadline(d))
			wantError(t, err, codes.InvalidArgument, "Task.dispatchDeadline must be between [15s, 24h15s].")
		}
		for _, d := range []time.Duration{0, 15 * time.Second, 24*time.Hour + 15*time.Second} {
			b.create(nothing, deadline(d)) // zero asks for the default
		}
		_, err := b.tryCreate(appEngine(func(r *cloudtaskspb.AppEngineHttpRequest) { r.Body = make([]byte, 1<<20) }))
		wantError(t, err, codes.InvalidArgument, "Task size too large")

		b.after(0) // until no delivery reads it any more
		b.config.AppEngine = ""
		_, err = b.tryCreate(nothing)
		wantError(t, err, codes.FailedPrecondition, "The emulator does not know where the App Engine application listens: start it with --app-engine")
	})
}

func TestAppEngineHosts(t *testing.T) {
	for project, want := range map[string]string{"shop": "v1.shop.appspot.com", "example.com:shop": "v1.shop.example.com.a.appspot.com"} {
		r := &cloudtaskspb.AppEngineRouting{Version: "v1"}
		if err := completeRouting("r", "projects/"+project+"/locations/l/queues/q", r); err != nil || r.GetHost() != want {
			t.Errorf("%s: %s, %v, want %s", project, r.GetHost(), err, want)
		}
	}
}

// The task outlives the flag.
func TestAppEngineTaskWithoutAnApplication(t *testing.T) {
	withApp(t, nil, func(b *bench) {
		b.create(named("t"), b.in(time.Second), appEngine(func(*cloudtaskspb.AppEngineHttpRequest) {}))
		b.Engine.mu.Lock()
		b.config.AppEngine = ""
		b.Engine.mu.Unlock()
		b.after(2 * time.Second)
		if log := b.log.String(); len(b.got()) != 0 || !strings.Contains(log, "no App Engine application is configured: start the emulator with --app-engine") || !b.exists(queueA+"/tasks/t") {
			t.Errorf("%d deliveries, log %s", len(b.got()), log)
		}
	})
}

// An App Engine task does not follow redirects, whatever the switch says.
func TestAppEngineRedirect(t *testing.T) {
	withApp(t, func(_ context.Context, n int, _ delivery) (*http.Response, error) {
		r := answer([]int{302, 200}[min(n, 1)])
		r.Header.Set("Location", "http://elsewhere.test/")
		return r, nil
	}, func(b *bench) {
		b.config.FollowRedirects = true
		b.create(appEngine(func(*cloudtaskspb.AppEngineHttpRequest) {}))
		b.after(time.Minute)
		if diff := cmp.Diff([]time.Duration{0, 10 * time.Second}, b.times()); diff != "" || b.got()[1].url != "http://127.0.0.1:8080/" {
			t.Errorf("%+v (-want +got):\n%s", b.got(), diff)
		}
	})
}
