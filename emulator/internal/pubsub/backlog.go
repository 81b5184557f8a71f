package pubsub

import (
	"cmp"
	"slices"
	"time"
)

// settings is what a subscription's configuration means to its backlog.
type settings struct {
	ordered     bool
	exactlyOnce bool
	retainAcked bool
	retention   time.Duration
	retry       bool // whether there is a retry policy; without one a failed message is ready at once
	minBackoff  time.Duration
	maxBackoff  time.Duration
	maxAttempts int // 0: no dead-letter policy
}

// backlog is the state machine of one subscription: what waits, who has what until when, what
// comes back and in which order. It knows neither the transport nor the time: every method that
// needs the time is given it. The subscription's lock guards it.
//
// Each message costs O(1), and O(log n) of the leases and delays for its timer.
type backlog struct {
	settings
	incarnation uint32

	lastLease uint32 // the number of the latest lease of any message
	sought    uint32 // leases up to this one were ended by a seek: their acks are accepted and do nothing

	arrivals list              // everything, in the order of its numbers
	ready    list              // what any consumer may have now: of each ordering key at most one
	timers   timers            // leases and delays
	out      map[uint64]*entry // what has been delivered and is not done, by seq: the ack ids that count
	keys     map[string]*orderKey
	dead     []*entry // exhausted since the last takeDead

	number  uint64  // the subscription's in the store
	latest  *part   // of the batch that was added last
	changed []*part // since the last takeChanged
}

func newBacklog(incarnation uint32, s settings) *backlog {
	return &backlog{
		settings:    s,
		incarnation: incarnation,
		out:         make(map[uint64]*entry),
		keys:        make(map[string]*orderKey),
	}
}

// add appends a message that was just published. Its number is higher than all before.
func (b *backlog) add(p publication) {
	e := newEntry(p)
	e.part = b.partOf(p.batch)
	e.batch.hold()
	b.arrivals.push(&e.arrival)
	b.enqueue(e)
}

// enqueue gives e its place in its key's order and, unless it is dying, its turn.
func (b *backlog) enqueue(e *entry) {
	switch {
	case b.ordered && e.msg.OrderingKey != "":
		b.addOrdered(e)
	case e.state == queued:
		b.ready.push(&e.turn)
	}
}

// deliverable reports whether take would give c anything.
func (b *backlog) deliverable(c *consumer) bool {
	return c.room() && (c.own.head != nil || b.ready.head != nil)
}

// take leases up to n messages to c, no more than maxBytes unless the first alone is larger.
// A zero deadline makes leases that end only by ack or nack.
func (b *backlog) take(c *consumer, n, maxBytes int, deadline time.Time) []delivery {
	var out []delivery
	for bytes := 0; len(out) < n && c.room(); {
		e := b.nextFor(c)
		if e == nil || len(out) > 0 && bytes+e.size > maxBytes {
			break
		}
		bytes += e.size
		b.leaseTo(c, e, deadline)
		d := delivery{entry: e, msg: e.shown(), id: ackID{b.incarnation, e.seq, e.lease}}
		if b.maxAttempts > 0 {
			d.attempt = e.failures + 1
		}
		out = append(out, d)
	}
	return out
}

// nextFor alternates between the keys that c holds and everybody's messages, so that neither starves.
func (b *backlog) nextFor(c *consumer) *entry {
	own, common := c.own.first(), b.ready.first()
	if own == nil || common != nil && c.ownLast {
		return common
	}
	return own
}

func (b *backlog) leaseTo(c *consumer, e *entry, deadline time.Time) {
	c.ownLast = e.turn.list == &c.own
	e.turn.unlink()
	e.state = leased
	b.lastLease++
	e.lease = b.lastLease
	e.holder = c
	c.messages++
	c.bytes += int64(e.size)
	b.out[e.seq] = e
	if !deadline.IsZero() {
		b.timers.set(e, deadline)
	}
	if k := e.key; k != nil {
		k.leases++
		k.holder = c
		k.next = e.behind()
		b.place(k)
	}
}

// endLease takes e from its holder. The caller gives it its new state.
func (b *backlog) endLease(e *entry) {
	b.timers.clear(e)
	e.holder.messages--
	e.holder.bytes -= int64(e.size)
	e.holder = nil
	if e.key != nil {
		e.key.leases--
	}
}

// current returns the entry of an id that still stands for its lease. The entry is also returned
// when only the lease is over; it is nil when the message is done or was never here.
func (b *backlog) current(id ackID) (e *entry, holds bool) {
	if id.incarnation != b.incarnation {
		return nil, false
	}
	e = b.out[id.seq]
	return e, e != nil && e.state == leased && e.lease == id.lease
}

// ack acknowledges a delivery. It reports false where an exactly-once subscription must refuse
// because the lease is over. Elsewhere a late ack counts, unless the message is ordered: then its
// redelivery is already decided.
func (b *backlog) ack(id ackID) bool {
	e, holds := b.current(id)
	switch {
	case holds:
		b.finish(e, b.exactlyOnce)
	case b.exactlyOnce:
		return id.incarnation == b.incarnation && (e == nil || id.lease <= b.sought)
	case e != nil && e.key == nil && id.lease > b.sought:
		b.finish(e, true)
	}
	return true
}

// latestFirst is the order in which nacks of one request are carried out, as indexes. A nack takes back the messages behind it
// in its key, and those that are nacked with it are to count as nacked: under exactly-once delivery and as attempts.
func (b *backlog) latestFirst(ids []ackID) []int {
	order := make([]int, len(ids))
	for i := range order {
		order[i] = i
	}
	if b.ordered {
		slices.SortFunc(order, func(i, j int) int { return cmp.Compare(ids[j].seq, ids[i].seq) })
	}
	return order
}

