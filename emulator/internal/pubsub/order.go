package pubsub

// orderKey keeps the messages of one ordering key in order.
//
// Its list holds every message of the key that is not done. Those before next have been
// delivered; next is the first that has not. While a consumer holds leases of the key, only that
// consumer may get the following messages, so that two consumers never work on one key at a time.
// An acknowledged message stays in the list as long as an earlier one is out: should that one
// come back, everything after it is delivered again, as Pub/Sub documents for ordered messages.
type orderKey struct {
	name   string
	list   list
	next   *entry // nil if everything has been delivered
	leases int
	holder *consumer // of the leases, if there are any
}

// behind is the message that follows e in its key, nil if e is the last.
func (e *entry) behind() *entry {
	if e.inKey.next == nil {
		return nil
	}
	return e.inKey.next.entry
}

// addOrdered appends e to its key.
func (b *backlog) addOrdered(e *entry) {
	name := e.msg.OrderingKey
	k := b.keys[name]
	if k == nil {
		k = &orderKey{name: name}
		b.keys[name] = k
	}
	e.key = k
	k.list.push(&e.inKey)
	if k.next == nil {
		k.next = e
		b.place(k)
	}
}

// place puts the key's next message into the list of those who may have it. It is called
// whenever that may have changed.
func (b *backlog) place(k *orderKey) {
	e := k.next
	if e == nil || e.state != queued {
		return
	}
	var to *list
	switch {
	case k.leases == 0:
		to = &b.ready
	case !k.holder.serial:
		to = &k.holder.own // perhaps for nobody: the end of the last lease brings it back from there
	}
	if e.turn.list == to {
		return
	}
	e.turn.unlink()
	if to != nil {
		to.push(&e.turn)
	}
}

// rewind makes e, which has been delivered, the key's next message: what was delivered after it
// is taken back, acknowledged or not.
func (b *backlog) rewind(k *orderKey, e *entry) {
	for n := e.inKey.next; n != nil && n.entry != k.next; n = n.next {
		switch f := n.entry; f.state {
		case leased:
			b.endLease(f)
			f.state = queued
		case acked:
			f.state = queued
		case queued, delayed, dying: // they have their own way back
		}
	}
	if k.next != nil {
		k.next.turn.unlink()
	}
	k.next = e
}

// finishOrdered takes the done e out of its key's order, and what was done behind it.
func (b *backlog) finishOrdered(k *orderKey, e *entry, forGood bool) {
	if k.next == e {
		k.next = e.behind()
	}
	if forGood {
		e.inKey.unlink()
		b.release(e)
	}
	for head := k.list.first(); head != nil && head.state == acked; head = k.list.first() {
		head.inKey.unlink()
		b.release(head)
	}
	if k.list.head == nil {
		delete(b.keys, k.name)
		return
	}
	b.place(k)
}
