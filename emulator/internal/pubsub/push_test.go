package pubsub

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
)

// fakeEndpoint is a fake push receiver: the transport of the Service's HTTP client.
type fakeEndpoint struct {
	answer func(n int, body string) int // the status of the nth request, from 1

	mu    sync.Mutex
	start time.Time
	seen  []string // "SECONDS BODY"
	out   int      // requests under way
	most  int      // most of them at a time
}

func (e *fakeEndpoint) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	if e.start.IsZero() {
		e.start = time.Now()
	}
	e.seen = append(e.seen, fmt.Sprintf("%v %s", time.Since(e.start), body))
	n := len(e.seen)
	e.out++
	e.most = max(e.most, e.out)
	e.mu.Unlock()
	code := e.answer(n, string(body))
	e.mu.Lock()
	e.out--
	e.mu.Unlock()
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: code, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
}

func (e *fakeEndpoint) requests() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.seen)
}

// bare makes a subscription that pushes bare data to the endpoint.
func bare(sub *pubsubpb.Subscription) {
	sub.PushConfig = &pubsubpb.PushConfig{
		PushEndpoint: "http://receiver/",
		Wrapper:      &pubsubpb.PushConfig_NoWrapper_{NoWrapper: &pubsubpb.PushConfig_NoWrapper{}},
	}
}

func TestPushThrottleBacksOff(t *testing.T) {
	e := &fakeEndpoint{answer: func(n int, _ string) int {
		if n <= 12 {
			return 500
		}
		return 204
	}}
	bubble(t, Config{HTTPClient: &http.Client{Transport: e}}, func(t *testing.T, s *Service) {
		createSubscription(t, s, bare)
		publish(t, s, "a")
		time.Sleep(time.Hour)
		want := []string{"0s a", "100ms a", "300ms a", "700ms a", "1.5s a", "3.1s a", "6.3s a", "12.7s a", "25.5s a", "51.1s a", "1m42.3s a", "2m42.3s a", "3m42.3s a"}
		if diff := cmp.Diff(want, e.requests()); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
	})
}

func TestPushFollowsTheRetryPolicy(t *testing.T) {
	e := &fakeEndpoint{answer: func(n int, body string) int {
		if body == "a" && n < 4 {
			return 429
		}
		return 200
	}}
	bubble(t, Config{HTTPClient: &http.Client{Transport: e}}, func(t *testing.T, s *Service) {
		createSubscription(t, s, func(sub *pubsubpb.Subscription) {
			bare(sub)
			sub.RetryPolicy = &pubsubpb.RetryPolicy{MinimumBackoff: durationpb.New(time.Second), MaximumBackoff: durationpb.New(time.Hour / 10)}
		})
		publish(t, s, "a")
		time.Sleep(500 * time.Millisecond)
		publish(t, s, "b") // another message does not wait for the retry of the first
		time.Sleep(time.Hour)
		want := []string{"0s a", "500ms b", "1s a", "3s a"}
		if diff := cmp.Diff(want, e.requests()); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
	})
}

func TestPushTimesOutWithTheAckDeadline(t *testing.T) {
	e := &fakeEndpoint{answer: func(n int, _ string) int {
		if n == 1 {
			time.Sleep(30 * time.Second)
		}
		return 200
	}}
	bubble(t, Config{HTTPClient: &http.Client{Transport: contextTransport{e}}}, func(t *testing.T, s *Service) {
		createSubscription(t, s, func(sub *pubsubpb.Subscription) {
			bare(sub)
			sub.AckDeadlineSeconds = 20
		})
		publish(t, s, "a")
		time.Sleep(time.Hour)
		want := []string{"0s a", "20.1s a"}
		if diff := cmp.Diff(want, e.requests()); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
	})
}

// contextTransport returns as soon as the request's context is done, as net/http does.
type contextTransport struct{ http.RoundTripper }

