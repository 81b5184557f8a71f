package dead

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/internal/wire"
)

// Letter is a dead letter: a message that its receiver gave up, and why.
type Letter struct {
	ID    string        // the message's, as in its receipt
	Route string        // the task or subscription that it came by, by its present name
	Alias string        // the older name that it came by, if it did
	Kind  dispatch.Kind // task or subscription
	Event string        // of a subscription: its event

	Cause    string // the last error; at most 1024 bytes of it
	Attempts int    // 0 where Pub/Sub did not count
	Replays  int    // how often it was sent again before this death

	SentAt      time.Time // by the sender's clock; zero if it does not say
	LastAttempt time.Time // when the last attempt arrived; zero if Pub/Sub gave it up
	Died        time.Time // when it came to the dead letters

	Source      string            // the sender as the message says it, /APP/SERVICE
	Caller      string            // of a task: the account that sent it
	OrderingKey string            // of an event
	Headers     map[string]string // what came beside the body: CloudEvents attributes, content type, trace, what middleware added
	Body        []byte

	ByPlatform bool // Pub/Sub gave it up, and no receiver: it has no cause
	Copies     int  // how often it is there; all copies go with one replay

	url string // of a task: where it was received
}

// read makes a letter of a message from a dead-letter subscription, in Waybill's form or in Pub/Sub's own.
func read(r *route, m *pubsubpb.PubsubMessage) Letter {
	a := m.GetAttributes()
	l := Letter{
		ID: cmp.Or(a[wire.ID], m.GetMessageId()), Route: r.name, Kind: r.kind, Event: r.event,
		SentAt: parseTime(a[wire.Time]), Died: m.GetPublishTime().AsTime(), Source: a[wire.Source],
		Headers: headers(a), Body: m.GetData(), Replays: count(a[wire.Replay]), Copies: 1,
	}
	switch {
	case a[wire.DeadRoute] != "":
		l.ours(r, a)
	case a[wire.PlatformSubscription] != "":
		l.ByPlatform, l.Attempts, l.OrderingKey = true, count(a[wire.PlatformCount]), m.GetOrderingKey()
		l.Cause = fmt.Sprintf("Pub/Sub gave it up after %d deliveries, and no receiver said why: see the logs of service %q, if it could be reached", l.Attempts, r.to)
		if l.SentAt.IsZero() {
			l.SentAt = parseTime(a[wire.PlatformPublished])
		}
	default:
		l.OrderingKey = m.GetOrderingKey()
		l.Cause = "somebody published it to the dead letters, and does not say why"
	}
	return l
}

// ours reads what Waybill's receivers say.
func (l *Letter) ours(r *route, a map[string]string) {
	if name := a[wire.DeadRoute]; name != r.name {
		l.Alias = name
	}
	l.Cause, l.Attempts, l.OrderingKey = a[wire.DeadCause], count(a[wire.DeadAttempts]), a[wire.DeadKey]
	l.LastAttempt = parseTime(a[wire.DeadReceived])
	if died := parseTime(a[wire.DeadTime]); !died.IsZero() {
		l.Died = died
	}
	if l.SentAt.IsZero() {
		l.SentAt = parseTime(a[wire.DeadPublished])
	}
	if r.kind == dispatch.KindTask {
		l.Caller, l.url = a[wire.DeadCaller], a[wire.DeadURL]
	}
}

// headers are the message's own: without what its death and its replays have added.
func headers(attributes map[string]string) map[string]string {
	own := maps.Clone(attributes)
	maps.DeleteFunc(own, func(name, _ string) bool {
		return strings.HasPrefix(name, wire.Dead) || strings.HasPrefix(name, wire.Platform) || strings.HasPrefix(strings.ToLower(name), "goog") ||
			name == wire.Replay || name == wire.ReplayTo
	})
	return own
}

// moreTelling orders the copies of one letter: the last says most.
func moreTelling(a, b Letter) int {
	platform := map[bool]int{true: 0, false: 1}
	return cmp.Or(cmp.Compare(a.Replays, b.Replays), cmp.Compare(platform[a.ByPlatform], platform[b.ByPlatform]), a.Died.Compare(b.Died))
}

// byDeath is the order of a listing.
func byDeath(a, b Letter) int {
	return cmp.Or(a.Died.Compare(b.Died), cmp.Compare(a.Route, b.Route), cmp.Compare(a.ID, b.ID))
}

// merge makes one letter of the copies of each, in the order of their deaths. All of them are of one route.
func merge(copies []*leased) []*found {
	byID := map[string]*found{}
	for _, l := range copies {
		f := byID[l.letter.ID]
		if f == nil {
			f = &found{}
			byID[l.letter.ID] = f
		}
		f.copies = append(f.copies, l)
	}
	all := slices.Collect(maps.Values(byID))
	for _, f := range all {
		f.letter = slices.MaxFunc(f.copies, func(a, b *leased) int { return moreTelling(a.letter, b.letter) }).letter
		f.letter.Copies = len(f.copies)
	}
	slices.SortFunc(all, func(a, b *found) int { return byDeath(a.letter, b.letter) })
	return all
}

// found is a letter with its copies.
type found struct {
	letter Letter
	copies []*leased
}

// count reads a number of attempts; what is none counts as 0.
func count(s string) int {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0
	}
	return int(n)
}

func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}
