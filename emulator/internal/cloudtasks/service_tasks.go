package cloudtasks

import (
	"context"
	"math/rand/v2"
	"strconv"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/protobuf/types/known/emptypb"
)

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
	if t, ok := q.tasks.Get(id); ok {
		return q, t, nil
	}
	if q.finished.has(id, now) {
		return nil, nil, errTaskFinished
	}
	return nil, nil, errMissing
}

// checkView refuses a view that does not exist; none is BASIC.
func checkView(v cloudtaskspb.Task_View) error {
	if _, known := cloudtaskspb.Task_View_name[int32(v)]; !known {
		return invalid("response_view", "responseView %d is unknown.", v)
	}
	return nil
}

func (s service) CreateTask(_ context.Context, r *cloudtaskspb.CreateTaskRequest) (*cloudtaskspb.Task, error) {
	if err := checkQueue(r.GetParent()); err != nil {
		return nil, err
	}
	spec, err := s.prepare(r.GetParent(), r)
	if err != nil {
		return nil, err
	}
	created, err := commit(s, func(now time.Time) (TaskRecord, error) {
		q, err := s.queue(r.GetParent())
		if err != nil {
			return TaskRecord{}, err
		}
		created, err := q.insert(spec, r.GetParent(), now) // before anything is dispatched
		if err == nil {
			s.pump(q)
		}
		return created, err
	})
	if err != nil {
		return nil, err
	}
	return created.proto(r.GetResponseView()), nil
}

// prepare checks a request to create a task in the queue of that name, and returns the task to keep.
func (s service) prepare(queue string, r *cloudtaskspb.CreateTaskRequest) (*cloudtaskspb.Task, error) {
	if err := checkView(r.GetResponseView()); err != nil {
		return nil, err
	}
	if name := r.GetTask().GetName(); name != "" {
		if err := checkTask(name); err != nil {
			return nil, err
		}
		if parentOf(name) != queue {
			return nil, refused("The queue name from request ('%s') must be the same as the queue name in the named task ('%s').", queue, parentOf(name))
		}
	}
	return s.newSpec(queue, r.GetTask(), s.config.Clock.Now())
}

// insert adds a prepared task, unless its name is taken. Without a name it gets one.
func (q *queue) insert(spec *cloudtaskspb.Task, queue string, now time.Time) (TaskRecord, error) {
	_, id := shortNames(spec.GetName())
	generated := spec.GetName() == ""
	switch {
	case generated:
		id = q.newID()
		spec.Name = queue + "/tasks/" + id
	case q.taken(id, now):
		return TaskRecord{}, errTaskExists
	}
	return q.add(id, generated, spec).TaskRecord, nil
}

// newID makes up a task's id, a number as the real service's.
func (q *queue) newID() string {
	for {
		id := strconv.FormatUint(rand.Uint64(), 10)
		if _, ok := q.tasks.Get(id); !ok {
			return id
		}
	}
}

func (s service) GetTask(_ context.Context, r *cloudtaskspb.GetTaskRequest) (*cloudtaskspb.Task, error) {
	if err := checkView(r.GetResponseView()); err != nil {
		return nil, err
	}
	record, err := s.record(r.GetName())
	if err != nil {
		return nil, err
	}
	return record.proto(r.GetResponseView()), nil
}

// record is a copy of what is known of a task, to be rendered without the lock.
func (s service) record(name string) (TaskRecord, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, t, err := s.task(name, s.config.Clock.Now())
	if err != nil {
		return TaskRecord{}, err
	}
	return t.TaskRecord, nil
}

// ListTasks orders tasks by their ids. A page costs what is on it, however many tasks there are.
func (s service) ListTasks(_ context.Context, r *cloudtaskspb.ListTasksRequest) (*cloudtaskspb.ListTasksResponse, error) {
	if err := checkView(r.GetResponseView()); err != nil {
		return nil, err
	}
	page, err := newCursor(r.GetPageToken(), r.GetPageSize(), maxTaskPage, "")
	if err != nil {
		return nil, err
	}
	records, token, err := s.records(r.GetParent(), page, r.GetResponseView() == cloudtaskspb.Task_FULL)
	if err != nil {
		return nil, err
	}
	response := &cloudtaskspb.ListTasksResponse{NextPageToken: token}
	for _, record := range records {
		response.Tasks = append(response.Tasks, record.proto(r.GetResponseView()))
	}
	return response, nil
}

func (s service) records(parent string, page cursor, full bool) (records []TaskRecord, token string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(parent)
	if err != nil {
		return nil, "", err
	}
	size, last := 0, ""
	q.tasks.Ascend(page.after, func(id string, t *task) bool {
		if id == page.after {
			return true
		}
		size += len(t.spec)
		if !full {
			size -= int(t.body)
		}
		if len(records) == page.limit || len(records) > 0 && size > maxPageBytes {
			token = page.token(last, true)
			return false
		}
		records, last = append(records, t.TaskRecord), id
		return true
	})
	return records, token, nil
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
	if err := checkView(r.GetResponseView()); err != nil {
		return nil, err
	}
	running, err := commit(s, func(now time.Time) (TaskRecord, error) {
		if s.closed {
			return TaskRecord{}, errClosing
		}
		q, t, err := s.task(r.GetName(), now)
		if err != nil {
			return TaskRecord{}, err
		}
		s.dispatch(q, q.run(t, now))
		s.pump(q)
		return t.TaskRecord, nil
	})
	if err != nil {
		return nil, err
	}
	return running.proto(r.GetResponseView()), nil
}
