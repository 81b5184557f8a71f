package httpserve

import (
	"fmt"
	"io"
	"net/http"
)

// ReadBody reads the request's whole body, at most limit bytes of it, into a
// buffer sized from Content-Length. If it cannot, the refusal is 400 for a body
// that stops half-way and 413 for one above the limit.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, *Refusal) {
	if r.ContentLength > limit {
		return nil, tooLarge(w, limit)
	}
	if n := r.ContentLength; n >= 0 {
		body := make([]byte, n)
		if _, err := io.ReadFull(r.Body, body); err != nil {
			return nil, truncated(err)
		}
		return body, nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	switch {
	case err != nil:
		return nil, truncated(err)
	case int64(len(body)) > limit:
		return nil, tooLarge(w, limit)
	}
	return body, nil
}

func truncated(err error) *Refusal {
	return &Refusal{
		Status: http.StatusBadRequest,
		Answer: "the body stopped before its end: send it again",
		Cause:  fmt.Errorf("the body could not be read to its end: %w", err),
	}
}

func tooLarge(w http.ResponseWriter, limit int64) *Refusal {
	// What is left of the body is not worth reading.
	w.Header().Set("Connection", "close")
	return &Refusal{
		Status: http.StatusRequestEntityTooLarge,
		Answer: fmt.Sprintf("the body is larger than the %d bytes that this receiver takes", limit),
		Cause:  fmt.Errorf("the body is too large: more than %d bytes (raise MaxBody)", limit),
	}
}
