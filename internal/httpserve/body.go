package httpserve

import (
	"errors"
	"fmt"
	"io"
	"net/http"
)

// ReadBody reads the request's whole body, at most limit bytes of it, into a
// buffer sized from Content-Length. If it cannot, it has answered (400 for a
// body that stops half-way, 413 for one above the limit) and returns an error
// for the log.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, tooLarge(w, limit)
	}
	if n := r.ContentLength; n >= 0 {
		body := make([]byte, n)
		if _, err := io.ReadFull(r.Body, body); err != nil {
			return nil, truncated(w, err)
		}
		return body, nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	switch {
	case err != nil:
		return nil, truncated(w, err)
	case int64(len(body)) > limit:
		return nil, tooLarge(w, limit)
	}
	return body, nil
}

func truncated(w http.ResponseWriter, err error) error {
	http.Error(w, "the body stopped before its end: send it again", http.StatusBadRequest)
	return fmt.Errorf("the body could not be read to its end: %w", err)
}

var errTooLarge = errors.New("the body is too large")

func tooLarge(w http.ResponseWriter, limit int64) error {
	// What is left of the body is not worth reading.
	w.Header().Set("Connection", "close")
	http.Error(w, fmt.Sprintf("the body is larger than the %d bytes that this receiver takes", limit), http.StatusRequestEntityTooLarge)
	return fmt.Errorf("%w: more than %d bytes (raise MaxBody)", errTooLarge, limit)
}
