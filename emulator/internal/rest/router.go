package rest

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// A router finds the route of an HTTP method and path. Templates become a tree of their
// segments once; a literal is preferred to "*", and "*" to "**", whatever their order.
type router struct {
	root  node
	verbs map[string]bool // only a known verb is split off: names may hold colons
}

type node struct {
	literals map[string]*node
	any      *node
	rest     *node
	routes   map[target]*route
}

type target struct{ verb, method string }

// anyMethod is the kind of a custom pattern that serves every HTTP method.
const anyMethod = "*"

func (r *router) add(t template, method string, rt *route) error {
	n := &r.root
	for _, segment := range t.segments {
		n = n.child(segment)
	}
	if n.routes == nil {
		n.routes = make(map[target]*route)
	}
	key := target{t.verb, method}
	if other, taken := n.routes[key]; taken {
		return fmt.Errorf("%s and %s both serve %s on the same path", other.fullMethod, rt.fullMethod, method)
	}
	n.routes[key] = rt
	if t.verb != "" {
		if r.verbs == nil {
			r.verbs = make(map[string]bool)
		}
		r.verbs[t.verb] = true
	}
	return nil
}

func (n *node) child(segment string) *node {
	switch segment {
	case anySegment:
		if n.any == nil {
			n.any = new(node)
		}
		return n.any
	case restSegments:
		if n.rest == nil {
			n.rest = new(node)
		}
		return n.rest
	}
	if n.literals == nil {
		n.literals = make(map[string]*node)
	}
	if n.literals[segment] == nil {
		n.literals[segment] = new(node)
	}
	return n.literals[segment]
}

// A match is a route and the path that it was found by.
type match struct {
	route    *route
	path     string // still escaped, without the verb
	segments []span
	allowed  []string // without a route: the methods that the path would take, sorted
}

type span struct{ from, to int } // of match.path

// find takes the escaped path, so that an escaped slash does not part two segments.
func (r *router) find(method, path string) match {
	var verb string
	if colon := strings.LastIndexByte(path, ':'); colon > strings.LastIndexByte(path, '/') && r.verbs[path[colon+1:]] {
		path, verb = path[:colon], path[colon+1:]
		path = strings.TrimSuffix(path, "/") // gcloud posts to "tasks/:buffer" for want of an id
	}
	m := match{path: path}
	if !strings.HasPrefix(path, "/") {
		return m
	}
	m.segments = make([]span, 0, 12)
	for from := 1; ; {
		to := len(path)
		if slash := strings.IndexByte(path[from:], '/'); slash >= 0 {
			to = from + slash
		}
		m.segments = append(m.segments, span{from, to})
		if to == len(path) {
			break
		}
		from = to + 1
	}
	m.search(&r.root, 0, target{verb, method})
	if m.route == nil {
		slices.Sort(m.allowed)
		m.allowed = slices.Compact(m.allowed)
	}
	return m
}

func (m *match) search(n *node, depth int, want target) {
	if depth == len(m.segments) {
		m.take(n, want)
		return
	}
	at := m.segments[depth]
	if at.from == at.to { // nothing matches an empty segment
		return
	}
	if next := n.literals[m.path[at.from:at.to]]; next != nil {
		m.search(next, depth+1, want)
	}
	if m.route == nil && n.any != nil {
		m.search(n.any, depth+1, want)
	}
	if m.route == nil && n.rest != nil {
		m.take(n.rest, want)
	}
}

func (m *match) take(n *node, want target) {
	if m.route = n.routes[want]; m.route != nil {
		return
	}
	if m.route = n.routes[target{want.verb, anyMethod}]; m.route != nil {
		return
	}
	for have := range n.routes {
		if have.verb == want.verb {
			m.allowed = append(m.allowed, have.method)
		}
	}
}

// value is the unescaped text of a variable. In one that spans several segments an escaped
// slash stays escaped, since it is not a separator (google/api/http.proto).
func (m *match) value(v variable) (string, error) {
	to := len(m.path)
	if v.to != toEnd {
		to = m.segments[v.to-1].to
	}
	text := m.path[m.segments[v.from].from:to]
	return unescape(text, !v.single)
}

// unescape guards escaped slashes by escaping them once more.
func unescape(text string, keepSlash bool) (string, error) {
	if keepSlash {
		text = strings.ReplaceAll(text, "%2F", "%252F")
		text = strings.ReplaceAll(text, "%2f", "%252f")
	}
	return url.PathUnescape(text)
}
