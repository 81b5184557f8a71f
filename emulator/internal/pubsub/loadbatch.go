package pubsub

import (
	"encoding/binary"
	"slices"
	"strconv"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// loadedBatch is a batch whose parts follow it in the store.
type loadedBatch struct {
	*batch       // nil: there is none
	messages     []publication
	parts        map[uint64]*part // by the subscriptions' numbers
	topic, first uint64
}

// batchOrPart loads a batch, or what a subscription has made of the one before.
func (l *loader) batchOrPart(key, value []byte) error {
	if len(key) != 16 && len(key) != 24 {
		return errUnreadable
	}
	topic, first := binary.BigEndian.Uint64(key), binary.BigEndian.Uint64(key[8:])
	if len(key) == 16 {
		l.finishBatch()
		return l.beginBatch(topic, first, value)
	}
	subscription := binary.BigEndian.Uint64(key[16:])
	if l.batch.batch == nil || l.batch.topic != topic || l.batch.first != first { // the crash came between
		l.drop(func() { l.journal.Delete(numberKey(keyBatch, topic, first, subscription)) })
		return nil
	}
	p := newPart(l.batch.batch, subscription)
	if err := p.decode(value); err != nil {
		return err
	}
	l.batch.parts[subscription] = p
	l.batch.batch.parts = append(l.batch.batch.parts, subscription)
	return nil
}

func (l *loader) beginBatch(topic, first uint64, value []byte) error {
	if len(value) < 8 {
		return errUnreadable
	}
	published := timestamppb.New(time.UnixMilli(int64(binary.BigEndian.Uint64(value)))) //nolint:gosec // only the bits count
	var number, n uint64
	rest, err := decodeNumbers(value[8:], &number, &n)
	if err != nil || n == 0 || n > maxPublishMessages {
		return errUnreadable
	}
	b := newBatch(l.journal, topic, first, int(n))
	l.batch = loadedBatch{batch: b, messages: make([]publication, n), parts: make(map[uint64]*part), topic: topic, first: first}
	for i := range l.batch.messages {
		var size uint64
		if rest, err = decodeNumbers(rest, &size); err != nil || size > uint64(len(rest)) {
			return errUnreadable
		}
		m := &pubsubpb.PubsubMessage{}
		if err := proto.Unmarshal(rest[:size], m); err != nil {
			return err
		}
		rest = rest[size:]
		seq := first + uint64(i) //nolint:gosec // not negative
		m.MessageId, m.PublishTime = strconv.FormatUint(seq, 10), published
		l.batch.messages[i] = publication{
			msg: m, size: int(size), seq: seq, batch: b, //nolint:gosec // at most that of a request
			schema: l.schemaOf(number, m.GetAttributes()[attributeSchemaName]),
		}
	}
	return nil
}

// finishBatch gives the messages of a batch to whom they belong, now that its parts are known. Nobody: they are no longer needed.
func (l *loader) finishBatch() {
	b := l.batch
	if b.batch == nil {
		return
	}
	l.batch = loadedBatch{}
	if t := l.topics[b.topic]; t != nil && t.remembers() {
		t.history.add(b.messages...)
	}
	for _, snap := range l.awaiting[b.topic] {
		for _, p := range b.messages {
			if snap.has(p.seq) {
				p.batch.hold()
				snap.backlog = append(snap.backlog, p)
			}
		}
	}
	for _, sub := range l.listeners[b.topic] {
		sub.reload(b.messages, b.parts[sub.number])
	}
	if b.holds.Load() == 1 {
		l.drop(b.letGo)
	} else {
		b.letGo()
	}
}

// reload appends what the subscription had of a batch, by what it has made of it: nothing if that is nil.
func (s *subscription) reload(messages []publication, made *part) {
	if made == nil {
		if messages[0].seq < s.number {
			return // before its time
		}
		made = newPart(messages[0].batch, s.number)
	}
	for _, p := range messages {
		done := made.isDone(p.place())
		if s.filter.match(p.msg.GetAttributes()) && (!done || s.backlog.retainAcked) {
			s.backlog.reload(p, made, done)
		}
	}
}

func (b *backlog) reload(p publication, in *part, done bool) {
	e := newEntry(p)
	e.part = in
	e.failures = in.failures[e.place()]
	e.restored = in.restored[e.place()]
	e.batch.hold()
	b.arrivals.push(&e.arrival)
	if done {
		e.state = acked
		return
	}
	if b.exhausted(e) { // the process has ended before the dead letter was safe
		b.die(e)
	}
	b.enqueue(e)
}

// decode is the inverse of encode.
func (p *part) decode(value []byte) error {
	var n, place, count uint64
	value, err := decodeNumbers(value, &n)
	if err != nil || n > uint64(len(value)) || n != 0 && int(n) != (p.batch.n+7)/8 { //nolint:gosec // it is not longer than the value
		return errUnreadable
	}
	if n > 0 {
		p.done = slices.Clone(value[:n])
	}
	if value, err = decodeNumbers(value[n:], &n); err != nil {
		return err
	}
	for range n {
		if value, err = decodeNumbers(value, &place, &count); err != nil {
			return err
		}
		if p.failures == nil {
			p.failures = make(map[int]int)
		}
		p.failures[int(place)] = int(count) //nolint:gosec // as they were written
	}
	if value, err = decodeNumbers(value, &n); err != nil {
		return err
	}
	for range n {
		if value, err = decodeNumbers(value, &place); err != nil || len(value) < 8 {
			return errUnreadable
		}
		p.restore(int(place), time.Unix(0, int64(binary.BigEndian.Uint64(value)))) //nolint:gosec // as they were written
		value = value[8:]
	}
	return nil
}
