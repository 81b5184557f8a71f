package pubsub

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// TestServiceModel does random things to a Service in a synctest bubble, and keeps the plain truth
// beside it: for each subscription what is unacknowledged, who has it until when, what comes next in
// each ordering key, and for each snapshot what it holds. What the Service delivers must agree with
// that, and in the end everything must have been delivered and acknowledged or become a dead letter.
//
//	go test -run TestServiceModel -seed N    repeats one walk
//	go test -run TestServiceModel -walks N   does another number of them
func TestServiceModel(t *testing.T) {
	n := uint64(2000)
	switch {
	case *walks != 0:
		n = *walks
	case testing.Short():
		n = 100
	}
	first := uint64(1)
	if *seed != 0 {
		first, n = *seed, 1
	}
	for s := first; s < first+n; s++ {
		if !t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { walkService(t, rand.New(rand.NewPCG(s, 5))) })
		}) {
			break
		}
	}
}

const steps = 150 // of one walk

// serviceModel is the model of a Service with one topic.
type serviceModel struct {
	t        *testing.T
	rand     *rand.Rand
	s        *Service
	retains  time.Duration // of the topic
	sent     []*sent       // all messages, in the order of publication
	subs     []*modelSub
	snaps    []*modelSnap
	snapshot int // number of the latest
}

// sent is one published message.
type sent struct {
	n         int // also its data
	key       string
	color     string // its attribute
	published time.Time
}

// modelSub is the truth about one subscription.
type modelSub struct {
	name        string
	ordered     bool
	exactlyOnce bool
	retainAcked bool
	color       string // what the filter lets through, "" for everything
	maxAttempts int
	minBackoff  time.Duration
	maxBackoff  time.Duration
	first       int // number of the first message that it got by itself
	messages    map[int]*modelState
	open        []*modelOpen // delivered, acknowledged or not
	seeks       int
}

// modelState is one message in one subscription.
type modelState struct {
	*sent
	done     bool
	settled  bool      // done for good, unless a seek brings it back
	failures int       // since the last seek
	deaths   int       // how often it became a dead letter
	ready    time.Time // not to be delivered before
	open     *modelOpen
}

// modelOpen is one delivery.
type modelOpen struct {
	state *modelState
	ackID string
	due   time.Time
	seeks int // of the subscription when it was delivered
}

type modelSnap struct {
	name    string
	ordered bool
	holds   map[int]bool
	next    int // messages from this number on belong to it
}

func walkService(t *testing.T, r *rand.Rand) {
	m := &serviceModel{t: t, rand: r, s: newService(t, Config{})}
	must(t, m.s.CreateTopic, &pubsubpb.Topic{Name: deadName})
	createSubscription(t, m.s, func(sub *pubsubpb.Subscription) { sub.Name, sub.Topic = "projects/p/subscriptions/dead", deadName })
	topic := &pubsubpb.Topic{Name: topicName}
	if m.rand.IntN(2) == 0 {
		m.retains = 24 * time.Hour
		topic.MessageRetentionDuration = durationpb.New(m.retains)
	}
	must(t, m.s.CreateTopic, topic)
	for range 1 + r.IntN(3) {
		m.subscribe()
	}
	for range steps {
		m.step()
	}
	m.drain()
}

func (m *serviceModel) subscribe() {
	sub := &modelSub{
		name:        fmt.Sprintf("projects/p/subscriptions/sub-%d", len(m.subs)),
		ordered:     m.rand.IntN(2) == 0,
		exactlyOnce: m.rand.IntN(3) == 0,
		retainAcked: m.rand.IntN(3) == 0,
		first:       len(m.sent),
		messages:    make(map[int]*modelState),
	}
	config := &pubsubpb.Subscription{
		Name: sub.name, Topic: topicName, EnableMessageOrdering: sub.ordered, EnableExactlyOnceDelivery: sub.exactlyOnce,
		RetainAckedMessages: sub.retainAcked,
	}
	if m.rand.IntN(3) == 0 {
		sub.color = "red"
		config.Filter = `attributes.color = "red"`
	}
	if m.rand.IntN(2) == 0 {
		sub.minBackoff, sub.maxBackoff = time.Second, 20*time.Second
		config.RetryPolicy = &pubsubpb.RetryPolicy{MinimumBackoff: durationpb.New(sub.minBackoff), MaximumBackoff: durationpb.New(sub.maxBackoff)}
	}
	if m.rand.IntN(2) == 0 {
		sub.maxAttempts = 5
		config.DeadLetterPolicy = &pubsubpb.DeadLetterPolicy{DeadLetterTopic: deadName, MaxDeliveryAttempts: 5}
	}
	must(m.t, m.s.CreateSubscription, config)
	m.subs = append(m.subs, sub)
}

