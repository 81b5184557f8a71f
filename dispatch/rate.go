package dispatch

import (
	"waybill.dev/internal/names"
)

// What one queue of Cloud Tasks takes. [cloudtaskspb]
const (
	maxQueueRate        = 500 // dispatches a second
	maxQueueConcurrency = 5000
)

// Rate declares how fast a task's messages are dispatched. A zero field has Cloud Tasks' default for a queue: 500 a second,
// 1000 at once. Retries count like first attempts. waybill.dev/dispatch/deploy sets it when it creates the queues.
//
// One queue dispatches 500 a second and 5000 at once, at most. A route with more has several queues, each with its share:
// APP--NAME, APP--NAME--2 and so on, 100 at most. The message's ID, and so its [Key], says which one a message goes into, so
// that Cloud Tasks still drops a second task with the same key. When the number of queues changes, the keys that come after it
// are spread anew; as few of them as possible move to another queue, yet for those a duplicate is not recognised by name for
// an hour after the change: waybill.dev/dispatch/inbox recognises it. Senders that know the old number and senders that know the
// new one may run side by side. Queues that are no longer used empty themselves and may then be deleted.
type Rate struct {
	// PerSecond is how many are dispatched a second, over all queues; less than one is fine. At most 50,000.
	PerSecond float64
	// Concurrent is how many may be with the receiver at once, over all queues. At most 500,000.
	Concurrent int
}

func (o Rate) applyTask(r *route) { r.rate = o }

func (r *route) validateRate(p func(string, ...any)) {
	const mostRate, mostConcurrent = names.MaxShards * maxQueueRate, names.MaxShards * maxQueueConcurrency
	o := r.rate
	switch {
	case !(o.PerSecond >= 0 && o.PerSecond <= mostRate): // so that not a number is caught as well
		p("Rate.PerSecond is %v; it is between 0 and %d, 0 meaning Cloud Tasks' 500", o.PerSecond, mostRate)
	case o.Concurrent < 0 || o.Concurrent > mostConcurrent:
		p("Rate.Concurrent is %d; it is between 0 and %d, 0 meaning Cloud Tasks' 1000", o.Concurrent, mostConcurrent)
	case o.Concurrent > 0 && o.Concurrent < o.queues():
		p("Rate{PerSecond: %v} takes %d queues, and Rate.Concurrent %d leaves some of them without a dispatch; raise Concurrent to %[2]d at least",
			o.PerSecond, o.queues(), o.Concurrent)
	}
}

// queues is how many queues the rate takes.
func (o Rate) queues() int {
	byRate := int(o.PerSecond / maxQueueRate)
	if float64(byRate)*maxQueueRate < o.PerSecond {
		byRate++
	}
	byConcurrency := (o.Concurrent + maxQueueConcurrency - 1) / maxQueueConcurrency
	return min(max(byRate, byConcurrency, 1), names.MaxShards)
}

// shares divides the rate among its queues. Together they have the whole of it.
func (o Rate) shares() []Rate {
	n := o.queues()
	shares := make([]Rate, n)
	for i := range shares {
		shares[i] = Rate{PerSecond: o.PerSecond / float64(n), Concurrent: o.Concurrent / n}
		if i < o.Concurrent%n {
			shares[i].Concurrent++
		}
	}
	return shares
}

// queueOf picks the queue of a message by its ID, which a key determines.
func queueOf(id string, queues []string) string {
	if len(queues) == 1 {
		return queues[0]
	}
	// FNV-1a, 64 bits, as hash/fnv computes it, without making a hash for each message.
	hash := uint64(14695981039346656037)
	for i := range len(id) {
		hash = (hash ^ uint64(id[i])) * 1099511628211
	}
	return queues[jump(hash, len(queues))]
}

// jump is Lamping and Veach's jump consistent hash (https://arxiv.org/abs/1406.2294): when a bucket is added to n, one key in n+1
// moves, into the new one, and all others stay.
func jump(key uint64, buckets int) int {
	var b, j int64 = -1, 0
	for j < int64(buckets) {
		b = j
		key = key*2862933555777941757 + 1
		j = int64(float64(b+1) * (float64(1<<31) / float64((key>>33)+1)))
	}
	return int(b)
}
