package cloudtasks

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func (b *bench) batchCreate(requestID string, tasks ...*cloudtaskspb.Task) (*longrunningpb.Operation, error) {
	r := &cloudtaskspb.BatchCreateTasksRequest{Parent: queueA, RequestId: requestID}
	for _, task := range tasks {
		r.Requests = append(r.Requests, &cloudtaskspb.CreateTaskRequest{Parent: queueA, Task: task, ResponseView: cloudtaskspb.Task_FULL})
	}
	return b.BatchCreateTasks(b.ctx, r)
}

// unpack returns an operation's metadata and response.
func unpack(t *testing.T, op *longrunningpb.Operation, metadata, response proto.Message) {
	t.Helper()
	if !op.GetDone() {
		t.Error("the operation is not done")
	}
	if err := op.GetMetadata().UnmarshalTo(metadata); err != nil {
		t.Error(err)
	}
	if response != nil {
		if err := op.GetResponse().UnmarshalTo(response); err != nil {
			t.Errorf("no response: %v, error %v", err, op.GetError())
		}
	}
}

func TestBatchCreate(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(nil, nil)
		b.after(1500 * time.Millisecond)
		op, err := b.batchCreate("", newTask(named("one")), newTask(), newTask(named("one")), newTask(target("")))
		b.must(err)
		var metadata cloudtaskspb.BatchCreateTasksMetadata
		var response cloudtaskspb.BatchCreateTasksResponse
		unpack(t, op, &metadata, &response)
		at := timestamppb.New(b.start.Add(1500 * time.Millisecond))
		want := &cloudtaskspb.BatchCreateTasksMetadata{StartTime: at, EndTime: at, State: cloudtaskspb.BatchCreateTasksMetadata_PARTIALLY_SUCCEEDED}
		if diff := cmp.Diff(want, &metadata, protocmp.Transform(), protocmp.IgnoreFields(&cloudtaskspb.BatchCreateTasksMetadata{}, "failed_requests")); diff != "" {
			t.Errorf("metadata (-want +got):\n%s", diff)
		}
		failed := metadata.GetFailedRequests()
		if len(failed) != 2 || codes.Code(failed[2].GetCode()) != codes.AlreadyExists || failed[3].GetMessage() != "HttpRequest.url is required." {
			t.Errorf("failed requests: %v", failed)
		}
		tasks := response.GetTasks()
		if len(tasks) != 2 || tasks[0].GetName() != queueA+"/tasks/one" || string(tasks[1].GetHttpRequest().GetBody()) != "hello" || tasks[1].GetView() != cloudtaskspb.Task_FULL {
			t.Errorf("tasks: %v", tasks)
		}
		b.after(time.Second)
		if got := len(b.got()); got != 2 {
			t.Errorf("%d deliveries", got)
		}

		if op, err = b.batchCreate("", newTask()); err != nil {
			t.Fatal(err)
		}
		metadata.Reset()
		unpack(t, op, &metadata, &response)
		if metadata.GetState() != cloudtaskspb.BatchCreateTasksMetadata_SUCCEEDED || len(metadata.GetFailedRequests()) != 0 {
			t.Errorf("metadata of a success: %v", &metadata)
		}
	})
}