func (m *serviceModel) step() {
	sub := m.subs[m.rand.IntN(len(m.subs))]
	switch n := m.rand.IntN(100); {
	case n < 25:
		m.publish()
	case n < 50:
		m.pull(sub, 1+m.rand.IntN(6))
	case n < 68:
		m.ack(sub)
	case n < 80:
		m.nack(sub)
	case n < 84:
		m.extend(sub)
	case n < 92:
		m.sleep(time.Duration(m.rand.IntN(12_000)) * time.Millisecond)
	case n < 95:
		m.takeSnapshot(sub)
	case n < 97:
		m.seekSnapshot(sub)
	case n < 99:
		m.seekTime(sub)
	case len(m.subs) < 4:
		m.subscribe()
	}
}

func (m *serviceModel) publish() {
	var messages []*pubsubpb.PubsubMessage
	key := ""
	if m.rand.IntN(3) > 0 {
		key = strconv.Itoa(m.rand.IntN(3))
	}
	for range 1 + m.rand.IntN(3) {
		msg := &sent{n: len(m.sent), key: key, color: []string{"red", "blue"}[m.rand.IntN(2)], published: time.Now().Truncate(time.Millisecond)}
		m.sent = append(m.sent, msg)
		for _, sub := range m.subs {
			if sub.wants(msg) {
				sub.messages[msg.n] = &modelState{sent: msg}
			}
		}
		messages = append(messages, &pubsubpb.PubsubMessage{Data: []byte(strconv.Itoa(msg.n)), OrderingKey: key, Attributes: map[string]string{"color": msg.color}})
	}
	must(m.t, m.s.Publish, &pubsubpb.PublishRequest{Topic: topicName, Messages: messages})
}

func (sub *modelSub) wants(msg *sent) bool { return sub.color == "" || sub.color == msg.color }

// pull checks every delivery against the truth.
func (m *serviceModel) pull(sub *modelSub, n int) int {
	req := &pubsubpb.PullRequest{Subscription: sub.name, MaxMessages: int32(n)} //nolint:gosec // small
	req.ReturnImmediately = true                                                //nolint:staticcheck // deprecated, but it saves the tests the wait
	got := must(m.t, m.s.Pull, req).ReceivedMessages
	now := time.Now()
	together := make(map[int]bool)
	for _, r := range got {
		number, err := strconv.Atoi(string(r.Message.Data))
		if err != nil {
			m.t.Fatal(err)
		}
		state := sub.messages[number]
		want := 0
		if sub.maxAttempts > 0 && state != nil {
			want = state.failures + 1
		}
		switch {
		case state == nil:
			m.t.Fatalf("%s: %d should never have come", sub.name, number)
		case state.done:
			m.t.Fatalf("%s: %d came after its end", sub.name, number)
		case state.open != nil:
			m.t.Fatalf("%s: %d came while somebody has it", sub.name, number)
		case now.Before(state.ready):
			m.t.Fatalf("%s: %d came %v too early", sub.name, number, state.ready.Sub(now))
		case int(r.DeliveryAttempt) != want:
			m.t.Fatalf("%s: %d is attempt %d, want %d", sub.name, number, r.DeliveryAttempt, want)
		case r.Message.Attributes["color"] != state.color || r.Message.OrderingKey != state.key:
			m.t.Fatalf("%s: %d has become %v", sub.name, number, r.Message)
		}
		for _, before := range sub.behind(state.key, -1) {
			if sub.ordered && before.n < number && !before.done && !together[before.n] {
				m.t.Fatalf("%s: %d of key %s came before %d", sub.name, number, state.key, before.n)
			}
		}
		together[number] = true
		state.open = &modelOpen{state: state, ackID: r.AckId, due: now.Add(10 * time.Second), seeks: sub.seeks}
		sub.open = append(sub.open, state.open)
	}
	return len(got)
}

