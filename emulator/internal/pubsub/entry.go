package pubsub

import (
	"container/heap"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
)

// state is where a message stands in one subscription.
type state uint8

const (
	queued  state = iota // waits for its turn
	leased               // with a consumer
	delayed              // waits for the end of its retry backoff
	dying                // on its way to the dead-letter topic
	acked                // done; kept only where it may have to be delivered again
)

// entry is one message in one subscription.
type entry struct {
	publication

	state    state
	lease    uint32    // the number of the latest lease, part of its ack id
	failures int       // leases that ended by a nack or by their deadline
	restored time.Time // when a seek brought it back from beyond the backlog; retention counts from then
	due      time.Time // when the lease or the delay ends
	timer    int       // index in the heap of timers, -1 if it is not in it
	holder   *consumer // who has the lease
	key      *orderKey // nil if the message is not ordered
	part     *part     // what the store knows of it, or nil

	arrival node // in backlog.arrivals, from its arrival to its end
	turn    node // in the list of those that may be delivered now
	inKey   node // in its key's list
}

func newEntry(p publication) *entry {
	e := &entry{publication: p, timer: -1}
	e.arrival.entry, e.turn.entry, e.inKey.entry = e, e, e
	return e
}

// delivery is one lease as its consumer sees it. It stays valid after the backlog's lock is released.
type delivery struct {
	entry   *entry
	msg     *pubsubpb.PubsubMessage
	id      ackID
	attempt int // 1 for the first; 0 without a dead-letter policy
}

// node makes an entry a member of one list; an entry has a node for each list it may be in.
type node struct {
	prev, next *node
	list       *list
	entry      *entry
}

// list is a doubly linked list through the entries themselves: no allocation, removal in O(1).
type list struct {
	head, tail *node
	bytes      int // of its messages
}

// first is the entry at the head, or nil.
func (l *list) first() *entry {
	if l.head == nil {
		return nil
	}
	return l.head.entry
}

// push appends n, which must be in no list.
func (l *list) push(n *node) {
	n.list, n.prev, n.next = l, l.tail, nil
	if l.tail == nil {
		l.head = n
	} else {
		l.tail.next = n
	}
	l.tail = n
	l.bytes += n.entry.size
}

// unlink takes n out of the list that it is in, if any.
func (n *node) unlink() {
	l := n.list
	if l == nil {
		return
	}
	if n.prev == nil {
		l.head = n.next
	} else {
		n.prev.next = n.next
	}
	if n.next == nil {
		l.tail = n.prev
	} else {
		n.next.prev = n.prev
	}
	n.list, n.prev, n.next = nil, nil, nil
	l.bytes -= n.entry.size
}

// timers is a heap of the entries whose lease or delay ends by itself, the earliest first.
type timers []*entry

func (t timers) Len() int { return len(t) }

func (t timers) Less(i, j int) bool {
	if t[i].due.Equal(t[j].due) { // of an ordering key the earliest: it takes the others back
		return t[i].seq < t[j].seq
	}
	return t[i].due.Before(t[j].due)
}

func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].timer, t[j].timer = i, j
}

func (t *timers) Push(x any) {
	e := x.(*entry)
	e.timer = len(*t)
	*t = append(*t, e)
}

func (t *timers) Pop() any {
	old := *t
	last := len(old) - 1
	e := old[last]
	old[last] = nil
	*t = old[:last]
	e.timer = -1
	return e
}

// set makes e end at due, whether it has a timer or not.
func (t *timers) set(e *entry, due time.Time) {
	e.due = due
	if e.timer >= 0 {
		heap.Fix(t, e.timer)
		return
	}
	heap.Push(t, e)
}

// clear takes e's timer away, if it has one.
func (t *timers) clear(e *entry) {
	if e.timer >= 0 {
		heap.Remove(t, e.timer)
	}
}
