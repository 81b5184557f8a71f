package pubsub

import (
	"math"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// topic fans out what is published to its subscriptions.
type topic struct {
	service *Service
	name    string
	number  uint64 // tells it from others of its name

	admission atomic.Pointer[admission] // nil: every message is welcome

	// mu is held through a publish, so that all subscriptions see all messages in one order.
	// It is taken after Service.mu and before subscription.mu.
	mu            sync.Mutex
	config        *pubsubpb.Topic // replaced, never changed in place
	schema        schemaRange
	subscriptions []*subscription
	snapshots     []*snapshot
	history       history
	ended         error // why nothing can be published any more: deleted or closed
}

// newTopic returns a topic with a checked configuration.
func newTopic(s *Service, number uint64, config *pubsubpb.Topic, schema schemaRange) *topic {
	t := &topic{service: s, name: config.Name, number: number}
	t.configure(config, schema)
	return t
}

// configure replaces the configuration. It is called with mu held, or before t is known to anybody.
func (t *topic) configure(config *pubsubpb.Topic, schema schemaRange) {
	t.config, t.schema = config, schema
	t.admission.Store(newAdmission(config, schema))
}

// accept publishes messages if the topic's schema and transforms let it. Sizes are the messages'
// own. The messages belong to the topic from then on.
func (t *topic) accept(messages []*pubsubpb.PubsubMessage, sizes []int) ([]string, error) {
	var schema *schemaResource
	if a := t.admission.Load(); a != nil {
		if err := a.check(messages); err != nil {
			return nil, err
		}
		schema = a.schema.schema
	}
	return t.publish(messages, sizes, schema)
}

// publish gives the messages their ids and their time and appends them to every subscription.
func (t *topic) publish(messages []*pubsubpb.PubsubMessage, sizes []int, schema *schemaResource) ([]string, error) {
	ids := make([]string, len(messages))
	publications := make([]publication, len(messages))
	var exhausted []func()
	record := t.service.journal.record(messages, sizes, schema)

	t.mu.Lock()
	if err := t.ended; err != nil {
		t.mu.Unlock()
		return nil, err
	}
	now := t.service.clock.Now()
	published := timestamppb.New(now.Truncate(time.Millisecond))
	number := t.service.numbers.take(len(messages)) - uint64(len(messages))
	kept := t.keep(record, number+1, len(messages), published.AsTime())
	defer kept.letGo()
	for i, m := range messages {
		number++
		ids[i] = strconv.FormatUint(number, 10)
		m.MessageId = ids[i]
		m.PublishTime = published
		publications[i] = publication{msg: m, size: sizes[i], seq: number, schema: schema, batch: kept}
	}
	if t.remembers() {
		t.trim(now)
		t.history.add(publications...)
	}
	for _, sub := range t.subscriptions {
		exhausted = append(exhausted, sub.add(publications))
	}
	t.mu.Unlock()

	for _, forward := range exhausted { // may publish to this very topic
		forward()
	}
	return ids, nil
}

// keep stores what is published, if there is anybody to keep it for. The lock is held.
func (t *topic) keep(record []byte, first uint64, n int, published time.Time) *batch {
	if record == nil || len(t.subscriptions) == 0 && !t.remembers() {
		return nil
	}
	b := newBatch(t.service.journal, t.number, first, n)
	t.service.journal.putBatch(b, record, published)
	return b
}

// remembers reports whether the history has a purpose. The lock is held.
func (t *topic) remembers() bool {
	return t.config.MessageRetentionDuration != nil || len(t.snapshots) > 0
}

// trim forgets what neither the retention nor a snapshot needs. The lock is held.
func (t *topic) trim(now time.Time) {
	if !t.remembers() {
		t.history.clear()
		return
	}
	oldest := uint64(math.MaxUint64)
	for _, snap := range t.snapshots {
		oldest = min(oldest, snap.seq)
	}
	t.history.trim(now.Add(-t.config.MessageRetentionDuration.AsDuration()), oldest)
}

// attach is called with Service.mu held, as is detach.
func (t *topic) attach(sub *subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.subscriptions = append(t.subscriptions, sub)
	sub.begin(t)
}

func (t *topic) detach(sub *subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.subscriptions = slices.DeleteFunc(t.subscriptions, func(s *subscription) bool { return s == sub })
}

// forget ends the history that a snapshot needed.
func (t *topic) forget(snap *snapshot) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.snapshots = slices.DeleteFunc(t.snapshots, func(s *snapshot) bool { return s == snap })
	t.trim(t.service.clock.Now())
}

// delete refuses later publishes and returns what is left without a topic.
func (t *topic) delete() ([]*subscription, []*snapshot) {
	t.mu.Lock()
	defer t.mu.Unlock()
	subscriptions, snapshots := t.subscriptions, t.snapshots
	t.subscriptions, t.snapshots = nil, nil
	t.history.clear()
	t.ended = notFound(t.name)
	return subscriptions, snapshots
}

// close refuses later publishes. When it returns, all others have reached the subscriptions.
func (t *topic) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = errClosed()
}

// proto is the topic as clients see it. Nobody may change it.
func (t *topic) proto() *pubsubpb.Topic {
	t.mu.Lock()
	defer t.mu.Unlock()
	shown := t.schema.shown(t.config.SchemaSettings)
	if shown == t.config.SchemaSettings {
		return t.config
	}
	config := proto.CloneOf(t.config)
	config.SchemaSettings = shown
	return config
}

// topic finds a topic by its name.
func (s *Service) topic(name string) (*topic, error) {
	s.mu.RLock()
	t := s.topics[name]
	s.mu.RUnlock()
	if t != nil {
		return t, nil
	}
	if s.ctx.Err() != nil {
		return nil, errClosed()
	}
	if err := checkTopicName(name); err != nil {
		return nil, err
	}
	return nil, notFound(name)
}
