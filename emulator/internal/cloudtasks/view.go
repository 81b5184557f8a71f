package cloudtasks

import (
	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// render makes a response of a task: with the headers and the deadline that the service adds at its creation,
// and without the body, unless that is asked for. Kept tasks do without what is the same in all of them.
func render(out *cloudtaskspb.Task, full bool) *cloudtaskspb.Task {
	out.View = cloudtaskspb.Task_BASIC
	if full {
		out.View = cloudtaskspb.Task_FULL
	}
	if r := out.GetHttpRequest(); r != nil {
		if r.Headers == nil {
			r.Headers = make(map[string]string, 1)
		}
		r.Headers["User-Agent"] = agent
		if !full {
			r.Body = nil
		}
		if out.DispatchDeadline == nil {
			out.DispatchDeadline = durationpb.New(defaultDeadline)
		}
	}
	if r := out.GetAppEngineHttpRequest(); r != nil {
		r.Headers = appEngineHeaders(r) // while the body is known
		if !full {
			r.Body = nil
		}
	}
	return out
}

// storedSize is what the real service measures: the task as it stores it, with what it adds (recorded by the authors
// of another emulator to the byte).
func storedSize(spec *cloudtaskspb.Task) int {
	added := &cloudtaskspb.Task{}
	if spec.GetHttpRequest() != nil {
		added.MessageType = &cloudtaskspb.Task_HttpRequest{HttpRequest: &cloudtaskspb.HttpRequest{Headers: map[string]string{"User-Agent": agent}}}
		if spec.DispatchDeadline == nil {
			added.DispatchDeadline = durationpb.New(defaultDeadline)
		}
		return proto.Size(spec) + proto.Size(added) - 2 // the key and the length of the request are there already
	}
	return proto.Size(render(proto.CloneOf(spec), true)) - proto.Size(&cloudtaskspb.Task{View: cloudtaskspb.Task_FULL})
}
