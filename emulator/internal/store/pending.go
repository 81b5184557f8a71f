package store

// manyPending is how many operations wait before it is worth looking for those that no longer matter.
const manyPending = 1 << 10

// compact drops operations that later ones on the same key have made superfluous. All that is pending is written in one step,
// so nobody can see the difference. It keeps what waits for a full disk in proportion to what there is, however long
// deliveries go on meanwhile.
func compact(ops []operation) []operation {
	last := make(map[string]int, len(ops)/2)
	for i, o := range ops {
		if o.kind != removeRange {
			last[string(o.key)] = i
		}
	}
	kept := ops[:0:0]
	for i, o := range ops {
		if o.kind == removeRange || last[string(o.key)] == i {
			kept = append(kept, o)
		}
	}
	return kept
}

// keep puts back what could not be written. The caller holds the lock.
func (s *Store) keep(ops []operation) {
	s.pending = append(ops, s.pending...)
	if len(s.pending) >= max(manyPending, 2*s.compacted) {
		s.pending = compact(s.pending)
		s.compacted = len(s.pending)
	}
}