// behind lists the messages of a key with a number above n; there are none for the empty key.
func (sub *modelSub) behind(key string, n int) []*modelState {
	var out []*modelState
	if key == "" {
		return nil
	}
	for _, state := range sub.messages {
		if state.key == key && state.n > n {
			out = append(out, state)
		}
	}
	return out
}

// some returns a few deliveries, over or not, and forgets them.
func (m *serviceModel) some(sub *modelSub) []*modelOpen {
	var out []*modelOpen
	for range 1 + m.rand.IntN(3) {
		if len(sub.open) == 0 {
			break
		}
		at := m.rand.IntN(len(sub.open))
		out = append(out, sub.open[at])
		sub.open = slices.Delete(sub.open, at, at+1)
	}
	return out
}

func (m *serviceModel) ack(sub *modelSub) {
	for _, o := range m.some(sub) { // one by one, so that each has its own answer
		_, err := m.s.Acknowledge(m.t.Context(), &pubsubpb.AcknowledgeRequest{Subscription: sub.name, AckIds: []string{o.ackID}})
		state := o.state
		holds, fresh := state.open == o, o.seeks == sub.seeks
		switch refused := sub.exactlyOnce && fresh && !holds && !state.done; {
		case refused != (err != nil):
			m.t.Fatalf("%s: ack of %d: %v, though refused should be %v", sub.name, state.n, err, refused)
		case holds, fresh && !sub.exactlyOnce && (!sub.ordered || state.key == ""):
			state.done, state.open = true, nil
			state.settled = sub.exactlyOnce || !sub.ordered || state.key == ""
		}
	}
}

func (m *serviceModel) nack(sub *modelSub) {
	for _, o := range m.some(sub) {
		m.modify(sub, o, 0)
		if o.state.open == o {
			m.fail(sub, o)
		}
	}
}

func (m *serviceModel) extend(sub *modelSub) {
	for _, o := range m.some(sub) {
		m.modify(sub, o, 30)
		if o.state.open == o {
			o.due = time.Now().Add(30 * time.Second)
			sub.open = append(sub.open, o)
		}
	}
}

func (m *serviceModel) modify(sub *modelSub, o *modelOpen, seconds int32) {
	_, err := m.s.ModifyAckDeadline(m.t.Context(), &pubsubpb.ModifyAckDeadlineRequest{Subscription: sub.name, AckIds: []string{o.ackID}, AckDeadlineSeconds: seconds})
	if refused := sub.exactlyOnce && o.state.open != o; refused != (err != nil) {
		m.t.Fatalf("%s: deadline of %d: %v, though refused should be %v", sub.name, o.state.n, err, refused)
	}
}

// fail ends a delivery by nack or deadline, and those behind it in its key.
func (m *serviceModel) fail(sub *modelSub, o *modelOpen) {
	state := o.state
	at := time.Now()
	if o.due.Before(at) {
		at = o.due
	}
	state.open = nil
	state.failures++
	if sub.ordered {
		for _, later := range sub.behind(state.key, state.n) {
			later.open = nil
			if !later.settled {
				later.done = false
			}
		}
	}
	if sub.maxAttempts > 0 && state.failures >= sub.maxAttempts {
		state.done, state.settled = true, true
		state.deaths++
		return
	}
	wait := sub.minBackoff
	for i := 1; i < state.failures && wait < sub.maxBackoff; i++ {
		wait *= 2
	}
	state.ready = at.Add(min(wait, sub.maxBackoff))
}

func (m *serviceModel) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
	for _, sub := range m.subs {
		var due []*modelOpen
		for _, state := range sub.messages {
			if o := state.open; o != nil && !o.due.After(time.Now()) {
				due = append(due, o)
			}
		}
		slices.SortFunc(due, func(a, b *modelOpen) int {
			return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.state.n, b.state.n))
		})
		for _, o := range due {
			if o.state.open == o { // not taken back by an earlier one
				m.fail(sub, o)
			}
		}
	}
}

