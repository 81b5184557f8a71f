package cloudtasks

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
)

func TestFirstDelivery(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(nil, nil)
		b.create(named("t1"), b.in(1500*time.Millisecond), request(func(r *cloudtaskspb.HttpRequest) {
			r.HttpMethod = cloudtaskspb.HttpMethod_PUT
			r.Headers = map[string]string{
				"Content-Type": "application/json", "Ce-Id": "7",
				"User-Agent": "mine", "Host": "elsewhere.test", "X-CloudTasks-TaskRetryCount": "9", "x-google-thing": "1", "Content-Length": "1",
			}
			r.AuthorizationHeader = &cloudtaskspb.HttpRequest_OidcToken{OidcToken: &cloudtaskspb.OidcToken{
				ServiceAccountEmail: "login@shop.iam.gserviceaccount.com", Audience: "https://mailer.test",
			}}
		}))
		b.after(2 * time.Second)
		got := b.got()
		if len(got) != 1 {
			t.Fatalf("%d deliveries", len(got))
		}
		want := delivery{
			at: 1500 * time.Millisecond, url: "http://mailer.test/send", method: "PUT", body: "hello",
			header: http.Header{
				"Content-Type":                    {"application/json"},
				"Ce-Id":                           {"7"},
				"User-Agent":                      {"Google-Cloud-Tasks"},
				"Authorization":                   {"Bearer id-token(login@shop.iam.gserviceaccount.com,https://mailer.test)"},
				"X-CloudTasks-QueueName":          {"a"},
				"X-CloudTasks-TaskName":           {"t1"},
				"X-CloudTasks-TaskRetryCount":     {"0"},
				"X-CloudTasks-TaskExecutionCount": {"0"},
				"X-CloudTasks-TaskETA":            {"946684801.500000"}, // a bubble begins in 2000
			},
		}
		if diff := cmp.Diff(want, got[0], cmp.AllowUnexported(delivery{})); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestTokens(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(nil, nil)
		b.create(target("http://mailer.test/send?a=1"), request(func(r *cloudtaskspb.HttpRequest) {
			r.Headers = map[string]string{"authorization": "Basic mine"}
			r.AuthorizationHeader = &cloudtaskspb.HttpRequest_OidcToken{OidcToken: &cloudtaskspb.OidcToken{ServiceAccountEmail: "a@b.test"}}
		}))
		b.after(0)
		b.create(request(func(r *cloudtaskspb.HttpRequest) {
			r.AuthorizationHeader = &cloudtaskspb.HttpRequest_OauthToken{OauthToken: &cloudtaskspb.OAuthToken{ServiceAccountEmail: "a@b.test"}}
		}))
		b.after(0)
		b.create(request(func(r *cloudtaskspb.HttpRequest) { r.Headers = map[string]string{"Authorization": "Basic mine"} }))
		b.after(0)
		var got []string
		for _, d := range b.got() {
			got = append(got, strings.Join(d.header["Authorization"], "|"))
		}
		want := []string{"Bearer id-token(a@b.test,http://mailer.test/send?a=1)", "Bearer access(a@b.test)", "Basic mine"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// The numbers were recorded from the real service.
func TestHeadersOfRetries(t *testing.T) {
	inBubble(t, answers(503, 404, 429, 500, 302, 200), func(b *bench) {
		b.queue(nil, &cloudtaskspb.RetryConfig{MinBackoff: durationpb.New(10 * time.Second), MaxBackoff: durationpb.New(300 * time.Second), MaxDoublings: 3})
		name := b.create().GetName()
		b.after(time.Hour)

		var retries, executions, previous []string
		for _, d := range b.got() {
			retries = append(retries, d.header["X-CloudTasks-TaskRetryCount"]...)
			executions = append(executions, d.header["X-CloudTasks-TaskExecutionCount"]...)
			previous = append(previous, d.header["X-CloudTasks-TaskPreviousResponse"]...)
			_, reason := d.header["X-CloudTasks-TaskRetryReason"]
			if first := len(retries) == 1; reason == first {
				t.Errorf("delivery %d: has a retry reason: %v", len(retries), reason)
			}
		}
		for what, diff := range map[string]string{
			"retry counts":       cmp.Diff([]string{"0", "1", "2", "3", "4", "5"}, retries),
			"execution counts":   cmp.Diff([]string{"0", "0", "1", "2", "2", "3"}, executions),
			"previous responses": cmp.Diff([]string{"503", "404", "429", "500", "302"}, previous),
			"times": cmp.Diff([]time.Duration{
				0, 10 * time.Second, 30 * time.Second, 70 * time.Second, 150 * time.Second, 310 * time.Second,
			}, b.times()),
		} {
			if diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}
		if b.exists(name) {
			t.Error("the task is still there after its success")
		}
	})
}

func TestRetryIsCountedFromTheFailure(t *testing.T) {
	slow := func(_ context.Context, n int, _ delivery) (*http.Response, error) {
		if n == 0 {
			time.Sleep(7 * time.Second)
			return answer(500), nil
		}
		return answer(200), nil
	}
	inBubble(t, slow, func(b *bench) {
		b.queue(nil, &cloudtaskspb.RetryConfig{MinBackoff: durationpb.New(10 * time.Second)})
		b.create()
		b.after(time.Minute)
		if diff := cmp.Diff([]time.Duration{0, 17 * time.Second}, b.times()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestDispatchDeadline(t *testing.T) {
	inBubble(t, func(ctx context.Context, n int, d delivery) (*http.Response, error) {
		if n == 0 {
			return hang(ctx, n, d)
		}
		return answer(200), nil
	}, func(b *bench) {
		b.queue(nil, &cloudtaskspb.RetryConfig{MinBackoff: durationpb.New(5 * time.Second)})
		name := b.create(deadline(15 * time.Second)).GetName()
		b.after(16 * time.Second)
		task, err := b.GetTask(b.ctx, &cloudtaskspb.GetTaskRequest{Name: name})
		b.must(err)
		if task.GetDispatchCount() != 1 || task.GetResponseCount() != 0 || codes.Code(task.GetLastAttempt().GetResponseStatus().GetCode()) != codes.DeadlineExceeded {
			t.Errorf("after the deadline: %v", task)
		}
		b.after(time.Minute)
		if diff := cmp.Diff([]time.Duration{0, 20 * time.Second}, b.times()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		h := b.got()[1].header
		if got := []string{h["X-CloudTasks-TaskPreviousResponse"][0], h["X-CloudTasks-TaskExecutionCount"][0], h["X-CloudTasks-TaskRetryCount"][0]}; !cmp.Equal(got, []string{"504", "0", "1"}) {
			t.Errorf("previous response, execution count, retry count: %v", got)
		}
		if log := b.log.String(); !strings.Contains(log, `msg="delivery failed"`) || !strings.Contains(log, `reason="no answer within the dispatch deadline of 15s"`) || strings.Contains(log, "status=") {
			t.Errorf("logged %s", log)
		}
	})
}

// An answer whose body does not end is not an answer.
func TestDeadlineCoversTheBody(t *testing.T) {
	inBubble(t, func(ctx context.Context, n int, _ delivery) (*http.Response, error) {
		r := answer(200)
		if n == 0 {
			r.Body = io.NopCloser(readerFunc(func([]byte) (int, error) { <-ctx.Done(); return 0, ctx.Err() }))
		}
		return r, nil
	}, func(b *bench) {
		b.queue(nil, nil)
		b.create(deadline(15 * time.Second))
		b.after(time.Minute)
		if diff := cmp.Diff([]time.Duration{0, 15100 * time.Millisecond}, b.times()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestRedirectsAreNotFollowed(t *testing.T) {
	inBubble(t, func(_ context.Context, n int, _ delivery) (*http.Response, error) {
		if n > 0 {
			return answer(200), nil
		}
		r := answer(307)
		r.Header.Set("Location", "http://elsewhere.test/")
		return r, nil
	}, func(b *bench) {
		b.queue(nil, nil)
		b.create()
		b.after(time.Minute)
		got := b.got()
		if len(got) != 2 || got[1].url != "http://mailer.test/send" || got[1].header["X-CloudTasks-TaskPreviousResponse"][0] != "307" {
			t.Errorf("deliveries: %+v", got)
		}
	})
}

func TestFailuresAreLoggedOncePerReasonAndAgainAfterASuccess(t *testing.T) {
	refused := errors.New("connection refused")
	script := []func() (*http.Response, error){
		func() (*http.Response, error) { return nil, refused },
		func() (*http.Response, error) { return nil, refused },
		func() (*http.Response, error) { return plain(403, "caller not declared\nmore"), nil },
		func() (*http.Response, error) { return plain(403, "caller not declared\nmore"), nil },
		func() (*http.Response, error) { return answer(204), nil },
		func() (*http.Response, error) { return nil, refused },
		func() (*http.Response, error) { return answer(204), nil },
	}
	inBubble(t, func(_ context.Context, n int, _ delivery) (*http.Response, error) { return script[n]() }, func(b *bench) {
		b.queue(nil, nil)
		b.create(named("t1"), target("http://user:pass@mailer.test/send?token=secret"))
		b.after(time.Minute)
		b.create(named("t2"), target("http://user:pass@mailer.test/send?token=secret"))
		b.after(time.Minute)
		const from = "queue=" + queueA + " "
		want := []string{
			`level=WARN msg="delivery failed" target=http://mailer.test/send reason="connection refused" ` + from + "task=t1",
			`level=WARN msg="delivery refused" target=http://mailer.test/send reason="caller not declared" status=403 ` + from + "task=t1",
			`level=INFO msg="delivery works again" target=http://mailer.test/send ` + from + "task=t1",
			`level=WARN msg="delivery failed" target=http://mailer.test/send reason="connection refused" ` + from + "task=t2",
			`level=INFO msg="delivery works again" target=http://mailer.test/send ` + from + "task=t2",
		}
		lines := strings.Split(strings.TrimSpace(b.log.String()), "\n")
		if len(b.got()) != len(script) || len(lines) != len(want) {
			t.Fatalf("%d deliveries, log:\n%s", len(b.got()), b.log)
		}
		for i, want := range want {
			if !strings.Contains(lines[i], want) {
				t.Errorf("line %d: %s\nwant %s", i, lines[i], want)
			}
		}
		if log := b.log.String(); strings.Contains(log, "secret") || strings.Contains(log, "pass") {
			t.Errorf("the log has what it must not have: %s", log)
		}
	})
}

// A reason is logged whole, and a queue that was made again begins anew.
func TestLongReasonAndNewQueue(t *testing.T) {
	long := strings.Repeat("x", 399) + "€"
	inBubble(t, func(context.Context, int, delivery) (*http.Response, error) { return plain(403, long+"\nmore"), nil }, func(b *bench) {
		for range 2 {
			b.queue(nil, nil)
			b.create()
			b.after(time.Minute)
			_, err := b.DeleteQueue(b.ctx, &cloudtaskspb.DeleteQueueRequest{Name: queueA})
			b.must(err)
		}
		if log := b.log.String(); strings.Count(log, "\n") != 2 || strings.Count(log, long[:399]+"… ") != 2 {
			t.Errorf("logged %s", log)
		}
	})
}

func plain(code int, text string) *http.Response {
	r := answer(code)
	r.Header.Set("Content-Type", "text/plain; charset=utf-8")
	r.Body = io.NopCloser(strings.NewReader(text))
	return r
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-7": 0, "1.5": 0, "soon": 0, "99999999999": 0,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute,
		"Fri, 02 Jan 2026 03:03:05 GMT": 0,
	} {
		if got := parseRetryAfter(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}