func (c contextTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	type result struct {
		resp *http.Response
		err  error
	}
	done := make(chan result, 1)
	go func() {
		resp, err := c.RoundTripper.RoundTrip(req)
		done <- result{resp, err}
	}()
	select {
	case r := <-done:
		return r.resp, r.err
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
}

func TestOrderedPushesGoOneByOne(t *testing.T) {
	failed := false
	e := &fakeEndpoint{}
	e.answer = func(_ int, body string) int {
		time.Sleep(time.Second)
		if body == "x:2" && !failed {
			failed = true
			return 500
		}
		return 200
	}
	bubble(t, Config{HTTPClient: &http.Client{Transport: e}}, func(t *testing.T, s *Service) {
		createSubscription(t, s, func(sub *pubsubpb.Subscription) {
			bare(sub)
			sub.EnableMessageOrdering = true
		})
		publish(t, s, "x:1", "x:2", "x:3")
		time.Sleep(time.Hour)
		want := []string{"0s x:1", "1s x:2", "2.1s x:2", "3.1s x:3"}
		if diff := cmp.Diff(want, e.requests()); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
	})
}

func TestPushWindowGrows(t *testing.T) {
	e := &fakeEndpoint{answer: func(int, string) int { time.Sleep(time.Second); return 200 }}
	bubble(t, Config{HTTPClient: &http.Client{Transport: e}, MaxPushRequests: 20}, func(t *testing.T, s *Service) {
		createSubscription(t, s, bare)
		for range 100 {
			publish(t, s, "a")
		}
		time.Sleep(time.Hour)
		perSecond := map[string]int{}
		for _, r := range e.requests() {
			at, _, _ := strings.Cut(r, " ")
			perSecond[at]++
		}
		want := map[string]int{"0s": 4, "1s": 8, "2s": 16, "3s": 20, "4s": 20, "5s": 20, "6s": 12}
		if diff := cmp.Diff(want, perSecond); diff != "" {
			t.Errorf("requests by second (-want +got):\n%s", diff)
		}
	})
}

func TestSlowEndpointHoldsUpNobody(t *testing.T) {
	e := &fakeEndpoint{answer: func(_ int, body string) int {
		if body == "slow" {
			time.Sleep(9 * time.Second)
		}
		return 200
	}}
	bubble(t, Config{HTTPClient: &http.Client{Transport: e}}, func(t *testing.T, s *Service) {
		createSubscription(t, s, func(sub *pubsubpb.Subscription) {
			bare(sub)
			sub.Filter = "NOT attributes:fast"
		})
		createSubscription(t, s, func(sub *pubsubpb.Subscription) {
			bare(sub)
			sub.Name += "-2"
			sub.Filter = "attributes:fast"
		})
		publish(t, s, slices.Repeat([]string{"slow"}, 20)...)
		synctest.Wait()
		must(t, s.Publish, &pubsubpb.PublishRequest{Topic: topicName, Messages: []*pubsubpb.PubsubMessage{
			{Data: []byte("quick"), Attributes: map[string]string{"fast": ""}},
		}})
		synctest.Wait()
		if got := e.requests(); got[len(got)-1] != "0s quick" {
			t.Errorf("requests: %v", got)
		}
		time.Sleep(time.Hour)
	})
}

func TestPushConfigChanges(t *testing.T) {
	e := &fakeEndpoint{answer: func(n int, _ string) int {
		if n == 1 {
			return 500
		}
		return 200
	}}
	bubble(t, Config{HTTPClient: &http.Client{Transport: e}}, func(t *testing.T, s *Service) {
		createSubscription(t, s, nil)
		publish(t, s, "a")
		set := func(c *pubsubpb.PushConfig) {
			must(t, s.ModifyPushConfig, &pubsubpb.ModifyPushConfigRequest{Subscription: subName, PushConfig: c})
		}
		var model pubsubpb.Subscription
		bare(&model)
		set(model.PushConfig) // drains the backlog
		synctest.Wait()
		set(nil) // ends the retry of what failed
		time.Sleep(time.Hour)
		if got := e.requests(); len(got) != 1 {
			t.Errorf("requests: %v", got)
		}
		ack(t, s, pull(t, s, "a")...)
		publish(t, s, "b")
		model.PushConfig.PushEndpoint = "http://elsewhere/"
		set(model.PushConfig)
		synctest.Wait()
		if got := e.requests(); len(got) != 2 || !strings.HasSuffix(got[1], " b") {
			t.Errorf("requests: %v", got)
		}
	})
}

func TestDeadLetterByPush(t *testing.T) {
	e := &fakeEndpoint{answer: func(int, string) int { return 500 }}
	bubble(t, Config{HTTPClient: &http.Client{Transport: e}}, func(t *testing.T, s *Service) {
		must(t, s.CreateTopic, &pubsubpb.Topic{Name: deadName})
		const graveyard = "projects/p/subscriptions/graveyard"
		must(t, s.CreateSubscription, &pubsubpb.Subscription{Name: graveyard, Topic: deadName})
		createSubscription(t, s, func(sub *pubsubpb.Subscription) {
			bare(sub)
			sub.DeadLetterPolicy = &pubsubpb.DeadLetterPolicy{DeadLetterTopic: deadName, MaxDeliveryAttempts: 6}
		})
		publish(t, s, "a")
		time.Sleep(time.Hour)
		if n := len(e.requests()); n != 6 {
			t.Errorf("%d requests, want 6", n)
		}
		pullFrom(t, s, graveyard, "a")
	})
}

// logLines is a log that can be read while it is written.
type logLines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logLines) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSpace(l.buf.String()), "\n")
}