func (m *serviceModel) takeSnapshot(sub *modelSub) {
	m.snapshot++
	snap := &modelSnap{name: fmt.Sprintf("projects/p/snapshots/snap-%d", m.snapshot), ordered: sub.ordered, holds: make(map[int]bool), next: len(m.sent)}
	must(m.t, m.s.CreateSnapshot, &pubsubpb.CreateSnapshotRequest{Name: snap.name, Subscription: sub.name})
	for n, state := range sub.messages {
		if !state.done {
			snap.holds[n] = true
		}
	}
	m.snaps = append(m.snaps, snap)
}

func (m *serviceModel) seekSnapshot(sub *modelSub) {
	if len(m.snaps) == 0 {
		return
	}
	snap := m.snaps[m.rand.IntN(len(m.snaps))]
	if sub.ordered && !snap.ordered {
		return
	}
	seekTo(m.t, m.s, sub.name, snap.name)
	m.sought(sub, func(msg *sent) bool { return snap.holds[msg.n] || msg.n >= snap.next }, func(*sent) bool { return true })
}

func (m *serviceModel) seekTime(sub *modelSub) {
	if len(m.sent) == 0 {
		return
	}
	at := m.sent[m.rand.IntN(len(m.sent))].published.Add(time.Duration(m.rand.IntN(3)-1) * time.Second)
	seekTime(m.t, m.s, sub.name, at)
	m.sought(sub, func(msg *sent) bool { return !msg.published.Before(at) }, func(*sent) bool { return m.retains > 0 })
}

// sought is the truth after a seek: what is wanted is unacknowledged if the subscription or, as kept
// says, something else still has it.
func (m *serviceModel) sought(sub *modelSub, wanted, kept func(*sent) bool) {
	sub.seeks++
	for _, msg := range m.sent {
		if !sub.wants(msg) {
			continue
		}
		state := sub.messages[msg.n]
		has := state != nil && (!state.done || sub.retainAcked)
		switch {
		case state == nil && (!wanted(msg) || !kept(msg)):
		case state == nil || !has && wanted(msg) && kept(msg): // comes back as if it were new
			sub.messages[msg.n] = &modelState{sent: msg}
		default:
			state.open, state.ready, state.failures = nil, time.Time{}, 0
			state.done = !wanted(msg) || !has
			state.settled = state.done
		}
	}
}

// drain acknowledges everything: nothing may be left, and nothing may have been lost.
func (m *serviceModel) drain() {
	for _, sub := range m.subs {
		for range 200 {
			m.sleep(time.Minute)
			if m.pull(sub, 1000) == 0 {
				break
			}
			for _, o := range sub.open {
				if o.state.open == o {
					must(m.t, m.s.Acknowledge, &pubsubpb.AcknowledgeRequest{Subscription: sub.name, AckIds: []string{o.ackID}})
					o.state.done, o.state.open = true, nil
				}
			}
		}
		for n, state := range sub.messages {
			if !state.done {
				m.t.Fatalf("%s: %d was lost", sub.name, n)
			}
		}
	}
	m.checkDead()
}

// checkDead compares the dead letters: each is the copy of a message that was exhausted as often as it says.
func (m *serviceModel) checkDead() {
	dead := make(map[string]int)
	for {
		req := &pubsubpb.PullRequest{Subscription: "projects/p/subscriptions/dead", MaxMessages: 1000}
		req.ReturnImmediately = true //nolint:staticcheck // deprecated, but it saves the tests the wait
		got := must(m.t, m.s.Pull, req).ReceivedMessages
		if len(got) == 0 {
			break
		}
		for _, r := range got {
			from := "projects/p/subscriptions/" + r.Message.Attributes["CloudPubSubDeadLetterSourceSubscription"]
			dead[from+" "+string(r.Message.Data)]++
			if r.Message.Attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "" {
				m.t.Fatalf("a dead letter without its count: %v", r.Message)
			}
		}
	}
	for _, sub := range m.subs {
		for n, state := range sub.messages {
			if got := dead[fmt.Sprintf("%s %d", sub.name, n)]; got < state.deaths {
				m.t.Fatalf("%s: %d is a dead letter %d times, want %d", sub.name, n, got, state.deaths)
			}
		}
	}
}
