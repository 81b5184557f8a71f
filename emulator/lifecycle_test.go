package emulator_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"waybill.dev/emulator"
)

// holding is a receiver that keeps each delivery until it is released or broken off.
func holding(t *testing.T) (target string, arrived <-chan struct{}, release chan<- struct{}) {
	t.Helper()
	a, r := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body) // only then does net/http see the client go
		a <- struct{}{}
		select {
		case <-r:
			w.WriteHeader(http.StatusNoContent)
		case <-req.Context().Done():
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, a, r
}

// Work in flight ends within the grace, and is done. Readiness says from the first moment that it ends.
func TestShutdownFinishesWhatIsInFlight(t *testing.T) {
	target, arrived, release := holding(t)
	for service, s := range sources(t, emulator.Config{}, target) {
		ready, live := s.e.URL()+"/_emulator/ready", s.e.URL()+"/_emulator/live"
		if status, body := request(t, http.MethodGet, ready, nil); status != http.StatusOK || body != "ready" {
			t.Errorf("%s: %d %s", service, status, body)
		}
		s.send(t)
		<-arrived
		ended := make(chan error)
		go func() { ended <- s.e.Shutdown(context.WithoutCancel(t.Context())) }()
		for { // until Shutdown has begun
			status, body := request(t, http.MethodGet, ready, nil)
			if status == http.StatusOK {
				continue
			}
			if status != http.StatusServiceUnavailable || body != "stopping" {
				t.Errorf("%s: while it stops: %d %s", service, status, body)
			}
			break
		}
		if status, _ := request(t, http.MethodGet, live, nil); status != http.StatusOK {
			t.Errorf("%s: it is alive, and says %d", service, status)
		}
		s.send(t) // is taken, and not delivered any more
		http.DefaultClient.CloseIdleConnections()
		select {
		case err := <-ended:
			t.Errorf("%s: Shutdown did not wait: %v", service, err)
		default:
		}
		release <- struct{}{}
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", service, err)
		}
		want := emulator.Leftovers{Finished: 1, Tasks: 1}
		if service == "Pub/Sub" {
			want = emulator.Leftovers{Finished: 1, Messages: 1}
		}
		if diff := cmp.Diff(want, s.e.Leftovers()); diff != "" {
			t.Errorf("%s: leftovers (-want +got):\n%s", service, diff)
		}
		s.e.Reset() // does no harm
	}
}

// What does not end is broken off and stays queued.
func TestShutdownParksWhatDoesNotEnd(t *testing.T) {
	for _, data := range []bool{false, true} {
		target, arrived, _ := holding(t)
		var config emulator.Config
		if data {
			config.Data = t.TempDir()
		}
		for service, s := range sources(t, config, target) {
			s.send(t)
			<-arrived
			if left := s.e.Leftovers(); left != (emulator.Leftovers{}) {
				t.Errorf("%s: before the end: %+v", service, left)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := s.e.Shutdown(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", service, err)
			}
			want := emulator.Leftovers{CutOff: 1, Tasks: 1, Kept: data}
			if service == "Pub/Sub" {
				want = emulator.Leftovers{CutOff: 1, Messages: 1, Kept: data}
			}
			if diff := cmp.Diff(want, s.e.Leftovers()); diff != "" {
				t.Errorf("%s: leftovers (-want +got):\n%s", service, diff)
			}
		}
	}
}

func TestLeftoversAreASentence(t *testing.T) {
	for want, left := range map[string]emulator.Leftovers{
		"Nothing was left.":                                           {},
		"1 delivery in flight ended.":                                 {Finished: 1},
		"2 deliveries in flight ended; 1 task not done is lost.":      {Finished: 2, Tasks: 1},
		"1 delivery was cut off; 1 message not done is lost.":         {CutOff: 1, Messages: 1},
		"2 deliveries were cut off; 2 tasks not done are lost.":       {CutOff: 2, Tasks: 2},
		"3 tasks and 1 message not done are kept for the next start.": {Tasks: 3, Messages: 1, Kept: true},
	} {
		if got := left.String(); got != want {
			t.Errorf("%+v: %s\nwant %s", left, got, want)
		}
	}
}
