package pubsub

import (
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

func invalidName(name string) error {
	return invalid("Invalid resource name given (name=%s). Refer to https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names for more information.", name)
}

func invalidAckDeadline(seconds int32, least int) error {
	return invalid("Invalid ack deadline given (ack_deadline=%d). The ack deadline must be between %d and 600 seconds.", seconds, least)
}

func invalidArgumentNamed(field string) error {
	return invalid("You have passed an invalid argument to the service (argument=%s).", field)
}

func notFound(name string) error {
	return status.Errorf(codes.NotFound, "Resource not found (resource=%s).", leaf(name))
}

func alreadyExists(name string) error {
	return status.Errorf(codes.AlreadyExists, "Resource already exists in the project (resource=%s).", leaf(name))
}

func errWrongType() error {
	return status.Error(codes.FailedPrecondition, "This method is not supported for this subscription type.")
}

func errDetached(name string) error {
	return status.Errorf(codes.FailedPrecondition, "The subscription is detached from its topic (resource=%s). Delete it and create another one.", leaf(name))
}

func errClosed() error {
	return status.Error(codes.Unavailable, "The emulator is shutting down.")
}

// permanentAckFailure is how exactly-once subscriptions refuse an id, in errors and confirmations.
const permanentAckFailure = "PERMANENT_FAILURE_INVALID_ACK_ID"

// errLapsed refuses the ids whose lease is over; the others of the request have been carried out.
func errLapsed(ids []string) error {
	st := status.New(codes.InvalidArgument, "Some acknowledgement ids in the request were invalid. This could be because the acknowledgement ids have expired or the acknowledgement ids were malformed.")
	info := &errdetails.ErrorInfo{
		Reason:   "EXACTLY_ONCE_ACKID_FAILURE",
		Domain:   "pubsub.googleapis.com",
		Metadata: make(map[string]string, len(ids)),
	}
	for _, id := range ids {
		info.Metadata[id] = permanentAckFailure
	}
	if detailed, err := st.WithDetails(info); err == nil {
		st = detailed
	}
	return st.Err()
}
