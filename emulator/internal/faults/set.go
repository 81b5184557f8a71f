package faults

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Set is a set of rules. The zero value is empty and ready. It must not be copied.
type Set struct {
	n atomic.Int32 // of rules, so that a request without any takes no lock

	mu     sync.Mutex
	lastID uint64
	active []*Active // oldest first
}

// Active is a [Rule] in a [Set]. It is safe for concurrent use.
type Active struct {
	set    *Set
	id     string
	rule   Rule
	random *rand.Rand // guarded by the set's lock, as is hits
	hits   int
}

// Add makes a rule act from the next request on.
func (s *Set) Add(r Rule) *Active {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.URLPrefix = normalized(r.URLPrefix)
	s.lastID++
	a := &Active{set: s, id: strconv.FormatUint(s.lastID, 10), rule: r, random: rand.New(rand.NewPCG(r.Seed, 0))}
	s.active = append(s.active, a)
	s.n.Store(int32(len(s.active)))
	return a
}

// List returns what is in force, oldest first.
func (s *Set) List() []*Active {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.active)
}

// Find returns the rule of an id that is in force, or nil.
func (s *Set) Find(id string) *Active {
	for _, a := range s.List() {
		if a.id == id {
			return a
		}
	}
	return nil
}

// Clear removes every rule.
func (s *Set) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = nil
	s.n.Store(0)
}

// ID tells it from the others of its set, for as long as that lives.
func (a *Active) ID() string { return a.id }

// Rule is what was added, with its prefix in the form that is compared.
func (a *Active) Rule() Rule { return a.rule }

// Hits is how many requests it has acted on.
func (a *Active) Hits() int {
	a.set.mu.Lock()
	defer a.set.mu.Unlock()
	return a.hits
}

// Remove ends it. Requests that it has begun to act on are not called back. It may be called twice.
func (a *Active) Remove() {
	a.set.mu.Lock()
	defer a.set.mu.Unlock()
	a.set.remove(a)
}

// remove has the lock.
func (s *Set) remove(a *Active) {
	s.active = slices.DeleteFunc(s.active, func(b *Active) bool { return a == b })
	s.n.Store(int32(len(s.active)))
}

// effect is what happens to one request.
type effect struct {
	*Rule
	latency time.Duration
}

// choose finds the rule that acts on the request, if one does.
func (s *Set) choose(req *http.Request) (effect, bool) {
	if s.n.Load() == 0 {
		return effect{}, false
	}
	source, _ := req.Context().Value(sourceKey{}).(string)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.active {
		if a.rule.applies(source, req) && a.strikes() {
			return a.act(), true
		}
	}
	return effect{}, false
}

func (a *Active) strikes() bool {
	p := a.rule.Probability
	return p == 0 || a.random.Float64() < p
}

func (a *Active) act() effect {
	e := effect{Rule: &a.rule, latency: a.rule.Latency}
	if span := a.rule.MaxLatency - a.rule.Latency; span > 0 {
		e.latency += time.Duration(a.random.Int64N(int64(span) + 1))
	}
	a.hits++
	if a.hits == a.rule.Times {
		a.set.remove(a)
	}
	return e
}
