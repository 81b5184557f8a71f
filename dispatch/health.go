package dispatch

import (
	"io"
	"net/http"
)

// Endpoints for whoever looks after the process. They answer anybody, and tell nothing but their status.
const (
	// ReadyPath answers 200 while new messages are welcome, and 503 from the moment that the Dispatcher begins to shut down.
	ReadyPath = "/_waybill/ready"
	// LivePath answers 200 as long as the process serves at all, also while it shuts down.
	LivePath = "/_waybill/live"
)

// health answers if the path is one of the two.
func (d *Dispatcher) health(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Path != ReadyPath && r.URL.Path != LivePath {
		return false
	}
	header := w.Header()
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		header.Set("Allow", "GET, HEAD")
		http.Error(w, "use GET", http.StatusMethodNotAllowed)
	case r.URL.Path == ReadyPath && d.isDraining():
		http.Error(w, "draining", http.StatusServiceUnavailable)
	default:
		_, _ = io.WriteString(w, "ok\n")
	}
	return true
}

// isDraining reports whether Shutdown has begun.
func (d *Dispatcher) isDraining() bool {
	select {
	case <-d.draining:
		return true
	default:
		return false
	}
}
