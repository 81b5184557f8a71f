package cloudtasks

import (
	"bytes"
	"cmp"
	"container/heap"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"cloud.google.com/go/iam/apiv1/iampb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/protobuf/proto"
)

var errUnreadable = errors.New("the value is not what was written")

// Load brings back what the Store has. It is called once, before the engine is used, with the clock set. Nothing is
// delivered before [Engine.Start].
func (e *Engine) Load() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := loader{Engine: e, now: e.config.Clock.Now()}
	for _, step := range []struct {
		kind byte
		load func(name, id string, value []byte) error
	}{ // in the order in which they need each other
		{keyDeleted, l.deletedQueue},
		{keyQueue, l.queue},
		{keyPolicy, l.policy},
		{keyCmek, l.cmekConfig},
		{keyOperation, l.operation},
		{keyTombstone, l.tombstone},
		{keyTask, l.task},
		{keyAttempts, l.attempts},
	} {
		if err := e.journal.Scan([]byte{owner, step.kind}, func(key, value []byte) error {
			name, id, _ := bytes.Cut(key[2:], []byte{0})
			if err := step.load(string(name), string(id), value); err != nil {
				return fmt.Errorf("cloudtasks: the data of %s/%s cannot be loaded: use the version of the emulator that wrote them, or another directory: %w", name, id, err)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	for _, q := range e.queues {
		heap.Init(&q.waiting)
		q.finished.sort()
	}
	slices.SortFunc(l.batches, func(a, b *operation) int { return cmp.Compare(a.number, b.number) })
	for _, op := range l.batches {
		e.operations.adopt(op)
	}
	l.tidy()
	return nil
}

// Start begins to deliver what was loaded.
func (e *Engine) Start() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, q := range e.queues {
		e.pump(q)
	}
	e.journal.Flush()
}

// loader is the engine while it loads. What the store has and nobody needs any more goes once all is loaded, so that a
// directory that cannot be loaded is not changed.
type loader struct {
	*Engine
	now      time.Time
	batches  []*operation // in the order of their names
	leftover []func()
}

func (l *loader) drop(remove func()) { l.leftover = append(l.leftover, remove) }

func (l *loader) tidy() {
	for _, remove := range l.leftover {
		remove()
	}
}

func (l *loader) deletedQueue(name, _ string, value []byte) error {
	until, err := readTime(value)
	switch {
	case err != nil:
		return err
	case until.After(l.now):
		l.deleted[name] = until
	default:
		l.drop(func() { l.journal.forgetDeleted(name) })
	}
	return nil
}

func (l *loader) queue(name, _ string, value []byte) error {
	config := &cloudtaskspb.Queue{}
	if err := proto.Unmarshal(value, config); err != nil {
		return err
	}
	l.addQueue(config, l.now)
	if _, deleted := l.deleted[name]; deleted { // created anew, or the crash came between
		delete(l.deleted, name)
		l.drop(func() { l.journal.forgetDeleted(name) })
	}
	return nil
}

func (l *loader) policy(queue, _ string, value []byte) error {
	policy := &iampb.Policy{}
	if err := proto.Unmarshal(value, policy); err != nil {
		return err
	}
	l.policies.Restore(queue, policy)
	return nil
}

func (l *loader) cmekConfig(name, _ string, value []byte) error {
	config := &cloudtaskspb.CmekConfig{}
	if err := proto.Unmarshal(value, config); err != nil {
		return err
	}
	l.cmek[name] = config
	return nil
}

func (l *loader) operation(_, _ string, value []byte) error {
	op := &operation{kept: &longrunningpb.Operation{}}
	head := copy(op.request[:], value)
	number, n := binary.Uvarint(value[head:])
	if n <= 0 {
		return errUnreadable
	}
	op.number = number
	l.batches = append(l.batches, op)
	return proto.Unmarshal(value[head+n:], op.kept)
}

func (l *loader) tombstone(queue, id string, value []byte) error {
	until, err := readTime(value)
	if err != nil {
		return err
	}
	if q := l.queues[queue]; q != nil && until.After(l.now) {
		q.finished.restore(id, until)
	} else {
		l.drop(func() { l.journal.deleteTombstone(queue, id) })
	}
	return nil
}

func (l *loader) task(queue, id string, value []byte) error {
	if len(value) == 0 {
		return errUnreadable
	}
	t := &task{TaskRecord: TaskRecord{id: id}, generated: value[0] == 1, index: -1}
	seq, n := binary.Uvarint(value[1:])
	if n <= 0 {
		return errUnreadable
	}
	t.seq = seq
	spec := &cloudtaskspb.Task{}
	if err := proto.Unmarshal(value[1+n:], spec); err != nil {
		return err
	}
	q := l.queues[queue]
	if q == nil || q.finished.has(id, l.now) { // the crash came between
		l.drop(func() { l.journal.deleteTask(queue, t) })
		return nil
	}
	t.TaskRecord = newRecord(q.config.GetName(), id, spec)
	q.seq = max(q.seq, seq)
	q.tasks.Load(t.id, t)
	t.index = len(q.waiting)
	q.waiting = append(q.waiting, t) // a heap once all are there
	return nil
}

func (l *loader) attempts(queue, id string, value []byte) error {
	var t *task
	if q := l.queues[queue]; q != nil {
		t, _ = q.tasks.Get(id)
	}
	if t == nil {
		l.drop(func() { l.journal.Delete(taskKey(keyAttempts, queue, id)) })
		return nil
	}
	t.saved = true
	return json.Unmarshal(value, &t.TaskRecord)
}

func readTime(value []byte) (time.Time, error) {
	if len(value) != 8 {
		return time.Time{}, errUnreadable
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(value))), nil
}

// restore is for tombstones in any order; sort follows.
func (s *tombstones) restore(id string, until time.Time) {
	if s.until == nil {
		s.until = make(map[string]time.Time)
	}
	s.until[id] = until
	s.order = append(s.order, id)
}

func (s *tombstones) sort() {
	slices.SortFunc(s.order, func(a, b string) int { return s.until[a].Compare(s.until[b]) })
}
