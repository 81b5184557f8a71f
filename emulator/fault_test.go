package emulator_test

import (
	"encoding/json"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"

	"waybill.dev/emulator"
)

// Each kind of fault, on a task and on a push: what the receiver sees, and that the delivery is repeated where it failed.
func TestFaultsOfBothServices(t *testing.T) {
	target, arrivals := answering(t)
	both := sources(t, emulator.Config{}, target)
	for name, c := range map[string]struct {
		fault    emulator.Fault
		attempts []int // of the deliveries that arrive
	}{
		"a status":         {emulator.Fault{Status: 503, Times: 2}, []int{2}},
		"a lost request":   {emulator.Fault{Drop: emulator.DropRequest, Times: 1}, []int{1}},
		"a lost answer":    {emulator.Fault{Drop: emulator.DropAnswer, Times: 2}, []int{0, 1, 2}},
		"a duplicate":      {emulator.Fault{Duplicate: true, Times: 1}, []int{0, 0}},
		"a latency":        {emulator.Fault{Latency: time.Millisecond, Times: 1}, []int{0}},
		"one that is rare": {emulator.Fault{Status: 500, Probability: 1e-300}, []int{0}},
	} {
		t.Run(name, func(t *testing.T) {
			for service, s := range both {
				s.e.Reset()
				active, err := s.e.AddFault(s.fault(c.fault))
				if err != nil {
					t.Fatal(err)
				}
				s.send(t)
				for range c.fault.Times {
					if !c.fault.Duplicate && c.fault.Latency == 0 {
						skip(t, s.e) // to the retry, which waits for minutes
					}
				}
				var got []int
				for range c.attempts {
					got = append(got, s.attempt(<-arrivals))
				}
				s.noMore(t, arrivals)
				if diff := cmp.Diff(c.attempts, got); diff != "" {
					t.Errorf("%s: attempts (-want +got):\n%s", service, diff)
				}
				if active.Hits() != c.fault.Times {
					t.Errorf("%s: %d hits, want %d", service, active.Hits(), c.fault.Times)
				}
			}
		})
	}
}

func TestFaultsElsewhereDoNotMatter(t *testing.T) {
	target, arrivals := answering(t)
	for _, s := range sources(t, emulator.Config{}, target) {
		for _, f := range []emulator.Fault{
			{Queue: "other", Status: 503},
			{Subscription: "other", Status: 503},
			{Queue: "projects/other/locations/us-central1/queues/" + shortQueue, Status: 503},
			{Subscription: "projects/other/subscriptions/" + shortSubscription, Status: 503},
			{URL: target + "/more", Status: 503},
			{URL: "http://127.0.0.1:1", Status: 503},
		} {
			if _, err := s.e.AddFault(f); err != nil {
				t.Fatal(err)
			}
		}
		s.send(t)
		<-arrivals
		s.noMore(t, arrivals)
		for _, f := range s.e.Faults() {
			if f.Hits() != 0 {
				t.Errorf("%+v acted", f.Fault())
			}
		}

		// Those that are of all, and of the target, do.
		s.e.ClearFaults()
		for _, f := range []emulator.Fault{{Status: 503, Times: 1}, {URL: target, Status: 503, Times: 1}} {
			if _, err := s.e.AddFault(f); err != nil {
				t.Fatal(err)
			}
		}
		s.send(t)
		skip(t, s.e)
		skip(t, s.e)
		if got := s.attempt(<-arrivals); got != 2 {
			t.Errorf("arrived as attempt %d", got)
		}
		if left := s.e.Faults(); len(left) != 0 {
			t.Errorf("%d are left", len(left))
		}
	}
}

// The log says that it was asked for, so that nobody looks for a bug.
func TestFaultsAreLoggedAsFaults(t *testing.T) {
	var log safeBuffer
	target, _ := answering(t)
	for _, s := range sources(t, emulator.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}, target) {
		if _, err := s.e.AddFault(emulator.Fault{Status: 503, Times: 1}); err != nil {
			t.Fatal(err)
		}
		s.send(t)
		skip(t, s.e)
	}
	if got := strings.Count(log.String(), "fault on demand"); got != 2 {
		t.Errorf("logged %d times:\n%s", got, log.String())
	}
}

