package cloudtasks

import (
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// TaskRecord is what is known of a task. The exported fields are what attempts change, and kept as JSON, see [journal].
type TaskRecord struct {
	queue, id string // the queue's name, and the task's id in it
	spec      []byte // the task as it was created, encoded and without its name
	body      int32  // how much of that is the request's body

	Previous      int32          // status of the last attempt that ended; 0: none has
	Schedule      time.Time      // when the next attempt is due
	Dispatches    int32          // attempts made, those in flight included
	Responses     int32          // attempts that got an answer of any status
	Executions    int32          // attempts that count as executions; see [result]
	Failures      int32          // attempts that have failed
	FirstDispatch time.Time      `json:",omitzero"`
	Last          *AttemptRecord `json:",omitempty"` // nil: none was made
}

// AttemptRecord is the last attempt of a task.
type AttemptRecord struct {
	Schedule, Dispatch time.Time
	Response           time.Time `json:",omitzero"` // zero while it is in flight
	Status             int       // HTTP status, as counted; see [result]
}

// task is a task in a queue. There may be a million, so its fields are in an order that leaves no gaps.
type task struct {
	TaskRecord
	seq       uint64 // order of creation, among tasks that are due at once
	index     int    // in the queue's heap; -1 while it does not wait there
	inFlight  int32  // attempts; RunTask can make it more than one
	generated bool   // the name is ours, so nobody can send it twice
	saved     bool   // the journal has its attempts
}

// attempt is one dispatch. It is a copy: what happens to the task meanwhile does not change the request.
type attempt struct {
	task       *task
	spec       *cloudtaskspb.Task
	queue      *cloudtaskspb.Queue // the queue's configuration when it began
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
	appEngine  bool          // the target is
	retryAfter time.Duration // the receiver's Retry-After; 0: none
}

func (r result) ok() bool { return r.status >= 200 && r.status <= 299 }

// refusesLoad tells the answers that slow the whole queue down. App Engine's 429 does not (AppEngineHttpRequest's comment).
func (r result) refusesLoad() bool {
	return r.answered && (r.status == 503 || r.status == 429 && !r.appEngine)
}

// executed tells whether the attempt counts in TaskExecutionCount. For an HTTP target a 5xx does not, for App Engine
// every answer does; both were recorded from the real service.
func (r result) executed() bool { return r.answered && (r.status < 500 || r.appEngine) }

// proto is a copy of the task for a response.
func (t *TaskRecord) proto(view cloudtaskspb.Task_View) *cloudtaskspb.Task {
	out := render(t.unpack(), view == cloudtaskspb.Task_FULL)
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
