package cloudtasks

import "time"

// tombstones are the names of finished tasks that cannot be used again yet. All are kept for the same
// time, so they expire in the order in which they were added; nothing wakes up for that. Those of an earlier process may have been kept
// for longer: then the ones behind them are forgotten late, and free in time.
type tombstones struct {
	keep  time.Duration // how long a name stays taken; 0: nameReuse
	until map[string]time.Time
	order []string

	forget func(id string) // told of each that has expired
}

func (s *tombstones) has(id string, now time.Time) bool {
	s.expire(now)
	return s.until[id].After(now)
}

// add returns when the name is free again.
func (s *tombstones) add(id string, now time.Time) time.Time {
	s.expire(now)
	if s.until == nil {
		s.until = make(map[string]time.Time)
	}
	keep := s.keep
	if keep == 0 {
		keep = nameReuse
	}
	until := now.Add(keep)
	s.until[id] = until
	s.order = append(s.order, id)
	return until
}

func (s *tombstones) expire(now time.Time) {
	for len(s.order) > 0 && !s.until[s.order[0]].After(now) {
		delete(s.until, s.order[0])
		s.forget(s.order[0])
		s.order[0] = ""
		s.order = s.order[1:]
	}
}
