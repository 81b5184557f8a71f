package cloudtasks

import (
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// wantField demands a violation of that field, described by the error's message, and no other detail.
func wantField(t *testing.T, err error, field string) {
	t.Helper()
	s := status.Convert(err)
	want := []any{&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: field, Description: s.Message()}}}}
	if diff := cmp.Diff(want, s.Details(), protocmp.Transform()); diff != "" {
		t.Errorf("details (-want +got):\n%s", diff)
	}
}

// The details of errors as they were recorded from the real service: links to the definitions of names, and nothing
// beside the other recorded messages.
func TestRecordedDetails(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(nil, nil)
		help := func(description, anchor string) []any {
			return []any{&errdetails.Help{Links: []*errdetails.Help_Link{{
				Description: description,
				Url:         "https://cloud.google.com/tasks/docs/reference/rest/v2/projects.locations." + anchor,
			}}}}
		}
		_, badQueue := b.CreateQueue(b.ctx, &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{Name: "not-a-valid-queue-name"}})
		_, badTask := b.tryCreate(named("not a valid id"))
		_, noURL := b.tryCreate(target(""))
		_, tooFar := b.tryCreate(func(t *cloudtaskspb.Task) {
			t.ScheduleTime = timestamppb.New(time.Date(2005, 7, 4, 19, 0, 0, 0, time.UTC))
		})
		for what, c := range map[string]struct {
			err     error
			details []any
		}{
			"queue name": {badQueue, help("Definition of queue name", "queues#Queue.FIELDS.name")},
			"task id":    {badTask, help("Definition of task ID", "queues.tasks#Task.FIELDS.name")},
			"URL":        {noURL, []any{}},
			"schedule":   {tooFar, []any{}},
		} {
			if diff := cmp.Diff(c.details, status.Convert(c.err).Details(), protocmp.Transform()); c.err == nil || diff != "" {
				t.Errorf("%s: %v (-want +got):\n%s", what, c.err, diff)
			}
		}
		// Summer time has another offset.
		wantError(t, tooFar, 3, "The Task.scheduleTime, 2005-07-04T12:00:00-07:00, is too far in the future. Schedule time must be no more than 720h in the future.")
	})
}

// A field of our own words names its field.
func TestOwnDetails(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(nil, nil)
		_, err := b.tryCreate(request(func(r *cloudtaskspb.HttpRequest) { r.HttpMethod = 99 }))
		wantField(t, err, "task.http_request.http_method")
		_, err = b.ListTasks(b.ctx, &cloudtaskspb.ListTasksRequest{Parent: queueA, PageSize: -1})
		wantField(t, err, "page_size")
		_, err = b.GetTask(b.ctx, &cloudtaskspb.GetTaskRequest{Name: queueA + "/tasks/t", ResponseView: 99})
		wantField(t, err, "response_view")
	})
}
