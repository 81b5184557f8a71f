package pubsub

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/types/known/durationpb"

	"waybill.dev/internal/testenv"
)

// TestDurableModel is TestServiceModel on a store, with crashes in between: what the truth says must still be so, except that
// leases and delays are over.
//
//	go test -run TestDurableModel -seed N    repeats one walk
//	go test -run TestDurableModel -walks N   does another number of them
func TestDurableModel(t *testing.T) {
	n := uint64(100)
	switch {
	case *walks != 0:
		n = *walks
	case testenv.Full():
		n = 500 // more than twenty seconds
	case testing.Short():
		n = 15
	}
	first := uint64(1)
	if *seed != 0 {
		first, n = *seed, 1
	}
	for s := first; s < first+n; s++ {
		if !t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { walkDurably(t, rand.New(rand.NewPCG(s, 6))) })
		}) {
			break
		}
	}
}

func walkDurably(t *testing.T, r *rand.Rand) {
	disk := vfs.NewCrashableMem()
	l := mustBegin(t, disk, Config{})
	defer func() { l.die() }()
	m := &serviceModel{t: t, rand: r, s: l.Service}
	must(t, m.s.CreateTopic, &pubsubpb.Topic{Name: deadName})
	createSubscription(t, m.s, func(sub *pubsubpb.Subscription) { sub.Name, sub.Topic = "projects/p/subscriptions/dead", deadName })
	topic := &pubsubpb.Topic{Name: topicName}
	if r.IntN(2) == 0 {
		m.retains = 24 * time.Hour
		topic.MessageRetentionDuration = durationpb.New(m.retains)
	}
	must(t, m.s.CreateTopic, topic)
	m.subscribe()
	m.subscribe()
	restart := func() {
		m.sleep(10 * time.Millisecond) // nobody waits for the end of a push, nor for a nack
		after := crash(disk, r.IntN(3)*50)
		l.die()
		l = mustBegin(t, after, Config{})
		disk, m.s = after, l.Service
		m.restarted()
	}
	for range steps {
		m.step()
		if r.IntN(15) == 0 {
			restart()
		}
	}
	restart()
	m.drain()
	restart()
	for _, sub := range m.subs {
		if n := m.pull(sub, 1000); n != 0 {
			t.Errorf("%s: %d messages came back after their end", sub.name, n)
		}
	}
}

// restarted is the truth after a crash.
func (m *serviceModel) restarted() {
	for _, sub := range m.subs {
		sub.open = nil // their ids are those of another life
		for _, state := range sub.messages {
			state.open, state.ready = nil, time.Time{}
			if sub.maxAttempts == 0 {
				state.failures = 0
			}
		}
		for _, state := range sub.messages {
			if state.done {
				continue
			}
			for _, later := range sub.behind(state.key, state.n) { // the message's lease is over, and they come with it
				if sub.ordered && !later.settled {
					later.done = false
				}
			}
		}
	}
}
