package cloudtasks

import (
	"context"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"github.com/google/uuid"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

const (
	maxBatchCreate = 100
	maxBatchDelete = 1000
)

// BatchCreateTasks creates what can be created; what cannot is in the operation's metadata. The whole call fails, and
// creates nothing, if the queue is missing, if there are too many requests, or if one is of another queue.
func (s service) BatchCreateTasks(_ context.Context, r *cloudtaskspb.BatchCreateTasksRequest) (*longrunningpb.Operation, error) {
	requests := r.GetRequests()
	if err := s.checkBatch(r.GetParent(), r.GetRequestId(), "requests", len(requests), maxBatchCreate); err != nil {
		return nil, err
	}
	for _, request := range requests {
		if parent := request.GetParent(); parent != "" && parent != r.GetParent() {
			return nil, invalid("requests", "The parent of each request must be that of the batch, %s, not %s.", r.GetParent(), parent)
		}
	}
	specs := make([]*cloudtaskspb.Task, len(requests))
	failed := make(map[int32]*rpcstatus.Status)
	for i, request := range requests {
		spec, err := s.prepare(r.GetParent(), request)
		if err != nil {
			failed[int32(i)] = status.Convert(err).Proto()
		}
		specs[i] = spec
	}
	return s.batch(r, r.GetParent(), r.GetRequestId(), func(q *queue, name string, now time.Time) (*longrunningpb.Operation, error) {
		response := &cloudtaskspb.BatchCreateTasksResponse{}
		for i, spec := range specs {
			if failed[int32(i)] != nil {
				continue
			}
			created, err := q.insert(spec, r.GetParent(), now)
			if err != nil {
				failed[int32(i)] = status.Convert(err).Proto()
				continue
			}
			response.Tasks = append(response.Tasks, created.proto(requests[i].GetResponseView()))
		}
		metadata := &cloudtaskspb.BatchCreateTasksMetadata{
			StartTime: microseconds(now), EndTime: microseconds(now), FailedRequests: failed,
			State: cloudtaskspb.BatchCreateTasksMetadata_SUCCEEDED,
		}
		if len(failed) > 0 {
			metadata.State = cloudtaskspb.BatchCreateTasksMetadata_PARTIALLY_SUCCEEDED
		}
		return finished(name, metadata, response, noneSucceeded(failed, len(requests), "BatchCreateTasksMetadata"))
	})
}

// BatchDeleteTasks deletes what can be deleted; what cannot is in the operation's metadata.
func (s service) BatchDeleteTasks(_ context.Context, r *cloudtaskspb.BatchDeleteTasksRequest) (*longrunningpb.Operation, error) {
	names := r.GetNames()
	if err := s.checkBatch(r.GetParent(), r.GetRequestId(), "names", len(names), maxBatchDelete); err != nil {
		return nil, err
	}
	for _, name := range names {
		if parentOf(name) != r.GetParent() {
			return nil, invalid("names", "Each task must be of the queue %s, which %q is not.", r.GetParent(), name)
		}
	}
	return s.batch(r, r.GetParent(), r.GetRequestId(), func(_ *queue, operation string, now time.Time) (*longrunningpb.Operation, error) {
		failed := make(map[int32]*rpcstatus.Status)
		for i, name := range names {
			q, t, err := s.task(name, now)
			if err != nil {
				failed[int32(i)] = status.Convert(err).Proto()
				continue
			}
			q.remove(t, now)
		}
		metadata := &cloudtaskspb.BatchDeleteTasksMetadata{
			StartTime: microseconds(now), EndTime: microseconds(now), FailedRequests: failed,
			State: cloudtaskspb.BatchDeleteTasksMetadata_SUCCEEDED,
		}
		if len(failed) > 0 {
			metadata.State = cloudtaskspb.BatchDeleteTasksMetadata_PARTIALLY_SUCCEEDED
		}
		return finished(operation, metadata, &emptypb.Empty{}, noneSucceeded(failed, len(names), "BatchDeleteTasksMetadata"))
	})
}

// checkBatch checks what both batches have.
func (s service) checkBatch(queue, requestID, field string, n, most int) error {
	if err := checkQueue(queue); err != nil {
		return err
	}
	if requestID != "" && !isRequestID(requestID) {
		return invalid("request_id", "requestId can contain only letters, numbers, hyphens, underscores, periods and tildes, at most 100 of them. Use a UUID.")
	}
	if n == 0 || n > most {
		return invalid(field, "%s must have between 1 and %d elements, not %d.", field, most, n)
	}
	return nil
}

// batch does it in one step of the engine, under a name of an operation, unless that was done already.
func (s service) batch(request proto.Message, queueName, requestID string, do func(q *queue, operation string, now time.Time) (*longrunningpb.Operation, error)) (*longrunningpb.Operation, error) {
	if requestID == "" {
		requestID = uuid.NewString()
	}
	name := parentOf(queueName) + "/operations/" + requestID
	sum := fingerprint(request)
	return commit(s, func(now time.Time) (*longrunningpb.Operation, error) {
		if done, err := s.operations.find(name, sum); done != nil || err != nil {
			return done, err
		}
		q, err := s.queue(queueName)
		if err != nil {
			return nil, err
		}
		op, err := do(q, name, now)
		if err != nil {
			return nil, status.Errorf(codes.Internal, "The batch was done, but its result could not be written: %v.", err)
		}
		s.operations.add(op, sum)
		s.pump(q)
		return proto.CloneOf(op), nil
	})
}

// noneSucceeded is the error of an operation in which every request failed; the words are those of the proto's comment
// on BatchDeleteTasksMetadata.
func noneSucceeded(failed map[int32]*rpcstatus.Status, n int, metadata string) error {
	if len(failed) < n {
		return nil
	}
	return status.Errorf(codes.Aborted, "None of the requests succeeded, refer to %s.failed_requests for individual error details", metadata)
}
