package cloudtasks

import "time"

// tombstones are the names of finished tasks that cannot be used again yet. All are kept for the same
// time, so they expire in the order in which they were added; nothing wakes up for that.
type tombstones struct {
	until map[string]time.Time
	order []string
}

func (s *tombstones) has(id string, now time.Time) bool {
	s.expire(now)
	_, ok := s.until[id]
	return ok
}

// add returns when the name is free again.
func (s *tombstones) add(id string, now time.Time) time.Time {
	s.expire(now)
	if s.until == nil {
		s.until = make(map[string]time.Time)
	}
	until := now.Add(nameReuse)
	s.until[id] = until
	s.order = append(s.order, id)
	return until
}

func (s *tombstones) expire(now time.Time) {
	for len(s.order) > 0 && !s.until[s.order[0]].After(now) {
		delete(s.until, s.order[0])
		s.order[0] = ""
		s.order = s.order[1:]
	}
}
