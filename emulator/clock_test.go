package emulator_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waybill.dev/emulator"
)

// "Skip to the next retry", as soon as the first attempt has arrived: its answer may not even be known yet.
func TestSkipGoesToTheNextRetry(t *testing.T) {
	target, arrivals := answering(t, 500, 500, 500, 204, 500, 500, 500, 204)
	for service, s := range sources(t, emulator.Config{}, target) {
		s.send(t)
		for attempt := range 4 {
			if got := s.attempt(<-arrivals); got != attempt {
				t.Errorf("%s: attempt %d, want %d", service, got, attempt)
			}
			if attempt == 3 {
				break
			}
			if d := skip(t, s.e); d < 9*time.Minute || d > time.Hour+time.Minute {
				t.Errorf("%s: skipped %v", service, d)
			}
		}
		if _, err := s.e.Skip(t.Context(), 0); !errors.Is(err, emulator.ErrNothingDue) {
			t.Errorf("%s: after the last: %v", service, err)
		}
	}
}

func TestSkipWithinABound(t *testing.T) {
	target, arrivals := answering(t, 500, 204, 500, 204)
	for service, s := range sources(t, emulator.Config{}, target) {
		s.send(t)
		<-arrivals
		before := s.e.Now()
		if now, err := s.e.Skip(t.Context(), time.Minute); !errors.Is(err, emulator.ErrNothingDue) || now.Sub(before) > time.Minute {
			t.Errorf("%s: %v by %v", service, err, now.Sub(before))
		}
		if next, ok := s.e.NextDelivery(); !ok || next.Sub(before) < 5*time.Minute {
			t.Errorf("%s: next in %v, %v", service, next.Sub(before), ok)
		}
		if _, err := s.e.Skip(t.Context(), 2*time.Hour); err != nil {
			t.Errorf("%s: %v", service, err)
		}
		<-arrivals
	}
}

// A delivery that does not end keeps Skip waiting for no longer than its context.
func TestSkipWaitsForDeliveriesOnTheWire(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-release
	}))
	t.Cleanup(server.Close)
	for service, s := range sources(t, emulator.Config{}, server.URL) {
		s.send(t)
		<-arrived
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		before := s.e.Now()
		if now, err := s.e.Skip(ctx, 0); !errors.Is(err, context.Canceled) || now.Sub(before) > time.Minute {
			t.Errorf("%s: %v", service, err)
		}
		release <- struct{}{}
		if _, err := s.e.Skip(t.Context(), 0); !errors.Is(err, emulator.ErrNothingDue) {
			t.Errorf("%s: %v", service, err)
		}
	}
}

