package crashtest

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
)

const (
	topicName  = "projects/shop/topics/orders"
	graveTopic = "projects/shop/topics/graves"

	poisonEvery = 100 // messages of which one is nacked until it is a dead letter
	redEvery    = 3
)

// Subscriptions of the topic, by how they consume.
const (
	plainSub   = "projects/shop/subscriptions/plain"   // pulls
	redSub     = "projects/shop/subscriptions/red"     // pulls what a filter lets through
	onceSub    = "projects/shop/subscriptions/once"    // streams under exactly-once delivery
	orderedSub = "projects/shop/subscriptions/ordered" // the same, by ordering keys
	pushSub    = "projects/shop/subscriptions/push"
	poisonSub  = "projects/shop/subscriptions/poison" // pulls and nacks what is poison
	graveSub   = "projects/shop/subscriptions/graves" // pulls dead letters
)

func wants(subscription string, serial int) bool {
	switch subscription {
	case redSub:
		return serial%redEvery == 0
	case poisonSub, graveSub:
		return serial%poisonEvery == 0
	default:
		return true
	}
}

// published is what clients know of the messages, by their serial numbers, which are their data.
type published struct {
	mu      sync.Mutex
	life    int
	serial  int
	ids     map[int]uint64 // message ids of acknowledged publishes
	highest uint64         // id that was acknowledged before this life
	latest  uint64         // id that was acknowledged
	wrong   []string

	consumers map[string]*consumed
	delivered atomic.Int64
}

// consumed is what one subscription has given.
type consumed struct {
	received  map[int]int    // by the serial number: how often
	confirmed map[int]bool   // whose acknowledgement was confirmed
	last      map[string]int // serial number by ordering key, in this life
	again     int            // deliveries that were not the first of their message
}

func newPublished() *published {
	p := &published{ids: make(map[int]uint64), consumers: make(map[string]*consumed)}
	for _, name := range []string{plainSub, redSub, onceSub, orderedSub, pushSub, poisonSub, graveSub} {
		p.consumers[name] = &consumed{received: make(map[int]int), confirmed: make(map[int]bool), last: make(map[string]int)}
	}
	return p
}

func (p *published) errorf(format string, args ...any) {
	if len(p.wrong) < 20 {
		p.wrong = append(p.wrong, fmt.Sprintf("in life %d: ", p.life)+fmt.Sprintf(format, args...))
	}
}

// next begins another life.
func (p *published) next() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.life++
	p.highest = p.latest
	for _, c := range p.consumers {
		clear(c.last)
	}
}

func (p *published) acknowledged() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ids)
}

// messages makes a request of n messages.
func (p *published) messages(n int, key string) (request *pubsubpb.PublishRequest, first int) {
	p.mu.Lock()
	first = p.serial
	p.serial += n
	p.mu.Unlock()
	request = &pubsubpb.PublishRequest{Topic: topicName}
	for serial := first; serial < first+n; serial++ {
		m := &pubsubpb.PubsubMessage{
			Data:        []byte(strconv.Itoa(serial) + strings.Repeat(" ", 300)),
			OrderingKey: key,
			Attributes:  map[string]string{"red": strconv.FormatBool(wants(redSub, serial)), "poison": strconv.FormatBool(wants(poisonSub, serial))},
		}
		request.Messages = append(request.Messages, m)
	}
	return request, first
}

// accepted notes the ids of an acknowledged publish: they are higher than all of earlier lives, and rise.
func (p *published) accepted(first int, ids []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.highest
	for i, text := range ids {
		id, err := strconv.ParseUint(text, 10, 64)
		if err != nil || id <= before {
			p.errorf("message %d has the id %s after %d", first+i, text, before)
		}
		before = id
		p.ids[first+i] = id
		p.latest = max(p.latest, id)
	}
}

// receive notes a delivery and returns its serial number.
func (p *published) receive(subscription string, m *pubsubpb.PubsubMessage) int {
	p.delivered.Add(1)
	serial, err := strconv.Atoi(strings.TrimRight(string(m.GetData()), " "))
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.errorf("%s: data %.20q", subscription, m.GetData())
		return 0
	}
	c := p.consumers[subscription]
	if c.received[serial]++; c.received[serial] > 1 {
		c.again++
	}
	id, err := strconv.ParseUint(m.GetMessageId(), 10, 64)
	switch known := p.ids[serial]; {
	case !wants(subscription, serial):
		p.errorf("%s: message %d is not for it", subscription, serial)
	case c.confirmed[serial]:
		p.errorf("%s: message %d came after its acknowledgement was confirmed", subscription, serial)
	case subscription != graveSub && known != 0 && (err != nil || id != known):
		p.errorf("%s: message %d has the id %s, and was published as %d", subscription, serial, m.GetMessageId(), known)
	}
	if subscription == orderedSub {
		if last, known := c.last[m.GetOrderingKey()]; known && last >= serial {
			p.errorf("%s: message %d of key %s came after %d", subscription, serial, m.GetOrderingKey(), last)
		}
		c.last[m.GetOrderingKey()] = serial
	}
	return serial
}

// confirm notes acknowledgements that were confirmed.
func (p *published) confirm(subscription string, serials ...int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, serial := range serials {
		p.consumers[subscription].confirmed[serial] = true
	}
}

// missing counts the acknowledged messages that a subscription has not given, and names one of them.
func (p *published) missing(subscription string) (n, one int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for serial := range p.ids {
		if wants(subscription, serial) && p.consumers[subscription].received[serial] == 0 {
			n, one = n+1, serial
		}
	}
	return n, one
}
