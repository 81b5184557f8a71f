package pubsub

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/proto"
)

// batch is what one publish request has put into the store: one record, whatever the number of messages and subscriptions.
// Backlogs, snapshots and histories hold it once for each of its messages that they have; the last to let go deletes
// it. A nil batch is of messages in memory alone.
type batch struct {
	journal journal
	topic   uint64 // the topic's number
	first   uint64 // the first message's number; the others follow without a gap
	n       int    // messages
	holds   atomic.Int64

	mu      sync.Mutex // taken last
	parts   []uint64   // the numbers of subscriptions of which the store has a part
	deleted bool
}

// newBatch returns a batch that its maker holds.
func newBatch(j journal, topic, first uint64, n int) *batch {
	b := &batch{journal: j, topic: topic, first: first, n: n}
	b.holds.Store(1)
	return b
}

func (b *batch) hold() {
	if b != nil {
		b.holds.Add(1)
	}
}

// letGo undoes hold. Whoever holds again does so while another still does, under the lock of that.
func (b *batch) letGo() {
	if b == nil || b.holds.Add(-1) > 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deleted = true
	b.journal.Delete(numberKey(keyBatch, b.topic, b.first)) // first: a part without its batch is of no use, but without its part a batch comes back
	for _, subscription := range b.parts {
		b.journal.Delete(numberKey(keyBatch, b.topic, b.first, subscription))
	}
}

// record encodes the messages of a batch, except for their ids and time; nil without a store.
func (j journal) record(messages []*pubsubpb.PubsubMessage, sizes []int, schema *schemaResource) []byte {
	if j.Store == nil {
		return nil
	}
	room := 8 + 2*binary.MaxVarintLen64
	for _, size := range sizes {
		room += size + binary.MaxVarintLen32
	}
	value := make([]byte, 8, room) // the time comes first
	var number uint64
	if schema != nil {
		number = schema.number
	}
	value = binary.AppendUvarint(value, number)
	value = binary.AppendUvarint(value, uint64(len(messages)))
	for _, m := range messages {
		value = binary.AppendUvarint(value, uint64(proto.Size(m))) //nolint:gosec // never negative
		value = encode(value, m)
	}
	return value
}

// putBatch stores a record that [journal.record] has made.
func (j journal) putBatch(b *batch, record []byte, published time.Time) {
	binary.BigEndian.PutUint64(record, uint64(published.UnixMilli())) //nolint:gosec // only the bits count
	j.Set(numberKey(keyBatch, b.topic, b.first), record)
}

// part is what one subscription has made of a batch. The subscription's lock guards it.
type part struct {
	batch        *batch
	subscription uint64            // its number
	done         []byte            // bits by the place in the batch: acknowledged, dead-lettered or dropped
	failures     map[int]int       // by the place; only with a dead-letter policy
	restored     map[int]time.Time // by the place: when a seek brought it back from beyond the backlog
	changed      bool              // since the store was told
}

func newPart(b *batch, subscription uint64) *part { return &part{batch: b, subscription: subscription} }

func (p *part) isDone(place int) bool {
	return place/8 < len(p.done) && p.done[place/8]&(1<<(place%8)) != 0
}

func (p *part) setDone(place int, done bool) {
	if p.done == nil {
		p.done = make([]byte, (p.batch.n+7)/8)
	}
	if done {
		p.done[place/8] |= 1 << (place % 8)
	} else {
		p.done[place/8] &^= 1 << (place % 8)
	}
}

func (p *part) restore(place int, at time.Time) {
	if p.restored == nil {
		p.restored = make(map[int]time.Time)
	}
	p.restored[place] = at
}

// restart makes everything done, without failures, and nothing restored.
func (p *part) restart() {
	p.done = slices.Repeat([]byte{0xff}, (p.batch.n+7)/8)
	p.failures, p.restored = nil, nil
}

// save tells the store, unless the batch is no more.
func (p *part) save() {
	p.changed = false
	p.batch.mu.Lock()
	defer p.batch.mu.Unlock()
	if p.batch.deleted {
		return
	}
	if !slices.Contains(p.batch.parts, p.subscription) {
		p.batch.parts = append(p.batch.parts, p.subscription)
	}
	p.batch.journal.Set(numberKey(keyBatch, p.batch.topic, p.batch.first, p.subscription), p.encode())
}

func (p *part) encode() []byte {
	value := binary.AppendUvarint(nil, uint64(len(p.done)))
	value = append(value, p.done...)
	value = binary.AppendUvarint(value, uint64(len(p.failures)))
	for place, n := range p.failures {
		value = binary.AppendUvarint(value, uint64(place)) //nolint:gosec // never negative
		value = binary.AppendUvarint(value, uint64(n))     //nolint:gosec // never negative
	}
	value = binary.AppendUvarint(value, uint64(len(p.restored)))
	for place, at := range p.restored {
		value = binary.AppendUvarint(value, uint64(place)) //nolint:gosec // never negative
		value = append(value, timeValue(at)...)
	}
	return value
}
