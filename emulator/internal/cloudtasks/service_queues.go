package cloudtasks

import (
	"context"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// service is google.cloud.tasks.v2.CloudTasks. What it does not override answers UNIMPLEMENTED.
type service struct {
	cloudtaskspb.UnimplementedCloudTasksServer
	*Engine
}

// queue finds a queue by its name. The caller holds the lock.
func (s service) queue(name string) (*queue, error) {
	if err := checkQueue(name); err != nil {
		return nil, err
	}
	if q, ok := s.queues[name]; ok {
		return q, nil
	}
	return nil, errQueueMissing
}

// commit makes a change under the lock, and lets the caller learn of it once it is safe.
func commit[T any](s service, change func(now time.Time) (T, error)) (T, error) {
	locked := func() (T, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return change(s.config.Clock.Now())
	}
	var changed T
	if err := s.journal.Ready(); err != nil {
		return changed, status.Errorf(codes.Unavailable, "The emulator cannot store changes, and has made none: %v.", err)
	}
	changed, err := locked()
	if err != nil {
		return changed, err
	}
	if err := s.journal.Sync(); err != nil {
		return changed, status.Errorf(codes.Internal, "The emulator could not store the change; it may be there or not after a restart: %v.", err)
	}
	return changed, nil
}

func (s service) CreateQueue(_ context.Context, r *cloudtaskspb.CreateQueueRequest) (*cloudtaskspb.Queue, error) {
	if err := checkLocation("parent", r.GetParent()); err != nil {
		return nil, err
	}
	name := r.GetQueue().GetName()
	if err := checkQueue(name); err != nil {
		return nil, err
	}
	if parentOf(name) != r.GetParent() {
		return nil, refused("%s must begin with %s.", name, r.GetParent())
	}
	return commit(s, func(now time.Time) (*cloudtaskspb.Queue, error) {
		if _, ok := s.queues[name]; ok {
			return nil, errQueueExists
		}
		return s.create(r.GetQueue(), now)
	})
}

// create adds a queue that does not exist. The caller holds the lock.
func (s service) create(sent *cloudtaskspb.Queue, now time.Time) (*cloudtaskspb.Queue, error) {
	if reusable, ok := s.deleted[sent.GetName()]; ok && now.Before(reusable) {
		return nil, errQueueTooSoon
	}
	config, err := s.complete(sent)
	if err != nil {
		return nil, err
	}
	withDefaultDoublings(config.GetRetryConfig())
	config.State, config.PurgeTime = cloudtaskspb.Queue_RUNNING, nil
	if _, deleted := s.deleted[sent.GetName()]; deleted {
		delete(s.deleted, sent.GetName())
		s.journal.forgetDeleted(sent.GetName())
	}
	s.addQueue(config, now)
	s.journal.putQueue(config)
	return proto.CloneOf(config), nil
}

func (s service) GetQueue(_ context.Context, r *cloudtaskspb.GetQueueRequest) (*cloudtaskspb.Queue, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(r.GetName())
	if err != nil {
		return nil, err
	}
	return proto.CloneOf(q.config), nil
}

// ListQueues sorts the names of all queues for each page: there are few, unlike tasks.
func (s service) ListQueues(_ context.Context, r *cloudtaskspb.ListQueuesRequest) (*cloudtaskspb.ListQueuesResponse, error) {
	if err := checkLocation("parent", r.GetParent()); err != nil {
		return nil, err
	}
	matches, err := compileFilter(r.GetFilter(), (&cloudtaskspb.Queue{}).ProtoReflect().Descriptor())
	if err != nil {
		return nil, err
	}
	page, err := newCursor(r.GetPageToken(), r.GetPageSize(), maxQueuePage, r.GetFilter())
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	prefix := r.GetParent() + "/queues/"
	var names []string
	for name := range s.queues {
		if strings.HasPrefix(name, prefix) && name > page.after {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	response := &cloudtaskspb.ListQueuesResponse{}
	size := 0
	for _, name := range names {
		config := s.queues[name].config
		if !matches(config.ProtoReflect()) {
			continue
		}
		size += proto.Size(config)
		if n := len(response.Queues); n == page.limit || n > 0 && size > maxPageBytes {
			response.NextPageToken = page.token(response.Queues[n-1].GetName(), true)
			break
		}
		response.Queues = append(response.Queues, proto.CloneOf(config))
	}
	return response, nil
}

func (s service) UpdateQueue(_ context.Context, r *cloudtaskspb.UpdateQueueRequest) (*cloudtaskspb.Queue, error) {
	name := r.GetQueue().GetName()
	if err := checkQueue(name); err != nil {
		return nil, err
	}
	return commit(s, func(now time.Time) (*cloudtaskspb.Queue, error) {
		q, exists := s.queues[name]
		wanted := &cloudtaskspb.Queue{Name: name}
		if exists {
			wanted = proto.CloneOf(q.config)
		}
		if err := applyMask(wanted, proto.CloneOf(r.GetQueue()), r.GetUpdateMask()); err != nil {
			return nil, err
		}
		if !exists {
			return s.create(wanted, now)
		}
		config, err := s.complete(wanted)
		if err != nil {
			return nil, err
		}
		if slices.Contains(maskPaths(r.GetUpdateMask()), "retry_config") {
			withDefaultDoublings(config.GetRetryConfig())
		}
		q.configure(config, now)
		s.pump(q)
		return proto.CloneOf(config), nil
	})
}

func (s service) DeleteQueue(_ context.Context, r *cloudtaskspb.DeleteQueueRequest) (*emptypb.Empty, error) {
	return commit(s, func(now time.Time) (*emptypb.Empty, error) {
		q, err := s.queue(r.GetName())
		if status.Code(err) == codes.NotFound {
			return nil, errMissing // this method words it differently
		}
		if err != nil {
			return nil, err
		}
		var reusable time.Time
		if s.config.QueueTombstone > 0 {
			reusable = now.Add(s.config.QueueTombstone)
			s.deleted[r.GetName()] = reusable
		}
		s.drop(r.GetName(), q, reusable)
		return &emptypb.Empty{}, nil
	})
}

func (s service) PurgeQueue(_ context.Context, r *cloudtaskspb.PurgeQueueRequest) (*cloudtaskspb.Queue, error) {
	return s.change(r.GetName(), func(q *queue, now time.Time) { q.purge(now) })
}

func (s service) PauseQueue(_ context.Context, r *cloudtaskspb.PauseQueueRequest) (*cloudtaskspb.Queue, error) {
	return s.change(r.GetName(), func(q *queue, now time.Time) { q.setState(cloudtaskspb.Queue_PAUSED, now) })
}

func (s service) ResumeQueue(_ context.Context, r *cloudtaskspb.ResumeQueueRequest) (*cloudtaskspb.Queue, error) {
	return s.change(r.GetName(), func(q *queue, now time.Time) { q.setState(cloudtaskspb.Queue_RUNNING, now) })
}

// change applies what needs nothing but the queue and the time.
func (s service) change(name string, do func(*queue, time.Time)) (*cloudtaskspb.Queue, error) {
	return commit(s, func(now time.Time) (*cloudtaskspb.Queue, error) {
		q, err := s.queue(name)
		if err != nil {
			return nil, err
		}
		do(q, now)
		s.pump(q)
		return proto.CloneOf(q.config), nil
	})
}
