package cloudtasks

import (
	"context"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"waybill.dev/emulator/internal/rest"
)

var errNoHTTPTarget = status.Error(codes.FailedPrecondition,
	"The queue has no HTTP target for buffered tasks: set its httpTarget.uriOverride.host, to which they are sent.")

// RegisterREST adds the one method that has no gRPC counterpart. Everything else comes with Register.
func (e *Engine) RegisterREST(h *rest.Handler) {
	h.HandleRaw(rest.RawMethod{
		Name: "/google.cloud.tasks.v2.CloudTasks/BufferTask",
		Paths: []string{
			"/v2/{queue=projects/*/locations/*/queues/*}/tasks/{task_id}:buffer",
			"/v2/{queue=projects/*/locations/*/queues/*}/tasks:buffer",
		},
		Member: "task",
		Call: func(ctx context.Context, variables map[string]string, body []byte) (proto.Message, error) {
			task, err := e.BufferTask(ctx, variables["queue"], variables["task_id"], body)
			if err != nil {
				return nil, err
			}
			return task, nil
		},
	})
}

// BufferTask creates a task that consists of a body, and goes where the queue's HTTP target says. The id may be empty.
// The method is the queue's at the time of the dispatch, POST without one. The Content-Type is application/json (HttpTarget's
// comment), unless the queue overrides it.
func (e *Engine) BufferTask(ctx context.Context, queueName, taskID string, body []byte) (*cloudtaskspb.Task, error) {
	s := service{Engine: e}
	override, err := s.uriOverride(queueName)
	if err != nil {
		return nil, err
	}
	request := &cloudtaskspb.HttpRequest{Url: urlOf(override), HttpMethod: cloudtaskspb.HttpMethod_POST, Body: body}
	if len(body) > 0 {
		request.Headers = map[string]string{"Content-Type": "application/json"}
	}
	task := &cloudtaskspb.Task{MessageType: &cloudtaskspb.Task_HttpRequest{HttpRequest: request}}
	if taskID != "" {
		task.Name = queueName + "/tasks/" + taskID
	}
	return s.CreateTask(ctx, &cloudtaskspb.CreateTaskRequest{Parent: queueName, Task: task})
}

func (s service) uriOverride(queueName string) (*cloudtaskspb.UriOverride, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(queueName)
	if err != nil {
		return nil, err
	}
	if override := q.config.GetHttpTarget().GetUriOverride(); override.GetHost() != "" {
		return override, nil // never changed in place
	}
	return nil, errNoHTTPTarget
}
