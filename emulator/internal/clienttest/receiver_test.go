package clienttest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// arrival is what a receiver saw of a request.
type arrival struct {
	method string
	host   string
	path   string
	header http.Header
	body   string
}

// receiver is an HTTP server that acknowledges and reports what arrives.
func receiver(t *testing.T) (url string, arrivals <-chan arrival) {
	t.Helper()
	c := make(chan arrival, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		c <- arrival{r.Method, r.Host, r.URL.RequestURI(), r.Header, string(body)}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(server.Close)
	return server.URL, c
}

// next waits for an arrival.
func next(t *testing.T, arrivals <-chan arrival) arrival {
	t.Helper()
	select {
	case a := <-arrivals:
		return a
	case <-time.After(20 * time.Second):
		t.Fatal("nothing arrived within 20 s")
		return arrival{}
	}
}