// What is due next, in the other cases that its documentation names.
func TestWhatCountsAsDue(t *testing.T) {
	target, arrivals := answering(t)
	e := start(t, emulator.Config{Project: "shop", Resources: emulator.Resources{
		Queues: []*cloudtaskspb.Queue{
			{Name: "slow", RateLimits: &cloudtaskspb.RateLimits{MaxDispatchesPerSecond: 1. / 60}},
			{Name: "paused"},
		},
		Topics:        []*pubsubpb.Topic{{Name: "events"}},
		Subscriptions: []*pubsubpb.Subscription{{Name: "pulled", Topic: "events", AckDeadlineSeconds: 300, MessageRetentionDuration: durationpb.New(time.Hour)}},
	}})
	client := tasksClient(t, e)
	ctx := t.Context()
	create := func(queueID string, schedule time.Time) {
		t.Helper()
		task := httpTask(target, "https://mailer.test")
		if !schedule.IsZero() {
			task.ScheduleTime = timestamppb.New(schedule)
		}
		if _, err := client.CreateTask(ctx, &cloudtaskspb.CreateTaskRequest{Parent: location + "/queues/" + queueID, Task: task}); err != nil {
			t.Fatal(err)
		}
	}
	near := func(what string, got, want time.Duration) {
		t.Helper()
		if got > want || got < want-time.Minute/2 {
			t.Errorf("%s: skipped %v, want %v", what, got, want)
		}
	}
	if _, err := client.PauseQueue(ctx, &cloudtaskspb.PauseQueueRequest{Name: location + "/queues/paused"}); err != nil {
		t.Fatal(err)
	}
	create("paused", time.Time{})
	if _, err := e.Skip(ctx, 0); !errors.Is(err, emulator.ErrNothingDue) {
		t.Errorf("a paused queue: %v", err)
	}

	create("slow", time.Time{})
	<-arrivals
	create("slow", time.Time{})
	near("a queue's rate", skip(t, e), time.Minute)
	<-arrivals
	create("slow", e.Now().Add(24*time.Hour))
	near("a schedule", skip(t, e), 24*time.Hour)
	<-arrivals

	conn := connect(t, e)
	if _, err := pubsubpb.NewPublisherClient(conn).Publish(ctx, &pubsubpb.PublishRequest{
		Topic: "projects/shop/topics/events", Messages: []*pubsubpb.PubsubMessage{{Data: []byte("x")}},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Skip(ctx, 0); !errors.Is(err, emulator.ErrNothingDue) {
		t.Errorf("what can be pulled, and retention: %v", err)
	}
	subscriber := pubsubpb.NewSubscriberClient(conn)
	pull := &pubsubpb.PullRequest{Subscription: "projects/shop/subscriptions/pulled", MaxMessages: 1}
	next := func(what string, want time.Duration) {
		t.Helper()
		if got, err := subscriber.Pull(ctx, pull); err != nil || len(got.GetReceivedMessages()) != 1 {
			t.Fatalf("pulled %v, %v", got, err)
		}
		near(what, skip(t, e), want)
	}
	next("an ack deadline", 5*time.Minute)
	create("slow", e.Now().Add(7*time.Minute))
	next("an ack deadline before a schedule", 5*time.Minute)
	next("a schedule before an ack deadline", 2*time.Minute)
	<-arrivals
}

func TestClockOverHTTP(t *testing.T) {
	target, arrivals := answering(t, 500)
	s := sources(t, emulator.Config{}, target)["Cloud Tasks"]
	type view struct {
		Now    time.Time
		Offset string
		Next   *time.Time
	}
	look := func() (v view) {
		t.Helper()
		status, body := request(t, http.MethodGet, s.e.URL()+"/_emulator/clock", nil)
		if err := json.Unmarshal([]byte(body), &v); err != nil || status != http.StatusOK {
			t.Fatalf("%d %s: %v", status, body, err)
		}
		return v
	}
	if v := look(); v.Offset != "0s" || v.Next != nil || time.Since(v.Now).Abs() > time.Minute {
		t.Errorf("at first: %+v", v)
	}
	skipURL := s.e.URL() + "/_emulator/skip"
	if status, body := request(t, http.MethodPost, skipURL, nil); status != http.StatusNotFound || body != "emulator: nothing is due" {
		t.Errorf("nothing to do: %d %s", status, body)
	}
	s.send(t)
	<-arrivals
	if status, body := request(t, http.MethodPost, skipURL, url.Values{"within": {"10m"}}); status != http.StatusNotFound || !strings.Contains(body, "the next delivery is in ") {
		t.Errorf("nothing within: %d %s", status, body)
	}
	if v := look(); v.Next == nil || v.Next.Sub(v.Now) < 50*time.Minute {
		t.Errorf("a retry: %+v", v)
	}
	status, body := request(t, http.MethodPost, skipURL+"?within=2h", nil)
	if now, err := time.Parse(time.RFC3339Nano, body); status != http.StatusOK || err != nil || time.Until(now) < 50*time.Minute {
		t.Errorf("skip: %d %s", status, body)
	}
	<-arrivals
	if v := look(); v.Offset == "0s" || time.Until(v.Now) < 50*time.Minute {
		t.Errorf("at last: %+v", v)
	}
	for _, bad := range []string{"within=x", "within=-1h", "by=1h"} {
		if status, _ := request(t, http.MethodPost, skipURL+"?"+bad, nil); status != http.StatusBadRequest {
			t.Errorf("%s: %d", bad, status)
		}
	}
}
