package cloudtasks

import (
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// TaskRecord is what is known of a task: all that a [Store] needs to bring it back.
type TaskRecord struct {
	Spec          *cloudtaskspb.Task // as it was created; never changed afterwards
	Schedule      time.Time          // when the next attempt is due
	Dispatches    int32              // attempts made, those in flight included
	Responses     int32              // attempts that got an answer of any status
	Executions    int32              // attempts that got an answer below 500
	Failures      int32              // attempts that have failed
	Previous      int                // status of the last attempt that ended; 0: none has
	FirstDispatch time.Time
	Last          *AttemptRecord // nil: none was made
}

// AttemptRecord is the last attempt of a task.
type AttemptRecord struct {
	Schedule, Dispatch time.Time
	Response           time.Time // zero while it is in flight
	Status             int       // HTTP status, as counted; see [result]
}

// task is a task in a queue.
type task struct {
	TaskRecord
	id        string
	generated bool   // the name is ours, so nobody can send it twice
	seq       uint64 // order of creation, among tasks that are due at once
	index     int    // in the queue's heap; -1 while it does not wait there
	inFlight  int    // attempts; RunTask can make it more than one
}

// attempt is one dispatch. It is a copy: what happens to the task meanwhile does not change the request.
type attempt struct {
	task       *task
	spec       *cloudtaskspb.Task
	schedule   time.Time
	retries    int32
	executions int32
	previous   int
	record     *AttemptRecord
	forced     time.Time // when RunTask was called; zero for an ordinary attempt
}

// result is how an attempt ended.
type result struct {
	status     int           // of the answer; 504 for none in time, 503 for none at all
	answered   bool          // the status is the receiver's own
	retryAfter time.Duration // the receiver's Retry-After; 0: none
}

func (r result) ok() bool { return r.status >= 200 && r.status <= 299 }

// refusesLoad tells the answers that slow the whole queue down.
func (r result) refusesLoad() bool { return r.answered && (r.status == 429 || r.status == 503) }

// proto is a copy of the task for a response.
func (t *TaskRecord) proto(view cloudtaskspb.Task_View) *cloudtaskspb.Task {
	out := proto.CloneOf(t.Spec)
	out.View = cloudtaskspb.Task_FULL
	if view != cloudtaskspb.Task_FULL {
		out.View = cloudtaskspb.Task_BASIC
		if r := out.GetHttpRequest(); r != nil {
			r.Body = nil
		}
	}
	out.ScheduleTime = timestamppb.New(t.Schedule)
	out.DispatchCount = t.Dispatches
	out.ResponseCount = t.Responses
	if !t.FirstDispatch.IsZero() {
		out.FirstAttempt = &cloudtaskspb.Attempt{DispatchTime: microseconds(t.FirstDispatch)}
	}
	if t.Last != nil {
		out.LastAttempt = t.Last.proto()
	}
	return out
}

func (a *AttemptRecord) proto() *cloudtaskspb.Attempt {
	out := &cloudtaskspb.Attempt{
		ScheduleTime: microseconds(a.Schedule),
		DispatchTime: microseconds(a.Dispatch),
	}
	if !a.Response.IsZero() {
		code := codeOf(a.Status)
		out.ResponseTime = microseconds(a.Response)
		out.ResponseStatus = &status.Status{Code: int32(code), Message: responseMessage(code, a.Status)}
	}
	return out
}

func microseconds(t time.Time) *timestamppb.Timestamp {
	return timestamppb.New(t.Truncate(time.Microsecond))
}
