package pubsub

import "runtime/debug"

// releaseFrom is how large a backlog must have been, in bytes of messages, for its memory to be given back when it is gone.
const releaseFrom = 32 << 20

// releaseMemory gives memory back to the system when most of a large backlog is gone. Go collects when it allocates, and who
// has been drained allocates little: the memory would stay for minutes. The lock is held.
func (s *subscription) releaseMemory() {
	bytes := s.backlog.arrivals.bytes
	s.largest = max(s.largest, bytes)
	if s.largest < releaseFrom || bytes > s.largest/16 {
		return
	}
	s.largest = bytes
	s.service.running.run(debug.FreeOSMemory)
}
