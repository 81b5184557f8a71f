package cloudtasks

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waybill.dev/emulator/internal/clock"
)

// newBenchmark returns an engine with queue a, and 64 more that are named by their numbers.
func newBenchmark(b *testing.B) service {
	b.Helper()
	c := clock.New()
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	engine := New(Config{Clock: c, Signer: fakeSigner{}, HTTPClient: &http.Client{Transport: transport}})
	b.Cleanup(func() {
		if err := engine.Close(context.Background()); err != nil {
			b.Error(err)
		}
		c.Close()
		transport.CloseIdleConnections()
	})
	s := service{Engine: engine}
	for _, id := range append([]string{"a"}, numbers(64)...) {
		if _, err := s.CreateQueue(b.Context(), &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{Name: queueNamed(id)}}); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

func numbers(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

// BenchmarkCreateTask creates tasks of 500 bytes that are due in an hour, beside as many as there are already.
func BenchmarkCreateTask(b *testing.B) {
	s := newBenchmark(b)
	due := timestamppb.New(time.Now().Add(time.Hour))
	body := make([]byte, 500)
	b.ReportAllocs()
	for b.Loop() {
		task := newTask(request(func(r *cloudtaskspb.HttpRequest) { r.Body = body }))
		task.ScheduleTime = due
		if _, err := s.CreateTask(b.Context(), &cloudtaskspb.CreateTaskRequest{Parent: queueA, Task: task}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDelivery creates tasks of 500 bytes and delivers them to a local server, 16 at once.
func BenchmarkDelivery(b *testing.B) {
	arrived := make(chan struct{}, 16)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-arrived
	}))
	b.Cleanup(server.Close)
	s := newBenchmark(b)
	body := make([]byte, 500)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		arrived <- struct{}{}
		n++
		task := newTask(target(server.URL), request(func(r *cloudtaskspb.HttpRequest) { r.Body = body }))
		if _, err := s.CreateTask(b.Context(), &cloudtaskspb.CreateTaskRequest{Parent: queueNamed(fmt.Sprint(n % 64)), Task: task}); err != nil {
			b.Fatal(err)
		}
	}
	for range cap(arrived) { // until the last has arrived
		arrived <- struct{}{}
	}
}
