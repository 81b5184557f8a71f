package pubsub

import (
	"strconv"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// bench drives a backlog by hand: no goroutines, no transport, time is a field.
type bench struct {
	t   *testing.T
	b   *backlog
	c   *consumer
	now time.Time
	seq uint64 // of the latest message
}

const leaseTime = 10 * time.Second

func newBench(t *testing.T, s settings) *bench {
	t.Helper()
	if s.retention == 0 {
		s.retention = defaultRetention
	}
	return &bench{t: t, b: newBacklog(1, s), c: newConsumer(), now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
}

// publish adds messages whose data is their text; "k:text" has the ordering key k.
func (w *bench) publish(texts ...string) {
	for _, text := range texts {
		m := &pubsubpb.PubsubMessage{Data: []byte(text), PublishTime: timestamppb.New(w.now)}
		if len(text) > 2 && text[1] == ':' {
			m.OrderingKey = text[:1]
		}
		w.seq++
		w.b.add(publication{msg: m, size: len(text), seq: w.seq})
	}
}

// pass lets time go by.
func (w *bench) pass(d time.Duration) {
	w.now = w.now.Add(d)
	w.b.expire(w.now)
}

// seek seeks to a time without any history.
func (w *bench) seek(t time.Time) {
	w.b.seek(func(p *publication) bool { return !p.published().Before(t) }, nil, w.now)
}

// takeBy leases everything that c may have, and checks the texts and their order.
func (w *bench) takeBy(c *consumer, want ...string) []delivery {
	w.t.Helper()
	got := w.b.take(c, 1000, 1<<20, w.now.Add(leaseTime))
	texts := []string{}
	for _, d := range got {
		texts = append(texts, string(d.msg.GetData()))
	}
	if diff := cmp.Diff(append([]string{}, want...), texts); diff != "" {
		w.t.Fatalf("taken (-want +got):\n%s", diff)
	}
	return got
}

func (w *bench) take(want ...string) []delivery {
	w.t.Helper()
	return w.takeBy(w.c, want...)
}

func (w *bench) ack(ds ...delivery) {
	w.t.Helper()
	for _, d := range ds {
		if !w.b.ack(d.id) {
			w.t.Fatalf("ack of %s was refused", d.msg.GetData())
		}
	}
}

func (w *bench) nack(ds ...delivery) {
	for _, d := range ds {
		w.b.modify(d.id, 0, w.now)
	}
}

// empty checks that nothing of what was acknowledged is kept.
func (w *bench) empty() {
	w.t.Helper()
	b := w.b
	if b.arrivals.head != nil || b.ready.head != nil || len(b.timers)+len(b.out)+len(b.keys) != 0 || w.c.messages != 0 || w.c.bytes != 0 {
		w.t.Fatalf("left over: %d timers, %d out, %d keys, %d leases of %d bytes", len(b.timers), len(b.out), len(b.keys), w.c.messages, w.c.bytes)
	}
}

func TestAckEndsAMessage(t *testing.T) {
	w := newBench(t, settings{})
	w.publish("a", "b", "c")
	w.ack(w.take("a", "b", "c")...)
	w.pass(time.Hour)
	w.take()
	w.empty()
}

func TestNackIsReadyAtOnceWithoutRetryPolicy(t *testing.T) {
	w := newBench(t, settings{})
	w.publish("a", "b")
	ds := w.take("a", "b")
	w.nack(ds[0])
	w.ack(ds[1])
	w.ack(w.take("a")...)
	w.empty()
}

func TestLeaseExpires(t *testing.T) {
	w := newBench(t, settings{})
	w.publish("a")
	first := w.take("a")
	w.pass(leaseTime - time.Nanosecond)
	w.take()
	w.pass(time.Nanosecond)
	w.take("a")
	w.ack(first...) // late, but welcome
	w.empty()
}

func TestDeadlineIsExtended(t *testing.T) {
	w := newBench(t, settings{})
	w.publish("a")
	d := w.take("a")[0]
	w.pass(9 * time.Second)
	if !w.b.modify(d.id, 20*time.Second, w.now) {
		t.Fatal("the extension was refused")
	}
	w.pass(20*time.Second - time.Nanosecond)
	w.take()
	w.pass(time.Nanosecond)
	w.take("a")
	w.b.modify(d.id, 0, w.now) // a nack of a lease that is over changes nothing
	w.take()
}

func TestRetryPolicyBacksOff(t *testing.T) {
	w := newBench(t, settings{retry: true, minBackoff: time.Second, maxBackoff: 5 * time.Second})
	w.publish("a")
	d := w.take("a")[0]
	for _, wait := range []time.Duration{1, 2, 4, 5, 5} {
		w.nack(d)
		w.pass(wait*time.Second - time.Nanosecond)
		w.take()
		w.pass(time.Nanosecond)
		d = w.take("a")[0]
	}
	w.pass(leaseTime) // an expired deadline backs off as well
	w.take()
	w.pass(5 * time.Second)
	w.ack(w.take("a")...)
	w.empty()
}

func TestDeadLetter(t *testing.T) {
	w := newBench(t, settings{maxAttempts: 5})
	w.publish("a")
	for attempt := 1; attempt <= 5; attempt++ {
		d := w.take("a")[0]
		if d.attempt != attempt {
			t.Fatalf("attempt %d, want %d", d.attempt, attempt)
		}
		if attempt%2 == 0 {
			w.nack(d)
		} else {
			w.pass(leaseTime)
		}
	}
	w.take()
	dead := w.b.takeDead()
	if len(dead) != 1 || dead[0].failures != 5 {
		t.Fatalf("dead: %v", dead)
	}
	w.b.forwarded(dead[0], false, w.now) // the topic was gone: the message comes back
	d := w.take("a")[0]
	if d.attempt != 6 {
		t.Fatalf("attempt %d, want 6", d.attempt)
	}
	w.nack(d)
	w.b.forwarded(w.b.takeDead()[0], true, w.now)
	w.take()
	w.empty()
}

func TestAttemptsAreHiddenWithoutDeadLetterPolicy(t *testing.T) {
	w := newBench(t, settings{})
	w.publish("a")
	w.nack(w.take("a")...)
	if d := w.take("a")[0]; d.attempt != 0 {
		t.Fatalf("attempt %d, want 0", d.attempt)
	}
}

func TestOrderedNackRedeliversFromThereOn(t *testing.T) {
	w := newBench(t, settings{ordered: true})
	w.publish("x:1", "x:2", "y:1", "x:3", "x:4")
	ds := w.take("x:1", "x:2", "y:1", "x:3", "x:4")
	w.ack(ds[0], ds[3]) // x:3 before x:2
	w.nack(ds[1])       // x:2
	w.ack(ds[2])        // y:1 is not concerned
	w.ack(ds[4])        // too late: x:4 was taken back
	again := w.take("x:2", "x:3", "x:4")
	w.ack(again...)
	w.take()
	w.empty()
}

func TestOrderedBackoffHoldsOnlyItsKey(t *testing.T) {
	w := newBench(t, settings{ordered: true, retry: true, minBackoff: time.Second, maxBackoff: time.Second})
	w.publish("x:1", "y:1")
	ds := w.take("x:1", "y:1")
	w.nack(ds[0])
	w.publish("x:2", "y:2")
	w.ack(ds[1])
	w.ack(w.take("y:2")...)
	w.pass(time.Second)
	w.ack(w.take("x:1", "x:2")...)
	w.empty()
}

func TestOrderedKeyBelongsToOneConsumer(t *testing.T) {
	w := newBench(t, settings{ordered: true})
	other := newConsumer()
	w.publish("x:1", "x:2")
	w.c.maxMessages = 1
	first := w.take("x:1")
	w.takeBy(other) // x:2 goes to the holder of x:1, or waits
	w.ack(first...)
	w.takeBy(other, "x:2")
}

func TestOrderedKeyOfAClosedConsumer(t *testing.T) {
	w := newBench(t, settings{ordered: true})
	w.publish("x:1", "x:2")
	w.c.maxMessages = 1
	w.take("x:1")
	other := newConsumer() // the first is gone
	w.takeBy(other)
	w.pass(leaseTime)
	w.ack(w.takeBy(other, "x:1", "x:2")...)
	w.empty()
}

func TestSerialConsumerGetsOneOfAKey(t *testing.T) {
	w := newBench(t, settings{ordered: true})
	w.c.serial = true
	w.publish("x:1", "x:2", "y:1")
	ds := w.take("x:1", "y:1")
	w.nack(ds[0])
	ds = w.take("x:1")
	w.ack(ds[0])
	w.ack(w.take("x:2")...)
}

func TestOrderedDeadLetterFreesTheKey(t *testing.T) {
	w := newBench(t, settings{ordered: true, maxAttempts: 5})
	w.publish("x:1", "x:2")
	for range 5 {
		w.nack(w.take("x:1", "x:2")[0])
	}
	w.take() // held until the copy is published
	w.b.forwarded(w.b.takeDead()[0], true, w.now)
	w.ack(w.take("x:2")...)
	w.empty()
}

func TestEarlierNackWhileALaterOneWaits(t *testing.T) {
	w := newBench(t, settings{ordered: true, retry: true, minBackoff: time.Second, maxBackoff: time.Hour})
	w.publish("x:1", "x:2", "x:3")
	ds := w.take("x:1", "x:2", "x:3")
	w.nack(ds[1])
	w.nack(ds[0])
	w.take()
	w.pass(time.Second)
	w.ack(w.take("x:1", "x:2", "x:3")...)
	w.empty()
}

func TestOrderIsIgnoredWhereItIsNotEnabled(t *testing.T) {
	w := newBench(t, settings{})
	w.publish("x:1", "x:2")
	ds := w.take("x:1", "x:2")
	w.nack(ds[0])
	w.take("x:1")
}

func TestFlowControl(t *testing.T) {
	w := newBench(t, settings{})
	w.c.maxMessages = 2
	w.publish("a", "b", "c")
	ds := w.take("a", "b")
	w.take()
	w.ack(ds[0])
	w.take("c")

	w = newBench(t, settings{})
	w.c.maxBytes = 3
	w.publish("aa", "bb", "cc")
	ds = w.take("aa", "bb") // the limit may be passed by one message
	w.take()
	w.nack(ds...)
	w.take("cc", "aa")
}

func TestResponseIsBounded(t *testing.T) {
	w := newBench(t, settings{})
	w.publish("aaaa", "bb", "cc", "dd")
	for _, want := range []int{1, 1, 2, 0} {
		if want == 2 {
			w.b.timers.clear(w.b.timers[0]) // keeps the first leases from ending
		}
		limit := 3
		if want == 2 {
			limit = 4
		}
		if got := w.b.take(w.c, 10, limit, w.now.Add(leaseTime)); len(got) != want {
			t.Fatalf("%d messages, want %d", len(got), want)
		}
	}
}

func TestOwnKeysAndOthersTakeTurns(t *testing.T) {
	w := newBench(t, settings{ordered: true})
	w.publish("x:1", "x:2", "x:3", "y:1", "z:1")
	w.take("x:1", "x:2", "y:1", "x:3", "z:1")
}

func TestExactlyOnce(t *testing.T) {
	w := newBench(t, settings{exactlyOnce: true})
	w.publish("a", "b")
	ds := w.take("a", "b")
	w.ack(ds[0], ds[0]) // a second ack of an acknowledged message is accepted
	w.pass(leaseTime)
	if w.b.ack(ds[1].id) {
		t.Error("an ack of a lease that is over was accepted")
	}
	if w.b.modify(ds[1].id, time.Second, w.now) {
		t.Error("an extension of a lease that is over was accepted")
	}
	w.ack(w.take("b")...)
	w.empty()
}

func TestExactlyOnceNeverRedeliversTheAcknowledged(t *testing.T) {
	w := newBench(t, settings{exactlyOnce: true, ordered: true})
	w.publish("x:1", "x:2", "x:3")
	ds := w.take("x:1", "x:2", "x:3")
	w.ack(ds[1])
	w.nack(ds[0])
	w.ack(w.take("x:1", "x:3")...)
	w.empty()
}

func TestGivenBackIsNoAttempt(t *testing.T) {
	w := newBench(t, settings{ordered: true, maxAttempts: 5})
	w.publish("x:1", "x:2")
	for _, d := range w.take("x:1", "x:2") {
		w.b.giveBack(d.id)
	}
	ds := w.take("x:1", "x:2")
	if ds[0].attempt != 1 {
		t.Fatalf("attempt %d, want 1", ds[0].attempt)
	}
	w.ack(ds...)
	w.empty()
}

func TestRetentionEnds(t *testing.T) {
	w := newBench(t, settings{ordered: true, retention: time.Hour})
	w.publish("a", "x:1", "x:2")
	w.take("a", "x:1", "x:2")
	w.pass(30 * time.Minute)
	w.publish("b")
	w.take("a", "x:1", "x:2", "b")
	w.pass(30 * time.Minute)
	w.ack(w.take("b")...)
	w.empty()
}

func TestNextIsTheEarliest(t *testing.T) {
	w := newBench(t, settings{retention: time.Hour})
	if !w.b.next().IsZero() {
		t.Fatal("an empty backlog has something to do")
	}
	w.publish("a")
	if got, want := w.b.next(), w.now.Add(time.Hour); !got.Equal(want) {
		t.Fatalf("next %v, want the end of retention %v", got, want)
	}
	w.take("a")
	if got, want := w.b.next(), w.now.Add(leaseTime); !got.Equal(want) {
		t.Fatalf("next %v, want the end of the lease %v", got, want)
	}
}

func TestSeek(t *testing.T) {
	for _, retain := range []bool{false, true} {
		t.Run("retain="+strconv.FormatBool(retain), func(t *testing.T) {
			w := newBench(t, settings{ordered: true, retainAcked: retain})
			w.publish("a", "x:1")
			w.pass(time.Second)
			from := w.now
			w.publish("b", "x:2", "c")
			ds := w.take("a", "x:1", "x:2", "b", "c")
			w.ack(ds[0], ds[1], ds[3])
			w.seek(from)
			if retain {
				w.take("b", "x:2", "c")
			} else {
				w.take("x:2", "c")
			}
			w.seek(from.Add(-time.Hour))
			if retain {
				w.take("a", "x:1", "x:2", "b", "c")
			} else {
				w.take("x:2", "c")
			}
			w.seek(w.now.Add(time.Second)) // purges
			w.take()
			if !retain {
				w.empty()
			}
		})
	}
}

func TestAcksFromBeforeASeekAreAccepted(t *testing.T) {
	w := newBench(t, settings{exactlyOnce: true})
	w.publish("a")
	before := w.take("a")
	w.seek(w.now)
	w.ack(before...)
	again := w.take("a")
	w.ack(before...) // accepted, but it ends nothing
	w.ack(again...)
	w.empty()
}

func TestAckIDs(t *testing.T) {
	id := ackID{incarnation: 7, seq: 1 << 40, lease: 3}
	got, ok := parseAckID(id.String())
	if !ok || got != id {
		t.Fatalf("%v became %v", id, got)
	}
	w := newBench(t, settings{})
	w.publish("a")
	d := w.take("a")[0]
	foreign := d.id
	foreign.incarnation++
	w.b.ack(foreign)
	w.pass(leaseTime)
	w.take("a")
}

func FuzzAckID(f *testing.F) {
	f.Add("")
	f.Add("AAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Add(ackID{1, 2, 3}.String())
	f.Fuzz(func(t *testing.T, s string) {
		if id, ok := parseAckID(s); ok && id.String() != s {
			t.Fatalf("%q was accepted for %q", s, id)
		}
	})
}
