package cloudtasks

import (
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Errors as the real service words them, where its words are known.
var (
	errQueueMissing = status.Error(codes.NotFound, "Queue does not exist. If you just created the queue, wait at least a minute for the queue to initialize.")
	errQueueExists  = status.Error(codes.AlreadyExists, "Queue already exists")
	errQueueTooSoon = status.Error(codes.FailedPrecondition, "The queue cannot be created because a queue with this name existed too recently.")
	errMissing      = status.Error(codes.NotFound, "Requested entity was not found.")
	errTaskExists   = status.Error(codes.AlreadyExists, "Requested entity already exists")
	errTaskFinished = status.Error(codes.NotFound, "The task no longer exists, though a task with this name existed recently. The task either successfully completed or was deleted.")
	errClosing      = status.Error(codes.Unavailable, "The emulator is shutting down.")
)

func invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

// missing is for what the real service has and this one does not.
func missing(what, instead string) error {
	return status.Errorf(codes.Unimplemented, "The emulator does not have %s: %s.", what, instead)
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
