package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// writeMessage answers 200. protojson varies its white space on purpose, so that nobody relies
// on it; the real services do not, and tests of users compare.
func writeMessage(w http.ResponseWriter, message proto.Message, f format) {
	raw, err := protojson.MarshalOptions{UseEnumNumbers: f.enumNumbers}.Marshal(message)
	if err != nil {
		writeError(w, status.Error(codes.Internal, "The answer could not be written as JSON."), f)
		return
	}
	write(w, http.StatusOK, raw, f)
}

type errorAnswer struct {
	Error errorBody `json:"error"`
}

type errorBody struct {
	Code    int               `json:"code"`
	Message string            `json:"message"`
	Status  string            `json:"status"`
	Details []json.RawMessage `json:"details,omitempty"`
}

// writeError answers with the HTTP status of the error's gRPC code.
func writeError(w http.ResponseWriter, err error, f format) {
	s := statusOf(err)
	httpStatus := httpStatus(s.Code())
	if httpStatus == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="https://accounts.google.com/"`)
	}
	writeStatus(w, httpStatus, s, f)
}

func writeStatus(w http.ResponseWriter, httpStatus int, s *status.Status, f format) {
	body := errorBody{
		Code:    httpStatus,
		Message: s.Message(),
		Status:  code.Code(s.Code()).String(),
	}
	for _, detail := range s.Proto().GetDetails() {
		// A detail of a type that is not linked has no JSON form: the rest is answered.
		if raw, err := (protojson.MarshalOptions{UseEnumNumbers: f.enumNumbers}).Marshal(detail); err == nil {
			body.Details = append(body.Details, raw)
		}
	}
	raw, err := json.Marshal(errorAnswer{body})
	if err != nil {
		raw = []byte(`{}`)
	}
	write(w, httpStatus, raw, f)
}

func write(w http.ResponseWriter, httpStatus int, raw []byte, f format) {
	var b bytes.Buffer
	b.Grow(len(raw) + len(raw)/8)
	layout := func() error { return json.Indent(&b, raw, "", "  ") }
	if f.compact {
		layout = func() error { return json.Compact(&b, raw) }
	}
	if err := layout(); err != nil { // raw comes from a marshaller
		httpStatus = http.StatusInternalServerError
	}
	b.WriteByte('\n')
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(httpStatus)
	_, _ = w.Write(b.Bytes()) // the caller may be gone; there is nobody else to tell
}

func statusOf(err error) *status.Status {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err)
	}
	return status.Convert(err)
}

// httpStatus follows the mapping in google/rpc/code.proto.
func httpStatus(c codes.Code) int {
	switch c {
	case codes.OK:
		return http.StatusOK
	case codes.Canceled:
		return 499 // client closed request: no constant of net/http's
	case codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange:
		return http.StatusBadRequest
	case codes.DeadlineExceeded:
		return http.StatusGatewayTimeout
	case codes.NotFound:
		return http.StatusNotFound
	case codes.AlreadyExists, codes.Aborted:
		return http.StatusConflict
	case codes.PermissionDenied:
		return http.StatusForbidden
	case codes.Unauthenticated:
		return http.StatusUnauthorized
	case codes.ResourceExhausted:
		return http.StatusTooManyRequests
	case codes.Unimplemented:
		return http.StatusNotImplemented
	case codes.Unavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// writeNoRoute answers a path that no method has (404), or not with this HTTP method (405).
func writeNoRoute(w http.ResponseWriter, r *http.Request, allowed []string, f format) {
	if len(allowed) == 0 {
		s := status.Newf(codes.NotFound, "Method not found: nothing here answers %s %s.", clip(r.Method), clip(r.URL.Path))
		writeStatus(w, http.StatusNotFound, s, f)
		return
	}
	methods := strings.Join(allowed, ", ")
	w.Header().Set("Allow", methods)
	s := status.Newf(codes.Unimplemented, "Method not allowed: %s answers %s, not %s.", clip(r.URL.Path), methods, clip(r.Method))
	writeStatus(w, http.StatusMethodNotAllowed, s, f)
}