// A receiver that asks for quiet by Retry-After is heeded, also when the fault asks in its place.
func TestRetryAfterOfAFault(t *testing.T) {
	target, arrivals := answering(t)
	s := sources(t, emulator.Config{}, target)["Cloud Tasks"]
	if _, err := s.e.AddFault(emulator.Fault{Status: 429, RetryAfter: 59 * time.Minute, Times: 1, Queue: shortQueue}); err != nil {
		t.Fatal(err)
	}
	s.send(t)
	skip(t, s.e) // to the retry of the first, which is later than the quiet
	<-arrivals
	if _, err := s.e.AddFault(emulator.Fault{Status: 429, RetryAfter: 30 * time.Minute, Times: 1, Queue: shortQueue}); err != nil {
		t.Fatal(err)
	}
	s.send(t)
	if _, err := s.e.Skip(t.Context(), time.Minute); err == nil { // waits until the answer has been dealt with
		t.Error("there is something to do in the quiet")
	}
	s.send(t)
	if d := skip(t, s.e); d < 29*time.Minute || d > 30*time.Minute {
		t.Errorf("the next task went after %v", d)
	}
	if got := s.attempt(<-arrivals); got != 0 {
		t.Errorf("attempt %d", got)
	}
}

func TestResetRemovesFaults(t *testing.T) {
	target, arrivals := answering(t)
	for _, s := range sources(t, emulator.Config{}, target) {
		if _, err := s.e.AddFault(emulator.Fault{Latency: 10 * time.Minute}); err != nil {
			t.Fatal(err)
		}
		s.send(t)
		s.e.Reset() // does not wait for the latency
		if left := s.e.Faults(); len(left) != 0 {
			t.Errorf("%d are left", len(left))
		}
		s.send(t) // the source is there again
		if got := s.attempt(<-arrivals); got != 0 {
			t.Errorf("attempt %d", got)
		}
		s.noMore(t, arrivals)
	}
}

func TestFaultReportsEveryProblem(t *testing.T) {
	e := start(t, emulator.Config{})
	_, err := e.AddFault(emulator.Fault{
		Queue: "projects/shop/queues/mails", Subscription: "a/b", URL: "localhost", Latency: -1, MaxLatency: time.Hour, Status: 99, RetryAfter: -1,
		Drop: 7, Duplicate: true, Times: -1, Probability: math.NaN(),
	})
	if err == nil {
		t.Fatal("added")
	}
	for _, want := range []string{
		"Fault.Queue and Fault.Subscription exclude", "Fault.Queue \"projects/shop/queues/mails\" is", "Fault.Subscription \"a/b\" is", "Fault.URL", "Fault.Latency is", "Fault.MaxLatency is",
		"Fault.Status is 99", "Fault.RetryAfter", "Fault.Drop is 7", "Fault.Status, Fault.Drop and Fault.Duplicate exclude", "Fault.Times", "Fault.Probability",
	} {
		if !strings.Contains(err.Error(), "emulator: "+want) {
			t.Errorf("nothing about %q in:\n%v", want, err)
		}
	}
	if _, err := e.AddFault(emulator.Fault{Queue: "mails", Times: 1}); err == nil || !strings.Contains(err.Error(), "the Fault does nothing") {
		t.Errorf("a fault of nothing: %v", err)
	}
	if len(e.Faults()) != 0 {
		t.Error("a bad fault was added")
	}
}

