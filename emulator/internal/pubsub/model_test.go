package pubsub

import (
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

var (
	seed  = flag.Uint64("seed", 0, "run only this seed of the model tests")
	walks = flag.Uint64("walks", 0, "how many random walks TestServiceModel does")
)

// model is the plain truth about a backlog, kept beside it in a random walk: who holds what, and
// what is done. It looks at nothing but what the consumers see.
type model struct {
	t      *testing.T
	rand   *rand.Rand
	b      *backlog
	now    time.Time
	number int
	texts  map[string]*modelMessage
	byKey  map[string][]*modelMessage
	open   []*modelConsumer
	dead   map[string]bool
}

type modelMessage struct {
	text   string
	key    string
	place  int // in its key
	done   bool
	failed int
	lease  *modelLease // the current one
}

type modelLease struct {
	delivery
	message  *modelMessage
	consumer *modelConsumer
	due      time.Time
}

type modelConsumer struct {
	*consumer
	leases []*modelLease
}

func TestModel(t *testing.T) {
	first, last := uint64(1), uint64(300)
	if testing.Short() {
		last = 50
	}
	if *seed != 0 {
		first, last = *seed, *seed
	}
	for n := first; n <= last; n++ {
		t.Run(fmt.Sprintf("seed=%d", n), func(t *testing.T) { walk(t, rand.New(rand.NewPCG(n, n))) })
	}
}

func walk(t *testing.T, r *rand.Rand) {
	m := &model{
		t:     t,
		rand:  r,
		now:   time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		texts: make(map[string]*modelMessage),
		byKey: make(map[string][]*modelMessage),
		dead:  make(map[string]bool),
	}
	s := settings{ordered: r.IntN(3) > 0, exactlyOnce: r.IntN(3) == 0, retention: 365 * 24 * time.Hour}
	if r.IntN(2) == 0 {
		s.retry, s.minBackoff, s.maxBackoff = true, time.Second, time.Minute
	}
	if r.IntN(2) == 0 {
		s.maxAttempts = 5
	}
	m.b = newBacklog(1, s)
	for range 3 {
		m.connect()
	}
	for range 400 {
		m.step()
	}
	m.drain()
}

func (m *model) connect() {
	c := &modelConsumer{consumer: newConsumer()}
	c.maxMessages = int64(m.rand.IntN(10))
	c.serial = m.rand.IntN(4) == 0
	m.open = append(m.open, c)
}

func (m *model) step() {
	c := m.open[m.rand.IntN(len(m.open))]
	switch m.rand.IntN(12) {
	case 0, 1, 2:
		m.publish()
	case 3, 4, 5:
		m.take(c, 1+m.rand.IntN(5))
	case 6, 7, 8:
		if l := m.any(c); l != nil {
			m.ack(l)
		}
	case 9:
		if l := m.any(c); l != nil {
			m.b.modify(l.id, 0, m.now)
			m.fail(l)
		}
	case 10:
		m.pass(time.Duration(m.rand.IntN(15)) * time.Second)
	case 11:
		if m.rand.IntN(10) == 0 && len(m.open) > 1 { // its leases stay until they are over
			at := m.rand.IntN(len(m.open))
			for m.open[at] != c {
				at = (at + 1) % len(m.open)
			}
			m.open[at] = m.open[len(m.open)-1]
			m.open = m.open[:len(m.open)-1]
			m.connect()
		}
	}
	m.bury()
}

func (m *model) publish() {
	m.number++
	msg := &modelMessage{text: fmt.Sprint(m.number)}
	pb := &pubsubpb.PubsubMessage{Data: []byte(msg.text), PublishTime: timestamppb.New(m.now)}
	if k := m.rand.IntN(4); m.b.ordered && k > 0 {
		msg.key = fmt.Sprint(k)
		msg.place = len(m.byKey[msg.key])
		m.byKey[msg.key] = append(m.byKey[msg.key], msg)
		pb.OrderingKey = msg.key
	}
	m.texts[msg.text] = msg
	m.b.add(publication{msg: pb, size: 1, seq: uint64(m.number)})
}

// any forgets and returns one of c's leases, perhaps one that is over.
func (m *model) any(c *modelConsumer) *modelLease {
	if len(c.leases) == 0 {
		return nil
	}
	at := m.rand.IntN(len(c.leases))
	l := c.leases[at]
	c.leases = slices.Delete(c.leases, at, at+1)
	return l
}

func (m *model) take(c *modelConsumer, n int) {
	for _, d := range m.b.take(c.consumer, n, 1<<20, m.now.Add(leaseTime)) {
		msg := m.texts[string(d.msg.GetData())]
		switch {
		case msg.done && (m.b.exactlyOnce || msg.key == "" || m.dead[msg.text]):
			m.t.Fatalf("%s came again after its end", msg.text)
		case msg.lease != nil:
			m.t.Fatalf("%s was delivered while someone has it", msg.text)
		case m.b.maxAttempts > 0 && d.attempt != msg.failed+1:
			m.t.Fatalf("%s is attempt %d, want %d", msg.text, d.attempt, msg.failed+1)
		}
		msg.done = false
		if msg.key != "" {
			m.checkOrder(c, msg)
		}
		l := &modelLease{delivery: d, message: msg, consumer: c, due: m.now.Add(leaseTime)}
		msg.lease = l
		c.leases = append(c.leases, l)
	}
	if c.maxMessages > 0 && c.messages > c.maxMessages {
		m.t.Fatalf("%d messages are out, %d are allowed", c.messages, c.maxMessages)
	}
}

// checkOrder checks that all messages before msg are done or held by the same consumer.
func (m *model) checkOrder(c *modelConsumer, msg *modelMessage) {
	for _, before := range m.byKey[msg.key][:msg.place] {
		switch {
		case before.done:
		case before.lease == nil:
			m.t.Fatalf("%s of key %s came before %s", msg.text, msg.key, before.text)
		case before.lease.consumer != c:
			m.t.Fatalf("two consumers have key %s", msg.key)
		case c.serial:
			m.t.Fatalf("two messages of key %s are out", msg.key)
		}
	}
}

func (m *model) ack(l *modelLease) {
	accepted := m.b.ack(l.id)
	msg := l.message
	switch current := msg.lease == l; {
	case current && !accepted:
		m.t.Fatalf("the ack of %s was refused", msg.text)
	case current, !m.b.exactlyOnce && msg.key == "":
		msg.done, msg.lease = true, nil
	case m.b.exactlyOnce && accepted != msg.done:
		m.t.Fatalf("the late ack of %s: accepted %v", msg.text, accepted)
	}
}

// fail ends a lease by nack or deadline, and those behind it.
func (m *model) fail(l *modelLease) {
	msg := l.message
	if msg.lease != l {
		return
	}
	msg.lease = nil
	msg.failed++
	if msg.key == "" {
		return
	}
	for _, later := range m.byKey[msg.key][msg.place+1:] {
		later.lease = nil
		if !m.b.exactlyOnce && !m.dead[later.text] {
			later.done = false // an acknowledged one is due again
		}
	}
}

func (m *model) pass(d time.Duration) {
	m.now = m.now.Add(d)
	m.b.expire(m.now)
	var due []*modelLease
	for _, msg := range m.texts {
		if l := msg.lease; l != nil && !l.due.After(m.now) {
			due = append(due, l)
		}
	}
	slices.SortFunc(due, func(a, b *modelLease) int {
		return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.id.seq, b.id.seq))
	})
	for _, l := range due {
		m.fail(l)
	}
}

// bury publishes what is exhausted, or fails to.
func (m *model) bury() {
	for _, e := range m.b.takeDead() {
		ok := m.rand.IntN(2) == 0
		m.b.forwarded(e, ok, m.now)
		if msg := m.texts[string(e.msg.GetData())]; ok {
			msg.done = true
			m.dead[msg.text] = true
		}
	}
}

// drain acknowledges everything: nothing may be left, and nothing may have been lost.
func (m *model) drain() {
	c := &modelConsumer{consumer: newConsumer()}
	for range 1000 {
		m.take(c, 100)
		for l := m.any(c); l != nil; l = m.any(c) {
			m.ack(l)
		}
		m.pass(10 * time.Second)
		m.bury()
	}
	for _, msg := range m.texts {
		if !msg.done {
			m.t.Fatalf("%s was lost", msg.text)
		}
	}
	if b := m.b; b.arrivals.head != nil || b.ready.head != nil || len(b.timers)+len(b.out)+len(b.keys) != 0 {
		m.t.Fatalf("left over: %d timers, %d out, %d keys", len(b.timers), len(b.out), len(b.keys))
	}
}