func TestBatchDelete(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(nil, nil)
		var names []string
		for i := range 3 {
			names = append(names, b.create(named(fmt.Sprint("t", i)), b.in(time.Hour)).GetName())
		}
		remove := func(names ...string) *longrunningpb.Operation {
			op, err := b.BatchDeleteTasks(b.ctx, &cloudtaskspb.BatchDeleteTasksRequest{Parent: queueA, Names: names})
			b.must(err)
			return op
		}
		var metadata cloudtaskspb.BatchDeleteTasksMetadata
		unpack(t, remove(names[0], names[0], queueA+"/tasks/a b"), &metadata, &emptypb.Empty{})
		failed := metadata.GetFailedRequests()
		if metadata.GetState() != cloudtaskspb.BatchDeleteTasksMetadata_PARTIALLY_SUCCEEDED || len(failed) != 2 ||
			codes.Code(failed[1].GetCode()) != codes.NotFound || codes.Code(failed[2].GetCode()) != codes.InvalidArgument ||
			!metadata.GetStartTime().AsTime().Equal(b.start) || !metadata.GetEndTime().AsTime().Equal(b.start) {
			t.Errorf("metadata: %v", &metadata)
		}
		metadata.Reset()
		unpack(t, remove(names[1]), &metadata, &emptypb.Empty{})
		if metadata.GetState() != cloudtaskspb.BatchDeleteTasksMetadata_SUCCEEDED {
			t.Errorf("metadata of a success: %v", &metadata)
		}
		op := remove(names[0])
		const none = "None of the requests succeeded, refer to BatchDeleteTasksMetadata.failed_requests for individual error details"
		if codes.Code(op.GetError().GetCode()) != codes.Aborted || op.GetError().GetMessage() != none {
			t.Errorf("when all fail: %v", op)
		}
		b.after(2 * time.Hour)
		if got := b.got(); len(got) != 1 || got[0].header["X-CloudTasks-TaskName"][0] != "t2" {
			t.Errorf("%d deliveries, want only that of t2", len(got))
		}
	})
}

// A batch whose answer was lost is not done again.
func TestBatchRequestID(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(nil, nil)
		const id = "6b1f0a3e-0000-4000-8000-000000000001"
		first, err := b.batchCreate(id, newTask(b.in(time.Hour)))
		b.must(err)
		if want := location + "/operations/" + id; first.GetName() != want {
			t.Errorf("operation %q, want %q", first.GetName(), want)
		}
		again, err := b.batchCreate(id, newTask(b.in(time.Hour)))
		b.must(err)
		if diff := cmp.Diff(first, again, protocmp.Transform()); diff != "" || b.queues[queueA].tasks.Len() != 1 {
			t.Errorf("%d tasks (-first +again):\n%s", b.queues[queueA].tasks.Len(), diff)
		}
		_, err = b.batchCreate(id, newTask(b.in(2*time.Hour)))
		wantError(t, err, codes.InvalidArgument, "The requestId was used lately by another request")
		_, err = b.BatchDeleteTasks(b.ctx, &cloudtaskspb.BatchDeleteTasksRequest{Parent: queueA, Names: []string{queueA + "/tasks/t"}, RequestId: id})
		wantError(t, err, codes.InvalidArgument, "The requestId was used lately by another request")

		operations := lro{Engine: b.Engine}
		got, err := operations.GetOperation(b.ctx, &longrunningpb.GetOperationRequest{Name: first.GetName()})
		b.must(err)
		waited, err := operations.WaitOperation(b.ctx, &longrunningpb.WaitOperationRequest{Name: first.GetName()})
		b.must(err)
		if diff := cmp.Diff(first, got, protocmp.Transform()); diff != "" || !proto.Equal(got, waited) {
			t.Errorf("GetOperation, WaitOperation (-want +got):\n%s", diff)
		}
		_, err = operations.GetOperation(b.ctx, &longrunningpb.GetOperationRequest{Name: location + "/operations/other"})
		wantError(t, err, codes.NotFound, "Operation")
		_, err = operations.GetOperation(b.ctx, &longrunningpb.GetOperationRequest{Name: "operations/other"})
		wantError(t, err, codes.InvalidArgument, `"operations/other" is not an operation name`)
		b.Reset()
		_, err = operations.GetOperation(b.ctx, &longrunningpb.GetOperationRequest{Name: first.GetName()})
		wantError(t, err, codes.NotFound, "Operation")
	})
}