func TestFaultsOverHTTP(t *testing.T) {
	target, arrivals := answering(t)
	s := sources(t, emulator.Config{}, target)["Pub/Sub"]
	faults := s.e.URL() + "/_emulator/faults"
	status, first := request(t, http.MethodPost, faults, url.Values{"subscription": {shortSubscription}, "status": {"503"}, "times": {"1"}, "retry_after": {"30s"}})
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, first)
	}
	status, second := request(t, http.MethodPost, faults+"?drop=answer&queue=mails&probability=0.5&seed=7&latency=10ms&max_latency=1s&url="+target, nil)
	if status != http.StatusOK || second == first {
		t.Fatalf("%d %s", status, second)
	}
	if status, id := request(t, http.MethodPost, faults, url.Values{"duplicate": {"true"}, "times": {"3"}}); status != http.StatusOK {
		t.Fatalf("%d %s", status, id)
	}

	s.send(t)
	skip(t, s.e)
	for range 2 { // a duplicate
		if got := s.attempt(<-arrivals); got != 1 {
			t.Errorf("attempt %d", got)
		}
	}
	if _, err := s.e.Skip(t.Context(), 0); err == nil { // until the duplicate is over
		t.Error("something is due")
	}

	var list struct{ Faults []map[string]any }
	status, body := request(t, http.MethodGet, faults, nil)
	if err := json.Unmarshal([]byte(body), &list); err != nil || status != http.StatusOK {
		t.Fatalf("%d, %v: %s", status, err, body)
	}
	want := []map[string]any{
		{"id": second, "drop": "answer", "queue": queue, "probability": 0.5, "seed": 7.0, "latency": "10ms", "max_latency": "1s", "url": target, "hits": 0.0},
		{"id": list.Faults[len(list.Faults)-1]["id"], "duplicate": true, "times": 3.0, "hits": 1.0},
	}
	if diff := cmp.Diff(want, list.Faults); diff != "" {
		t.Errorf("in force (-want +got):\n%s", diff)
	}

	if status, body := request(t, http.MethodDelete, faults+"/"+second, nil); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
	if status, body := request(t, http.MethodDelete, faults+"/"+first, nil); status != http.StatusNotFound || !strings.Contains(body, "used up") {
		t.Errorf("one that is used up: %d %s", status, body)
	}
	if len(s.e.Faults()) != 1 {
		t.Errorf("%d in force", len(s.e.Faults()))
	}
	if status, _ := request(t, http.MethodDelete, faults, nil); status != http.StatusOK || len(s.e.Faults()) != 0 {
		t.Errorf("%d, and %d in force", status, len(s.e.Faults()))
	}

	status, body = request(t, http.MethodPost, faults, url.Values{
		"latency": {"soon"}, "status": {"x"}, "drop": {"both"}, "duplicate": {"perhaps"}, "probability": {"x"}, "seed": {"-1"}, "times": {"x"}, "max_latency": {"x"}, "retry_after": {"5"},
	})
	if status != http.StatusBadRequest || strings.Count(body, "\n") != 8 || !strings.Contains(body, `drop is "both": want request or answer`) {
		t.Errorf("%d %s", status, body)
	}
	for _, bad := range []string{"status=9", "queu=mails&status=503", ""} {
		if status, body := request(t, http.MethodPost, faults+"?"+bad, nil); status != http.StatusBadRequest {
			t.Errorf("%q: %d %s", bad, status, body)
		}
	}
}

// What Google's emulator pushes through this one meets its faults too. An emulator of ours plays Google's.
func TestFaultsOfPushesFromUpstream(t *testing.T) {
	target, arrivals := answering(t)
	upstream := start(t, emulator.Config{})
	e := start(t, emulator.Config{Project: "shop", PubSubUpstream: upstream.Addr()})
	conn := connect(t, e)
	publisher, topic := pubsubpb.NewPublisherClient(conn), "projects/shop/topics/"+shortTopic
	if _, err := publisher.CreateTopic(t.Context(), &pubsubpb.Topic{Name: topic}); err != nil {
		t.Fatal(err)
	}
	if _, err := pubsubpb.NewSubscriberClient(conn).CreateSubscription(t.Context(), &pubsubpb.Subscription{
		Name: "projects/shop/subscriptions/" + shortSubscription, Topic: topic, PushConfig: &pubsubpb.PushConfig{PushEndpoint: target},
	}); err != nil {
		t.Fatal(err)
	}
	lost, err := e.AddFault(emulator.Fault{Subscription: shortSubscription, Drop: emulator.DropAnswer, Times: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := publisher.Publish(t.Context(), &pubsubpb.PublishRequest{Topic: topic, Messages: []*pubsubpb.PubsubMessage{{Data: []byte("ada")}}}); err != nil {
		t.Fatal(err)
	}
	<-arrivals
	skip(t, upstream)
	<-arrivals
	if lost.Hits() != 1 {
		t.Errorf("%d hits", lost.Hits())
	}
	if _, err := e.Skip(t.Context(), 0); err == nil {
		t.Error("it knows of Google's emulator's messages")
	}
}
