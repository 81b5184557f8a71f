package pubsub

import (
	"encoding/binary"
	"fmt"
	"time"

	"cloud.google.com/go/iam/apiv1/iampb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"waybill.dev/emulator/internal/store"
)

// journal tells the store of every change, in its order, under the lock that guards what is changed. Nothing in it waits for
// the disk: who acknowledges a change does so by durable, without a lock. Without a store it does nothing.
//
// Of the operations below, a crash keeps the first ones and loses the rest. So each method orders its own such that what
// is there after any of them can be loaded, and a copy that becomes a dead letter is there before its source is done.
type journal struct{ *store.Store }

// What a key is of: the owner, one of these, and a name or numbers of eight bytes each, the highest byte first.
const (
	owner = 'p'

	keyNumbers      = 'n' // up to which number all may have been given
	keySchema       = 'e' // a revision: the schema's name, a zero byte, the revision's ordinal
	keyTopic        = 't'
	keySubscription = 'u'
	keyActivity     = 'l' // of the subscription with a number: about when it was last active
	keySnapshot     = 's'
	keyPolicy       = 'i'
	keyBatch        = 'm' // the topic's number and the first message's; what a subscription made of it follows with the subscription's
)

// durable makes a change, and lets the caller learn of it once it is safe.
func durable[T any](s *Service, change func() (T, error)) (T, error) {
	var none T
	if err := s.journal.Ready(); err != nil {
		return none, errNotStored(err)
	}
	changed, err := change()
	if err != nil {
		return none, err
	}
	if err := s.journal.Sync(); err != nil {
		return none, status.Errorf(codes.Internal, "The emulator could not store the change; it may be there or not after a restart: %v.", err)
	}
	return changed, nil
}

func errNotStored(err error) error {
	return status.Errorf(codes.Unavailable, "The emulator cannot store changes, and has made none: %v.", err)
}

func nameKey(kind byte, name string) []byte {
	return append([]byte{owner, kind}, name...)
}

func numberKey(kind byte, numbers ...uint64) []byte {
	k := make([]byte, 0, 2+8*len(numbers))
	k = append(k, owner, kind)
	for _, n := range numbers {
		k = binary.BigEndian.AppendUint64(k, n)
	}
	return k
}

func schemaKey(name string, ordinal uint64) []byte {
	return binary.BigEndian.AppendUint64(append(nameKey(keySchema, name), 0), ordinal)
}

func (j journal) putNumbers(upTo uint64) {
	j.Set(numberKey(keyNumbers), binary.BigEndian.AppendUint64(nil, upTo))
}

func (j journal) putSchema(r *schemaResource, rev *revision) {
	j.put(schemaKey(r.name, rev.ordinal), rev.schema, r.number)
}

func (j journal) deleteSchema(r *schemaResource, rev *revision) {
	j.Delete(schemaKey(r.name, rev.ordinal))
}

func (j journal) putTopic(t *topic) {
	var schema uint64
	if t.schema.schema != nil {
		schema = t.schema.schema.number
	}
	j.put(nameKey(keyTopic, t.name), t.config, t.number, schema, t.schema.first, t.schema.last)
}

// deleteTopic leaves the messages to those who hold them.
func (j journal) deleteTopic(t *topic) { j.Delete(nameKey(keyTopic, t.name)) }

func (j journal) putSubscription(s *subscription) {
	j.put(nameKey(keySubscription, s.name), s.config, s.number, s.source)
}

// deleteSubscription leaves what it made of batches to them: its number is not given again.
func (j journal) deleteSubscription(s *subscription) {
	j.Delete(nameKey(keySubscription, s.name))
	j.Delete(numberKey(keyActivity, s.number))
}

func (j journal) putActivity(s *subscription) {
	j.Set(numberKey(keyActivity, s.number), timeValue(s.activity.last))
}

func (j journal) putSnapshot(s *snapshot) {
	if j.Store == nil {
		return
	}
	head := []uint64{s.source, s.seq, 0, uint64(len(s.backlog))}
	if s.ordered {
		head[2] = 1
	}
	before := uint64(0)
	for i := range s.backlog {
		head = append(head, s.backlog[i].seq-before)
		before = s.backlog[i].seq
	}
	j.put(nameKey(keySnapshot, s.name), s.config, head...)
}

func (j journal) deleteSnapshot(name string) { j.Delete(nameKey(keySnapshot, name)) }

func (j journal) putPolicy(resource string, p *iampb.Policy) {
	j.put(nameKey(keyPolicy, resource), p)
}

func (j journal) deletePolicy(resource string) { j.Delete(nameKey(keyPolicy, resource)) }

// clear ends everything.
func (j journal) clear() { j.DeleteRange([]byte{owner}, []byte{owner + 1}) }

// put stores a message behind numbers.
func (j journal) put(key []byte, m proto.Message, head ...uint64) {
	if j.Store == nil {
		return
	}
	var value []byte
	for _, n := range head {
		value = binary.AppendUvarint(value, n)
	}
	j.Set(key, encode(value, m))
}

// encode appends a message.
func encode(value []byte, m proto.Message) []byte {
	value, err := proto.MarshalOptions{}.MarshalAppend(value, m)
	if err != nil {
		panic(fmt.Sprintf("pubsub: a %T cannot be encoded: %v", m, err)) // a string that is not UTF-8, which no transport lets in
	}
	return value
}

func timeValue(t time.Time) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(t.UnixNano())) //nolint:gosec // only the bits count
}
