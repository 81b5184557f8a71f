package cloudtasks

import (
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
)

// Errors as the real service words them, where its words are known: those of the facts, and those that the authors
// of another emulator recorded and published (github.com/aertje/cloud-tasks-emulator, test/conformance/golden).
var (
	errQueueMissing = status.Error(codes.NotFound, "Queue does not exist. If you just created the queue, wait at least a minute for the queue to initialize.")
	errQueueExists  = status.Error(codes.AlreadyExists, "Queue already exists")
	errQueueTooSoon = status.Error(codes.FailedPrecondition, "The queue cannot be created because a queue with this name existed too recently.")
	errMissing      = status.Error(codes.NotFound, "Requested entity was not found.")
	errTaskExists   = status.Error(codes.AlreadyExists, "Requested entity already exists")
	errTaskFinished = status.Error(codes.NotFound, "The task no longer exists, though a task with this name existed recently. The task either successfully completed or was deleted.")
	errClosing      = status.Error(codes.Unavailable, "The emulator is shutting down.")
)

// refused is INVALID_ARGUMENT in the real service's recorded words. Those come without details.
func refused(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

// invalid is INVALID_ARGUMENT in our own words, for what nobody has recorded. A google.rpc.BadRequest names the
// field by its path in the request; whether the real service adds one there is not confirmed.
func invalid(field, format string, args ...any) error {
	message := fmt.Sprintf(format, args...)
	return withDetail(status.New(codes.InvalidArgument, message), &errdetails.BadRequest{
		FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: field, Description: message}},
	})
}

// misnamed is INVALID_ARGUMENT with a link to the definition of a name, which the real service adds to some.
func misnamed(message, definition, anchor string) error {
	return withDetail(status.New(codes.InvalidArgument, message), &errdetails.Help{Links: []*errdetails.Help_Link{{
		Description: "Definition of " + definition,
		Url:         "https://cloud.google.com/tasks/docs/reference/rest/v2/projects.locations." + anchor,
	}}})
}

func withDetail(s *status.Status, detail protoadapt.MessageV1) error {
	if detailed, err := s.WithDetails(detail); err == nil {
		s = detailed
	}
	return s.Err()
}

// codeOf is the status that an attempt's record shows for an HTTP status.
func codeOf(httpStatus int) codes.Code {
	switch httpStatus {
	case http.StatusBadRequest:
		return codes.InvalidArgument
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusForbidden:
		return codes.PermissionDenied
	case http.StatusNotFound:
		return codes.NotFound
	case http.StatusConflict:
		return codes.Aborted
	case http.StatusTooManyRequests:
		return codes.ResourceExhausted
	case http.StatusInternalServerError:
		return codes.Internal
	case http.StatusNotImplemented:
		return codes.Unimplemented
	case http.StatusServiceUnavailable:
		return codes.Unavailable
	case http.StatusGatewayTimeout:
		return codes.DeadlineExceeded
	}
	if httpStatus >= 200 && httpStatus <= 299 {
		return codes.OK
	}
	return codes.Unknown
}

// responseMessage is as in "UNAVAILABLE(14): HTTP status code 503".
func responseMessage(code codes.Code, httpStatus int) string {
	return fmt.Sprintf("%s(%d): HTTP status code %d", screaming(code.String()), code, httpStatus)
}

// screaming makes INVALID_ARGUMENT of InvalidArgument.
func screaming(camel string) string {
	var b strings.Builder
	for i, r := range camel {
		if i > 0 && r >= 'A' && r <= 'Z' && camel != "OK" {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToUpper(b.String())
}
