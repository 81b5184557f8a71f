package differential

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// generator makes the operations of one sequence. It knows few names, so that they meet: what is created twice, is missing,
// or was deleted comes by itself.
type generator struct {
	*rand.Rand
	project   string // "projects/P", the sequence's own
	published int
}

// process tells one process's projects from those of others on the same emulator.
var process = fmt.Sprintf("p%x", time.Now().UnixNano()&0xffffff)

func newGenerator(seed uint64) *generator {
	return &generator{Rand: rand.New(rand.NewPCG(seed, 4)), project: fmt.Sprintf("projects/%s-sequence-%d", process, seed)}
}

// choice is one of several things that the generator does, as often as its weight says.
type choice struct {
	weight int
	make   func() operation
}

func (g *generator) choose(choices ...choice) operation {
	total := 0
	for _, c := range choices {
		total += c.weight
	}
	at := g.IntN(total)
	for _, c := range choices {
		if at -= c.weight; at < 0 {
			return c.make()
		}
	}
	panic("unreachable")
}

// first creates what most operations need.
func (g *generator) first() []operation {
	return []operation{{request: g.newTopic(g.name("topics", 0))}, {request: g.newSubscription(g.name("subscriptions", 0))}}
}

// deliveries tell what a subscription has delivered so far: all of it, or what is not acknowledged.
type deliveries func(subscription string, acknowledged bool) []string

// next makes the next operation.
func (g *generator) next(delivered deliveries) operation {
	return g.choose(
		choice{12, g.topicOperation},
		choice{16, g.subscriptionOperation},
		choice{26, g.publish},
		choice{24, g.pull},
		choice{30, func() operation { return g.settle(delivered) }},
		choice{8, g.seek},
		choice{8, g.snapshotOperation},
		choice{9, g.schemaOperation},
	)
}

// last looks at all that is left.
func (g *generator) last() []operation {
	return append(g.lists(), g.drain()...)
}

// rarely is true one time in n.
func (g *generator) rarely(n int) bool { return g.IntN(n) == 0 }

func pick[T any](g *generator, from ...T) T { return from[g.IntN(len(from))] }

// name is one of the few names of a collection, such as "topics".
func (g *generator) name(collection string, i int) string {
	return fmt.Sprintf("%s/%s/%s-%d", g.project, collection, strings.TrimSuffix(collection, "s"), i)
}

func (g *generator) topic() string        { return g.anyName("topics") }
func (g *generator) subscription() string { return g.anyName("subscriptions") }
func (g *generator) snapshot() string     { return g.anyName("snapshots") }

// anyName is mostly the first name, sometimes the second, and rarely no good.
func (g *generator) anyName(collection string) string {
	if g.rarely(60) {
		return pick(g, "", "x", g.project, g.project+"/"+collection+"/", g.project+"/"+collection+"/ab", g.project+"/"+collection+"/goog-a",
			g.project+"/"+collection+"/1ab", g.project+"/"+collection+"/a b", g.project+"/"+collection+"/"+strings.Repeat("a", 256), g.project+"/others/abc")
	}
	return g.name(collection, pick(g, 0, 0, 0, 0, 1))
}

func (g *generator) labels() map[string]string {
	return pick(g, nil, nil, nil, map[string]string{"a": "b"}, map[string]string{"a": "", "c": "d"})
}

// duration is one of a setting's interesting values: unset, within its limits, at them, and outside.
func (g *generator) duration(values ...time.Duration) *durationpb.Duration {
	if g.rarely(2) {
		return nil
	}
	return durationpb.New(pick(g, values...))
}

func (g *generator) mask(paths ...string) *fieldmaskpb.FieldMask {
	switch g.IntN(12) {
	case 0:
		return pick(g, nil, &fieldmaskpb.FieldMask{})
	case 1:
		return &fieldmaskpb.FieldMask{Paths: []string{pick(g, "name", "no_such_field", "topic", "filter", "")}}
	case 2:
		return &fieldmaskpb.FieldMask{Paths: []string{pick(g, paths...), pick(g, paths...)}}
	}
	return &fieldmaskpb.FieldMask{Paths: []string{pick(g, paths...)}}
}

// list asks for a small page, mostly followed by all others, or for one that there is not.
func (g *generator) list(request proto.Message) operation {
	m := request.ProtoReflect()
	size := pick[int32](g, 0, 1, 2, 1000)
	token := ""
	if g.rarely(12) {
		size = pick[int32](g, -1, 1001)
	}
	if g.rarely(25) {
		token = "nonsense"
	}
	m.Set(m.Descriptor().Fields().ByName("page_size"), protoInt(size))
	setPage(request, token)
	return operation{request: request, pages: true}
}
