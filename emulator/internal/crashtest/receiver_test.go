package crashtest

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
)

// history is what the receiver has seen of a task.
type history struct {
	succeeded []int // the lives in which a delivery was answered with 200
	life      int   // that of the last delivery
	retries   int   // its retry count
	failures  int   // deliveries still to be answered with 500; -1: not begun
}

// receiver answers deliveries: those of a task whose name begins with "flaky" fail four times.
type receiver struct {
	server *httptest.Server

	mu    sync.Mutex
	life  int
	tasks map[string]*history
	wrong []string // what should not have come
	open  map[net.Conn]bool
	none  *sync.Cond // open has become empty
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{tasks: make(map[string]*history), open: make(map[net.Conn]bool)}
	r.none = sync.NewCond(&r.mu)
	r.server = httptest.NewUnstartedServer(r)
	r.server.Config.ConnState = r.count
	r.server.Start()
	t.Cleanup(r.server.Close)
	return r
}

func (r *receiver) count(c net.Conn, state http.ConnState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch state {
	case http.StateNew:
		r.open[c] = true
	case http.StateClosed, http.StateHijacked:
		delete(r.open, c)
		if len(r.open) == 0 {
			r.none.Broadcast()
		}
	default:
	}
}

// next waits for the last requests of a killed emulator, and begins another life.
func (r *receiver) next() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.open) > 0 {
		r.none.Wait()
	}
	r.life++
}

// ServeHTTP implements [http.Handler].
func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	name := request.Header["X-Cloudtasks-Taskname"][0]
	retries, err := strconv.Atoi(request.Header.Get("X-CloudTasks-TaskRetryCount"))
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.wrong = append(r.wrong, fmt.Sprintf("%s: retry count: %v", name, err))
	}
	h := r.tasks[name]
	if h == nil {
		h = &history{life: r.life, retries: -1}
		if kindOf(name) == flaky {
			h.failures = 4
		}
		r.tasks[name] = h
	}
	switch n := len(h.succeeded); {
	case n > 0 && h.succeeded[n-1] == r.life:
		r.wrong = append(r.wrong, fmt.Sprintf("%s: delivered twice in life %d", name, r.life))
	case h.life == r.life && retries != h.retries+1:
		r.wrong = append(r.wrong, fmt.Sprintf("%s: retry count %d after %d in one life", name, retries, h.retries))
	case retries < h.retries || retries > h.retries+1:
		r.wrong = append(r.wrong, fmt.Sprintf("%s: retry count %d after %d over a crash", name, retries, h.retries))
	}
	h.life, h.retries = r.life, retries
	if h.failures > 0 {
		h.failures--
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	h.succeeded = append(h.succeeded, r.life)
}

// delivered tells whether the task was done.
func (r *receiver) delivered(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.tasks[name]
	return h != nil && len(h.succeeded) > 0
}

// duplicates is how many deliveries came after a success.
func (r *receiver) duplicates() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range r.tasks {
		n += max(len(h.succeeded)-1, 0)
	}
	return n
}