func TestBatchErrors(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(nil, nil)
		create := func(r *cloudtaskspb.BatchCreateTasksRequest) error {
			_, err := b.BatchCreateTasks(b.ctx, r)
			return err
		}
		remove := func(r *cloudtaskspb.BatchDeleteTasksRequest) error {
			_, err := b.BatchDeleteTasks(b.ctx, r)
			return err
		}
		requests := func(n int) []*cloudtaskspb.CreateTaskRequest { return make([]*cloudtaskspb.CreateTaskRequest, n) }
		names := func(n int) []string {
			return strings.Split(strings.TrimSuffix(strings.Repeat(queueA+"/tasks/t,", n), ","), ",")
		}
		for _, c := range []struct {
			name    string
			err     error
			code    codes.Code
			message string
		}{
			{"create: no parent", create(&cloudtaskspb.BatchCreateTasksRequest{Requests: requests(1)}), codes.InvalidArgument, "Queue name must be formatted"},
			{"create: nothing", create(&cloudtaskspb.BatchCreateTasksRequest{Parent: queueA}), codes.InvalidArgument, "requests must have between 1 and 100 elements, not 0."},
			{"create: too many", create(&cloudtaskspb.BatchCreateTasksRequest{Parent: queueA, Requests: requests(101)}), codes.InvalidArgument, "requests must have between 1 and 100 elements, not 101."},
			{"create: another queue", create(&cloudtaskspb.BatchCreateTasksRequest{Parent: queueA, Requests: []*cloudtaskspb.CreateTaskRequest{{Parent: location + "/queues/b"}}}), codes.InvalidArgument, "The parent of each request"},
			{"create: request id", create(&cloudtaskspb.BatchCreateTasksRequest{Parent: queueA, Requests: requests(1), RequestId: "a/b"}), codes.InvalidArgument, "requestId can contain only"},
			{"create: no queue", create(&cloudtaskspb.BatchCreateTasksRequest{Parent: location + "/queues/b", Requests: requests(1)}), codes.NotFound, "Queue does not exist."},
			{"create: a hundred that are nothing", create(&cloudtaskspb.BatchCreateTasksRequest{Parent: queueA, Requests: requests(100)}), codes.OK, ""},
			{"delete: no parent", remove(&cloudtaskspb.BatchDeleteTasksRequest{Names: names(1)}), codes.InvalidArgument, "Queue name must be formatted"},
			{"delete: nothing", remove(&cloudtaskspb.BatchDeleteTasksRequest{Parent: queueA}), codes.InvalidArgument, "names must have between 1 and 1000 elements, not 0."},
			{"delete: too many", remove(&cloudtaskspb.BatchDeleteTasksRequest{Parent: queueA, Names: names(1001)}), codes.InvalidArgument, "names must have between 1 and 1000 elements, not 1001."},
			{"delete: another queue", remove(&cloudtaskspb.BatchDeleteTasksRequest{Parent: queueA, Names: []string{location + "/queues/b/tasks/t"}}), codes.InvalidArgument, "Each task must be of the queue"},
			{"delete: no queue", remove(&cloudtaskspb.BatchDeleteTasksRequest{Parent: location + "/queues/b", Names: []string{location + "/queues/b/tasks/t"}}), codes.NotFound, "Queue does not exist."},
			{"delete: a thousand", remove(&cloudtaskspb.BatchDeleteTasksRequest{Parent: queueA, Names: names(1000)}), codes.OK, ""},
		} {
			t.Run(c.name, func(t *testing.T) { wantError(t, c.err, c.code, c.message) })
		}
	})
}

func TestOperationsAreForgottenByNumberAndBySize(t *testing.T) {
	var o operations
	for i := range maxOperations + 5 {
		o.adopt(&operation{kept: &longrunningpb.Operation{Name: fmt.Sprint(i)}})
	}
	if _, old := o.byName["4"]; old || len(o.byName) != maxOperations || o.byName["5"] == nil {
		t.Errorf("%d are kept", len(o.byName))
	}
	for i := range 4 {
		o.adopt(&operation{kept: &longrunningpb.Operation{Name: fmt.Sprintf("large %d %s", i, strings.Repeat("x", maxOperationBytes/2))}})
	}
	if len(o.byName) != 1 || len(o.oldest) != 1 {
		t.Errorf("%d are kept after large ones", len(o.byName))
	}
}

// Cloud Tasks publishes GetOperation alone (cloudtasks_v2.yaml).
func TestUnpublishedOperations(t *testing.T) {
	e := newHostileEngine(t)
	registered := make(methods)
	e.Register(registered)
	for _, name := range []string{"ListOperations", "DeleteOperation", "CancelOperation"} {
		_, err := registered["/google.longrunning.Operations/"+name](t.Context(), func(any) error { return nil })
		wantError(t, err, codes.Unimplemented, "")
	}
}
