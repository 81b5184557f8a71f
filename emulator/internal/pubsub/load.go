package pubsub

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"cloud.google.com/go/iam/apiv1/iampb"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/proto"
)

var errUnreadable = errors.New("the value is not what was written")

// Load brings back what the Store has. It is called once, before the Service is used, with the clock set. What was
// delivered and not acknowledged is to be delivered again. Nothing is before [Service.Start].
func (s *Service) Load() error {
	if s.journal.Store == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := loader{
		Service:   s,
		now:       s.clock.Now(),
		active:    make(map[uint64]time.Time),
		schemas:   make(map[uint64]*schemaResource),
		topics:    make(map[uint64]*topic),
		listeners: make(map[uint64][]*subscription),
		awaiting:  make(map[uint64][]*awaiting),
	}
	for _, step := range []struct {
		kind byte
		load func(key, value []byte) error
	}{ // in the order in which they need each other
		{keyNumbers, l.reservation},
		{keySchema, l.schemaRevision},
		{keyTopic, l.topic},
		{keyActivity, l.activity},
		{keySubscription, l.subscription},
		{keySnapshot, l.snapshot},
		{keyPolicy, l.policy},
		{keyBatch, l.batchOrPart},
	} {
		if err := s.journal.Scan([]byte{owner, step.kind}, func(key, value []byte) error {
			if err := step.load(key[2:], value); err != nil {
				return fmt.Errorf("pubsub: the data of %q cannot be loaded: use the version of the emulator that wrote them, or another directory: %w", key, err)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	l.finishBatch()
	for number := range l.active { // the crash came between
		l.drop(func() { l.journal.Delete(numberKey(keyActivity, number)) })
	}
	l.tidy()
	l.numbers.reserve(l.numbers.last.Load())
	return nil
}

// Start begins to deliver what was loaded, and drops what was not wanted long enough.
func (s *Service) Start() {
	s.mu.RLock()
	for _, t := range s.topics {
		t.mu.Lock()
		t.trim(s.clock.Now())
		t.mu.Unlock()
	}
	s.mu.RUnlock()
	for _, sub := range s.all() {
		sub.update(func(time.Time) {})
	}
	s.journal.Flush()
}

// loader is the Service while it loads. What the store has and nobody needs any more goes once all is loaded, so that a
// directory that cannot be loaded is not changed.
type loader struct {
	*Service
	now      time.Time
	leftover []func()

	active    map[uint64]time.Time       // by the subscription's number
	schemas   map[uint64]*schemaResource // by their numbers, as topics; also those that are deleted
	topics    map[uint64]*topic
	listeners map[uint64][]*subscription // by their topic's number
	awaiting  map[uint64][]*awaiting     // the same

	batch loadedBatch // whose parts are being read
}

// awaiting is a snapshot whose messages are being read.
type awaiting struct {
	*snapshot
	numbers []uint64 // of messages that have not been read, rising
}

func (l *loader) drop(remove func()) { l.leftover = append(l.leftover, remove) }

func (l *loader) tidy() {
	for _, remove := range l.leftover {
		remove()
	}
}

func (l *loader) reservation(_, value []byte) error {
	if len(value) != 8 {
		return errUnreadable
	}
	l.numbers.start(l.now, binary.BigEndian.Uint64(value))
	return nil
}

func (l *loader) schemaRevision(key, value []byte) error {
	if len(key) < 9 {
		return errUnreadable
	}
	name, ordinal := string(key[:len(key)-9]), binary.BigEndian.Uint64(key[len(key)-8:])
	definition := &pubsubpb.Schema{}
	number := uint64(0)
	if err := decode(value, definition, &number); err != nil {
		return err
	}
	compiled, err := compile(context.Background(), definition)
	if err != nil {
		return err
	}
	r := l.Service.schemas[name]
	switch {
	case r != nil && r.number != number:
		return errUnreadable
	case r == nil:
		r = &schemaResource{name: name, number: number, kind: definition.GetType(), journal: l.journal}
		l.Service.schemas[name], l.schemas[number] = r, r
	}
	r.ordinal = max(r.ordinal, ordinal)
	r.revisions = append(r.revisions, &revision{ordinal: ordinal, schema: definition, compiled: compiled})
	return nil
}

// schemaOf is the schema that a topic or a message was given, perhaps one that is deleted; nil for the number 0.
func (l *loader) schemaOf(number uint64, name string) *schemaResource {
	if number == 0 {
		return nil
	}
	r := l.schemas[number]
	if r == nil {
		r = &schemaResource{name: name, number: number}
		r.gone.Store(true)
		l.schemas[number] = r
	}
	return r
}

func (l *loader) topic(_, value []byte) error {
	config := &pubsubpb.Topic{}
	var number, schema uint64
	var accepted schemaRange
	if err := decode(value, config, &number, &schema, &accepted.first, &accepted.last); err != nil {
		return err
	}
	if accepted.schema = l.schemaOf(schema, config.GetSchemaSettings().GetSchema()); accepted.schema != nil {
		accepted.schema.ordinal = max(accepted.schema.ordinal, accepted.first, accepted.last) // their revisions may be deleted
	}
	t := newTopic(l.Service, number, config, accepted)
	l.Service.topics[t.name], l.topics[number] = t, t
	l.warnIngestion(config)
	return nil
}

func (l *loader) activity(key, value []byte) error {
	if len(key) != 8 || len(value) != 8 {
		return errUnreadable
	}
	l.active[binary.BigEndian.Uint64(key)] = time.Unix(0, int64(binary.BigEndian.Uint64(value))) //nolint:gosec // only the bits count
	return nil
}

func (l *loader) subscription(_, value []byte) error {
	config := &pubsubpb.Subscription{}
	var number, source uint64
	if err := decode(value, config, &number, &source); err != nil {
		return err
	}
	f, err := parseFilter(config.GetFilter())
	if err != nil {
		return err
	}
	sub := newSubscription(l.Service, l.topics[source], config, f)
	sub.number, sub.source, sub.backlog.number = number, source, number
	if at, known := l.active[number]; known {
		sub.activity.kept = at
		if sub.activity.last = at.Add(activityStep); sub.activity.last.After(l.now) {
			sub.activity.last = l.now
		}
		delete(l.active, number)
	}
	l.subscriptions[sub.name] = sub
	if config.GetDetached() {
		sub.end(errDetached(sub.name))
		return nil
	}
	sub.watchActivity()
	l.listeners[source] = append(l.listeners[source], sub)
	if sub.topic != nil {
		sub.topic.subscriptions = append(sub.topic.subscriptions, sub)
	}
	return nil
}

func (l *loader) snapshot(_, value []byte) error {
	snap := &snapshot{config: &pubsubpb.Snapshot{}}
	var ordered, n uint64
	rest, err := decodeNumbers(value, &snap.source, &snap.seq, &ordered, &n)
	if err != nil {
		return err
	}
	var numbers []uint64
	last := uint64(0)
	for range n {
		var step uint64
		if rest, err = decodeNumbers(rest, &step); err != nil {
			return err
		}
		last += step
		numbers = append(numbers, last)
	}
	if err := proto.Unmarshal(rest, snap.config); err != nil {
		return err
	}
	snap.name, snap.ordered = snap.config.GetName(), ordered == 1
	if !snap.config.GetExpireTime().AsTime().After(l.now) {
		l.drop(func() { l.journal.deleteSnapshot(snap.name) })
		return nil
	}
	l.snapshots[snap.name] = snap
	if snap.topic = l.topics[snap.source]; snap.topic != nil {
		snap.topic.snapshots = append(snap.topic.snapshots, snap)
	}
	l.awaiting[snap.source] = append(l.awaiting[snap.source], &awaiting{snap, numbers})
	l.expireSnapshot(snap)
	return nil
}

func (l *loader) policy(key, value []byte) error {
	resource, policy := string(key), &iampb.Policy{}
	if err := proto.Unmarshal(value, policy); err != nil {
		return err
	}
	if l.checkExists(resource) != nil { // the crash came between
		l.drop(func() { l.journal.deletePolicy(resource) })
		return nil //nolint:nilerr // it says so
	}
	l.policies.Restore(resource, policy)
	return nil
}

// decode is the inverse of [journal.put].
func decode(value []byte, m proto.Message, head ...*uint64) error {
	rest, err := decodeNumbers(value, head...)
	if err != nil {
		return err
	}
	return proto.Unmarshal(rest, m)
}

func decodeNumbers(value []byte, numbers ...*uint64) (rest []byte, err error) {
	for _, n := range numbers {
		v, size := binary.Uvarint(value)
		if size <= 0 {
			return nil, errUnreadable
		}
		*n, value = v, value[size:]
	}
	return value, nil
}

// has reports whether the snapshot has the message, and waits for the next one.
func (a *awaiting) has(number uint64) bool {
	at, found := slices.BinarySearch(a.numbers, number)
	if found {
		at++
	}
	a.numbers = a.numbers[at:]
	return found
}
