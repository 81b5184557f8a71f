package store

// WithMemTable makes a Store write tables after few bytes, so that a short test meets all that a long life does.
func WithMemTable(c Config, bytes uint64) Config {
	c.memTable = bytes
	return c
}

// Pending is how many operations wait to be written.
func Pending(s *Store) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pending)
}
