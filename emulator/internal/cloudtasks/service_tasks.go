package cloudtasks

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/protobuf/types/known/emptypb"
)

const maxTaskPage = 1000

// task finds a task and its queue by the task's name. The caller holds the lock.
func (s service) task(name string, now time.Time) (*queue, *task, error) {
	if err := checkTask(name); err != nil {
		return nil, nil, err
	}
	q, err := s.queue(parentOf(name))
	if err != nil {
		return nil, nil, err
	}
	_, id := shortNames(name)
	if t, ok := q.tasks[id]; ok {
		return q, t, nil
	}
	if q.finished.has(id, now) {
		return nil, nil, errTaskFinished
	}
	return nil, nil, errMissing
}

func (s service) CreateTask(_ context.Context, r *cloudtaskspb.CreateTaskRequest) (*cloudtaskspb.Task, error) {
	if err := checkQueue(r.GetParent()); err != nil {
		return nil, err
	}
	name := r.GetTask().GetName()
	if name != "" {
		if err := checkTask(name); err != nil {
			return nil, err
		}
		if parentOf(name) != r.GetParent() {
			return nil, invalid("The task's name %q is not within the parent %q.", name, r.GetParent())
		}
	}
	spec, err := newSpec(r.GetTask(), s.config.Clock.Now())
	if err != nil {
		return nil, err
	}
	created, err := commit(s, func(now time.Time) (TaskRecord, error) {
		q, err := s.queue(r.GetParent())
		if err != nil {
			return TaskRecord{}, err
		}
		_, id := shortNames(name)
		switch {
		case name == "":
			id = q.newID()
			spec.Name = r.GetParent() + "/tasks/" + id
		case q.taken(id, now):
			return TaskRecord{}, errTaskExists
		}
		created := q.add(id, name == "", spec).TaskRecord // before anything is dispatched
		s.pump(q)
		return created, nil
	})
	if err != nil {
		return nil, err
	}
	return created.proto(r.GetResponseView()), nil
}

// newID makes up a task's id, a number as the real service's.
func (q *queue) newID() string {
	for {
		id := strconv.FormatUint(rand.Uint64(), 10)
		if _, ok := q.tasks[id]; !ok {
			return id
		}
	}
}

func (s service) GetTask(_ context.Context, r *cloudtaskspb.GetTaskRequest) (*cloudtaskspb.Task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, t, err := s.task(r.GetName(), s.config.Clock.Now())
	if err != nil {
		return nil, err
	}
	return t.proto(r.GetResponseView()), nil
}

func (s service) ListTasks(_ context.Context, r *cloudtaskspb.ListTasksRequest) (*cloudtaskspb.ListTasksResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(r.GetParent())
	if err != nil {
		return nil, err
	}
	ids, token, err := page(slices.Collect(maps.Keys(q.tasks)), r.GetPageToken(), r.GetPageSize(), maxTaskPage)
	if err != nil {
		return nil, err
	}
	response := &cloudtaskspb.ListTasksResponse{NextPageToken: token}
	for _, id := range ids {
		response.Tasks = append(response.Tasks, q.tasks[id].proto(r.GetResponseView()))
	}
	return response, nil
}

func (s service) DeleteTask(_ context.Context, r *cloudtaskspb.DeleteTaskRequest) (*emptypb.Empty, error) {
	return commit(s, func(now time.Time) (*emptypb.Empty, error) {
		q, t, err := s.task(r.GetName(), now)
		if err != nil {
			return nil, err
		}
		q.remove(t, now)
		s.pump(q)
		return &emptypb.Empty{}, nil
	})
}

// RunTask returns when the attempt is on its way, not when it has ended.
func (s service) RunTask(_ context.Context, r *cloudtaskspb.RunTaskRequest) (*cloudtaskspb.Task, error) {
	return commit(s, func(now time.Time) (*cloudtaskspb.Task, error) {
		if s.closed {
			return nil, errClosing
		}
		q, t, err := s.task(r.GetName(), now)
		if err != nil {
			return nil, err
		}
		s.dispatch(q, q.run(t, now))
		s.pump(q)
		return t.proto(r.GetResponseView()), nil
	})
}
