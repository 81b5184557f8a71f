package cloudtasks

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"cloud.google.com/go/iam/apiv1/iampb"
	"google.golang.org/protobuf/proto"

	"waybill.dev/emulator/internal/store"
)

// journal tells the store of every change, in its order, under the engine's lock. Nothing in it waits for the disk:
// who acknowledges a change calls Sync before, without the lock. Without a store it does nothing.
//
// Of the operations below, a crash keeps the first ones and loses the rest. So each method orders its own
// such that what is there after any of them can be loaded.
type journal struct{ *store.Store }

// What a key is of: the owner, one of these, and a name. A task's name is its queue's, a zero byte, and its id.
const (
	owner = 't'

	keyQueue     = 'q' // the queue as it is configured
	keyDeleted   = 'd' // of a deleted queue: until when its name stays taken
	keyPolicy    = 'i'
	keyCmek      = 'c'
	keyOperation = 'o' // a batch that is done
	keyTask      = 's' // the task as it was created; written once
	keyAttempts  = 'a' // what attempts have changed of it; written after each that has failed
	keyTombstone = 'x' // of a finished task: until when its name stays taken
)

func key(kind byte, name string) []byte {
	return append([]byte{owner, kind}, name...)
}

func taskKey(kind byte, queue, id string) []byte {
	k := make([]byte, 0, 3+len(queue)+len(id))
	k = append(k, owner, kind)
	k = append(k, queue...)
	k = append(k, 0)
	return append(k, id...)
}

func (j journal) putQueue(q *cloudtaskspb.Queue) { j.put(key(keyQueue, q.GetName()), nil, q) }

// deleteQueue ends a queue and all that is in it. The name stays taken until it is reusable; zero: not at all.
func (j journal) deleteQueue(name string, reusable time.Time) {
	if j.Store == nil {
		return
	}
	if !reusable.IsZero() {
		j.Set(key(keyDeleted, name), timeValue(reusable))
	}
	j.Delete(key(keyQueue, name)) // whatever else there is has no queue now
	j.deleteTasks(name)
	j.deleteBelow(keyTombstone, name)
	j.Delete(key(keyPolicy, name))
}

// forgetDeleted frees the name of a deleted queue.
func (j journal) forgetDeleted(name string) { j.Delete(key(keyDeleted, name)) }

func (j journal) putPolicy(queue string, p *iampb.Policy) { j.put(key(keyPolicy, queue), nil, p) }

func (j journal) putCmek(c *cloudtaskspb.CmekConfig) { j.put(key(keyCmek, c.GetName()), nil, c) }

func (j journal) putOperation(op *operation) {
	head := append([]byte(nil), op.request[:]...)
	j.put(key(keyOperation, op.kept.GetName()), binary.AppendUvarint(head, op.number), op.kept)
}

func (j journal) deleteOperation(name string) { j.Delete(key(keyOperation, name)) }

func (j journal) putTask(queue string, t *task) {
	if j.Store == nil {
		return
	}
	value := make([]byte, 1, 1+binary.MaxVarintLen64+len(t.spec))
	if t.generated {
		value[0] = 1
	}
	value = binary.AppendUvarint(value, t.seq)
	j.Set(taskKey(keyTask, queue, t.id), append(value, t.spec...))
}

func (j journal) putAttempts(queue string, t *task) {
	if j.Store == nil {
		return
	}
	value, err := json.Marshal(t.TaskRecord)
	if err != nil {
		panic(fmt.Sprintf("cloudtasks: a task's attempts cannot be encoded: %v", err)) // numbers and times of this century
	}
	j.Set(taskKey(keyAttempts, queue, t.id), value)
	t.saved = true
}

// deleteTask ends a task, after its tombstone was put.
func (j journal) deleteTask(queue string, t *task) {
	if j.Store == nil {
		return
	}
	j.Delete(taskKey(keyTask, queue, t.id))
	if t.saved {
		j.Delete(taskKey(keyAttempts, queue, t.id))
	}
}

// deleteTasks ends every task of a queue.
func (j journal) deleteTasks(queue string) {
	j.deleteBelow(keyTask, queue)
	j.deleteBelow(keyAttempts, queue)
}

func (j journal) putTombstone(queue, id string, until time.Time) {
	j.Set(taskKey(keyTombstone, queue, id), timeValue(until))
}

func (j journal) deleteTombstone(queue, id string) { j.Delete(taskKey(keyTombstone, queue, id)) }

// clear ends everything.
func (j journal) clear() { j.DeleteRange([]byte{owner}, []byte{owner + 1}) }

func (j journal) deleteBelow(kind byte, queue string) {
	from := taskKey(kind, queue, "")
	to := append([]byte(nil), from...)
	to[len(to)-1]++ // the zero byte
	j.DeleteRange(from, to)
}

func (j journal) put(key, head []byte, m proto.Message) {
	if j.Store == nil {
		return
	}
	value, err := proto.MarshalOptions{}.MarshalAppend(head, m)
	if err != nil {
		panic(fmt.Sprintf("cloudtasks: %s cannot be encoded: %v", key, err)) // a string that is not UTF-8, which no transport lets in
	}
	j.Set(key, value)
}

func timeValue(t time.Time) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(t.UnixNano()))
}