// modify moves a lease's deadline to d from now; 0 is a nack. It reports false where an
// exactly-once subscription must refuse because the lease is over.
func (b *backlog) modify(id ackID, d time.Duration, now time.Time) bool {
	e, holds := b.current(id)
	if !holds {
		return !b.exactlyOnce
	}
	if d == 0 {
		b.fail(e, now)
		return true
	}
	b.timers.set(e, now.Add(d))
	return true
}

// nack ends a delivery that failed, unless its lease is over already.
func (b *backlog) nack(id ackID, now time.Time) {
	if e, holds := b.current(id); holds {
		b.fail(e, now)
	}
}

// giveBack ends a delivery that never reached its consumer; it does not count as an attempt.
func (b *backlog) giveBack(id ackID) {
	e, holds := b.current(id)
	if !holds {
		return
	}
	b.endLease(e)
	if e.key != nil {
		b.rewind(e.key, e)
	}
	b.requeue(e)
}

// expire ends what is due: leases, delays, and the messages that were retained long enough.
func (b *backlog) expire(now time.Time) {
	for len(b.timers) > 0 && !b.timers[0].due.After(now) {
		e := b.timers[0]
		if e.state == leased {
			b.fail(e, now)
			continue
		}
		b.timers.clear(e)
		b.requeue(e)
	}
	for e := b.arrivals.first(); e != nil && !b.retainedUntil(e).After(now); e = b.arrivals.first() {
		b.drop(e)
	}
}

// next is when expire will have something to do, the zero time for never.
func (b *backlog) next() time.Time {
	var at time.Time
	if len(b.timers) > 0 {
		at = b.timers[0].due
	}
	if e := b.arrivals.first(); e != nil {
		if until := b.retainedUntil(e); at.IsZero() || until.Before(at) {
			at = until
		}
	}
	return at
}

// retainedUntil is when e is dropped, at the earliest: what was restored may keep back what follows it.
func (b *backlog) retainedUntil(e *entry) time.Time {
	if !e.restored.IsZero() {
		return e.restored.Add(b.retention)
	}
	return e.published().Add(b.retention)
}

// fail ends a lease by nack or deadline: the message is exhausted, waits, or is ready again.
func (b *backlog) fail(e *entry, now time.Time) {
	b.endLease(e)
	e.failures++
	b.noteFailure(e)
	if e.key != nil {
		b.rewind(e.key, e)
	}
	if b.exhausted(e) {
		b.die(e)
		return
	}
	b.delay(e, now)
}

func (b *backlog) exhausted(e *entry) bool { return b.maxAttempts > 0 && e.failures >= b.maxAttempts }

// die sends e to the dead letters. Until that has succeeded or failed it is nobody's.
func (b *backlog) die(e *entry) {
	e.state = dying
	b.dead = append(b.dead, e)
}

func (b *backlog) delay(e *entry, now time.Time) {
	wait := b.backoff(e.failures)
	if wait <= 0 {
		b.requeue(e)
		return
	}
	e.state = delayed
	b.timers.set(e, now.Add(wait))
}

// backoff doubles from the policy's minimum with each failure, up to its maximum.
func (b *backlog) backoff(failures int) time.Duration {
	if !b.retry {
		return 0
	}
	wait := b.minBackoff
	for i := 1; i < failures && wait < b.maxBackoff; i++ {
		wait *= 2
	}
	return min(wait, b.maxBackoff)
}

func (b *backlog) requeue(e *entry) {
	e.state = queued
	if e.key != nil {
		b.place(e.key)
		return
	}
	b.ready.push(&e.turn)
}

// takeDead returns what has become exhausted; each must be settled by forwarded.
func (b *backlog) takeDead() []*entry {
	dead := b.dead
	b.dead = nil
	return dead
}

// forwarded ends the way to the dead-letter topic: done if the copy was published; otherwise the
// message comes back as after any nack.
func (b *backlog) forwarded(e *entry, ok bool, now time.Time) {
	switch {
	case e.state != dying: // acknowledged, dropped or sought meanwhile
	case ok:
		b.finish(e, true)
	default:
		b.delay(e, now)
	}
}

// finish makes e done, whatever its state. Unless it is for good, an ordered message comes back
// with an earlier one of its key.
func (b *backlog) finish(e *entry, forGood bool) {
	switch e.state {
	case leased:
		b.endLease(e)
	case delayed:
		b.timers.clear(e)
	case queued:
		e.turn.unlink()
	case dying, acked:
	}
	e.state = acked
	delete(b.out, e.seq)
	if e.key != nil {
		b.finishOrdered(e.key, e, forGood)
		return
	}
	b.release(e)
}

// release forgets e, which is done and holds no place in any order, unless a seek may want it back.
func (b *backlog) release(e *entry) {
	b.noteDone(e)
	if !b.retainAcked {
		b.forget(e)
	}
}

// forget takes e out of the arrivals, if it is there.
func (b *backlog) forget(e *entry) {
	if e.arrival.list == nil {
		return
	}
	e.arrival.unlink()
	e.batch.letGo()
}

// drop forgets e, done or not.
func (b *backlog) drop(e *entry) {
	if e.state != acked {
		b.finish(e, true)
	}
	e.inKey.unlink()
	b.noteDone(e)
	b.forget(e)
}