func (l *logLines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func TestFailuresAreLoggedOncePerReason(t *testing.T) {
	plan := []int{403, 403, 500, 403, 200, 403, 200}
	e := &fakeEndpoint{answer: func(n int, _ string) int { return plan[min(n, len(plan))-1] }}
	var log logLines
	bubble(t, Config{HTTPClient: &http.Client{Transport: e}, Logger: log.logger()}, func(t *testing.T, s *Service) {
		createSubscription(t, s, func(sub *pubsubpb.Subscription) {
			bare(sub)
			sub.PushConfig.PushEndpoint = "http://user:secret@receiver/path?token=secret"
		})
		publish(t, s, "a")
		time.Sleep(time.Minute)
		publish(t, s, "b")
		time.Sleep(time.Minute)
		lines := log.lines()
		ids := regexp.MustCompile("message_id=[0-9]+$")
		for i, line := range lines {
			_, line, _ = strings.Cut(line, " ") // the time
			lines[i] = ids.ReplaceAllString(line, "message_id=N")
		}
		const from = " subscription=" + subName + " message_id=N"
		want := []string{
			`level=WARN msg="delivery refused" target=http://receiver/path reason=Forbidden status=403` + from,
			`level=WARN msg="delivery refused" target=http://receiver/path reason="Internal Server Error" status=500` + from,
			`level=INFO msg="delivery works again" target=http://receiver/path` + from,
			`level=WARN msg="delivery refused" target=http://receiver/path reason=Forbidden status=403` + from,
			`level=INFO msg="delivery works again" target=http://receiver/path` + from,
		}
		if diff := cmp.Diff(want, lines); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestThrottle(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	th := newThrottle(8)
	for range 10 {
		th.succeeded()
	}
	if th.window != 8 || !th.open(now, 7) || th.open(now, 8) {
		t.Fatalf("window %d", th.window)
	}
	for range 8 { // all that were out fail: that is one failure
		th.failed(now, now.Add(-time.Millisecond))
	}
	if th.window != 4 || th.open(now, 0) || !th.open(now.Add(minPushBackoff), 3) {
		t.Fatalf("after a failed round: %+v", th)
	}
	for i := range 20 {
		now = now.Add(time.Hour)
		th.failed(now, now)
		if got, want := th.pausedUntil.Sub(now), min(minPushBackoff<<(i+1), maxPushBackoff); got != want {
			t.Fatalf("pause %v after %d failures, want %v", got, i+2, want)
		}
	}
	if th.window != 1 {
		t.Fatalf("window %d, want 1", th.window)
	}
	th.succeeded()
	if th.window != 2 || !th.open(now, 1) {
		t.Fatalf("after a success: %+v", th)
	}
}
