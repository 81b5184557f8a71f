package pubsub

// What a store has to know of a backlog is gathered in parts while it changes. In memory alone, entries have none.

// takeChanged returns the parts that have changed; each must be saved.
func (b *backlog) takeChanged() []*part {
	changed := b.changed
	b.changed = nil
	return changed
}

// partOf is the part of a batch to which messages are being added.
func (b *backlog) partOf(from *batch) *part {
	if from != nil && (b.latest == nil || b.latest.batch != from) {
		b.latest = newPart(from, b.number)
	}
	if from == nil {
		return nil
	}
	return b.latest
}

func (b *backlog) note(p *part) {
	if !p.changed {
		p.changed = true
		b.changed = append(b.changed, p)
	}
}

// noteDone notes that e does not come back by itself.
func (b *backlog) noteDone(e *entry) {
	if p := e.part; p != nil && !p.isDone(e.place()) {
		p.setDone(e.place(), true)
		b.note(p)
	}
}

// noteFailure notes how often e has failed, where a dead-letter policy counts that.
func (b *backlog) noteFailure(e *entry) {
	p := e.part
	if p == nil || b.maxAttempts == 0 {
		return
	}
	if p.failures == nil {
		p.failures = make(map[int]int)
	}
	p.failures[e.place()] = e.failures
	b.note(p)
}

// noteSeek notes what a seek has made of the entries that there were and are, in whatever order. Those that the backlog did
// not have before are given their parts.
func (b *backlog) noteSeek(before []*entry) {
	parts := make(map[*batch]*part)
	for _, e := range before {
		if e.part != nil {
			parts[e.batch] = e.part
		}
	}
	for _, p := range parts {
		p.restart()
		b.note(p)
	}
	for n := b.arrivals.head; n != nil; n = n.next {
		e := n.entry
		if e.batch == nil {
			continue
		}
		if e.part == nil {
			e.batch.hold()
			if parts[e.batch] == nil {
				p := newPart(e.batch, b.number)
				p.restart()
				b.note(p)
				parts[e.batch] = p
			}
			e.part = parts[e.batch]
		}
		if !e.restored.IsZero() {
			e.part.restore(e.place(), e.restored)
		}
		if e.state != acked {
			e.part.setDone(e.place(), false)
		}
	}
}
