package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// receiver is a local server that takes everything.
type receiver struct {
	server *httptest.Server
	count  atomic.Int64

	mu     sync.Mutex
	sample http.Header     // of a delivery to timedURL
	late   []time.Duration // from the due times of those
}

func newReceiver() *receiver {
	r := &receiver{}
	r.server = httptest.NewServer(r)
	return r
}

// ServeHTTP implements [http.Handler].
func (r *receiver) ServeHTTP(_ http.ResponseWriter, request *http.Request) {
	now := time.Now()
	_, _ = io.Copy(io.Discard, request.Body) // a sender that gives up has no answer to wait for
	if request.URL.Path == "/timed" {
		r.time(request, now)
	}
	r.count.Add(1)
}

func (r *receiver) time(request *http.Request, now time.Time) {
	seconds, err := strconv.ParseFloat(request.Header.Get("X-Cloudtasks-Tasketa"), 64)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.late = append(r.late, now.Sub(time.UnixMicro(int64(seconds*1e6))))
	}
	r.sample = request.Header.Clone()
}

func (r *receiver) arrived() int { return int(r.count.Load()) }

// waitFor waits until n requests have arrived since the beginning.
func (r *receiver) waitFor(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errLate)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for r.arrived() < n {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %d of %d", context.Cause(ctx), r.arrived(), n)
		}
	}
	return nil
}

// lateness returns the times since the last call, and the header of one of those requests.
func (r *receiver) lateness() ([]time.Duration, http.Header) {
	r.mu.Lock()
	defer r.mu.Unlock()
	late := r.late
	r.late = nil
	return late, r.sample
}

func (r *receiver) url() string { return r.server.URL + "/" }

func (r *receiver) timedURL() string { return r.server.URL + "/timed" }

func (r *receiver) close() { r.server.Close() }
