package pubsub

// consumer takes messages from a backlog: a stream, one pull, or a push endpoint.
// Like the backlog it is guarded by the subscription's lock.
type consumer struct {
	maxMessages int64 // most leases at a time; 0 or less: no limit
	maxBytes    int64 // no further lease once this many bytes are out; 0 or less: no limit
	serial      bool  // never more than one message of an ordering key at a time, as push does

	messages int64 // leases now
	bytes    int64

	own     list // of keys of which this consumer holds leases: nobody else may have the next message
	ownLast bool // the last message came from own: the next one comes from the common list

	waiting bool          // stands in subscription.waiting
	wake    chan struct{} // told once there is something to take
}

func newConsumer() *consumer { return &consumer{wake: make(chan struct{}, 1)} }

// room reports whether flow control allows one more message.
func (c *consumer) room() bool {
	return (c.maxMessages <= 0 || c.messages < c.maxMessages) && (c.maxBytes <= 0 || c.bytes < c.maxBytes)
}
