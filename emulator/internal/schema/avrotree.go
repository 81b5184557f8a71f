package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

type avroKind uint8

const (
	avroNull avroKind = iota
	avroBoolean
	avroInt
	avroLong
	avroFloat
	avroDouble
	avroBytes
	avroString
	avroRecord
	avroEnum
	avroArray
	avroMap
	avroUnion
	avroFixed
)

// primitives are indexed by avroKind.
func primitive(name string) (avroKind, bool) {
	for i, p := range [...]string{"null", "boolean", "int", "long", "float", "double", "bytes", "string"} {
		if p == name {
			return avroKind(i), true
		}
	}
	return 0, false
}

// avroNode is one type of a definition. Named types that refer to themselves make it a graph.
type avroNode struct {
	kind     avroKind
	name     string // full name of a record, enum or fixed; the primitive's own
	aliases  []string
	fields   []avroField // of a record
	symbols  []string    // of an enum
	fallback bool        // whether an enum has a default symbol
	size     int64       // of a fixed
	items    *avroNode   // of an array, and the values of a map
	branches []*avroNode // of a union

	least int64 // the fewest bytes that a value takes; never for a type without finite values
}

const never = math.MaxInt32

type avroField struct {
	name     string
	aliases  []string
	node     *avroNode
	fallback bool // whether it has a default
}

// avroParser follows the names of a definition.
type avroParser struct {
	named map[string]*avroNode
	all   []*avroNode
	// defaults are checked when all types are complete, since a field may be of the type around it.
	defaults []func() error
	steps    int // values of defaults that may still be looked at
}

func parseAvro(definition string) (*avroNode, error) {
	var v any
	if err := json.Unmarshal([]byte(definition), &v); err != nil {
		return nil, fmt.Errorf("the definition is not JSON: %w", err)
	}
	p := &avroParser{named: make(map[string]*avroNode), steps: maxSteps}
	root, err := p.parse(v, "")
	if err != nil {
		return nil, err
	}
	for _, check := range p.defaults {
		if err := check(); err != nil {
			return nil, err
		}
	}
	p.measure()
	if root.least >= never {
		return nil, fmt.Errorf("%s contains itself always, or is too large: no message can be of this type", root.name)
	}
	return root, nil
}

func (p *avroParser) add(n *avroNode) *avroNode {
	p.all = append(p.all, n)
	return n
}

func (p *avroParser) parse(v any, namespace string) (*avroNode, error) {
	switch v := v.(type) {
	case string:
		return p.resolve(v, namespace)
	case []any:
		return p.union(v, namespace)
	case map[string]any:
		switch kind := v["type"].(type) {
		case string:
			return p.object(kind, v, namespace)
		case nil:
			return nil, errors.New("a type is missing its \"type\"")
		default:
			return p.parse(kind, namespace)
		}
	}
	return nil, fmt.Errorf("a type must be a string, an object or an array, not %v", v)
}

func (p *avroParser) resolve(name, namespace string) (*avroNode, error) {
	if kind, ok := primitive(name); ok {
		return p.add(&avroNode{kind: kind, name: name}), nil
	}
	if n := p.named[name]; n != nil {
		return n, nil
	}
	if n := p.named[namespace+"."+name]; n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("the type %q is not known: it must be primitive or defined before", name)
}

func (p *avroParser) union(v []any, namespace string) (*avroNode, error) {
	n := p.add(&avroNode{kind: avroUnion, name: "union"})
	for _, branch := range v {
		b, err := p.parse(branch, namespace)
		if err != nil {
			return nil, err
		}
		if b.kind == avroUnion {
			return nil, errors.New("a union may not contain a union")
		}
		n.branches = append(n.branches, b)
	}
	return n, nil
}

func (p *avroParser) object(kind string, v map[string]any, namespace string) (n *avroNode, err error) {
	switch kind {
	case "record", "enum", "fixed":
		return p.define(kind, v, namespace)
	case "array":
		n = p.add(&avroNode{kind: avroArray, name: kind})
		n.items, err = p.parse(v["items"], namespace)
		return n, err
	case "map":
		n = p.add(&avroNode{kind: avroMap, name: kind})
		n.items, err = p.parse(v["values"], namespace)
		return n, err
	}
	return p.resolve(kind, namespace)
}

// define reads a named type. Its name is known before its fields are read, so that they may refer to it.
func (p *avroParser) define(kind string, v map[string]any, namespace string) (*avroNode, error) {
	name, _ := v["name"].(string)
	if name == "" {
		return nil, fmt.Errorf("a type %s has no name", kind)
	}
	if !strings.Contains(name, ".") {
		if own, _ := v["namespace"].(string); own != "" {
			namespace = own
		}
		if namespace != "" {
			name = namespace + "." + name
		}
	}
	namespace = ""
	if dot := strings.LastIndexByte(name, '.'); dot >= 0 {
		namespace = name[:dot]
	}
	if p.named[name] != nil {
		return nil, fmt.Errorf("the type %q is defined twice", name)
	}
	n := p.add(&avroNode{name: name, aliases: texts(v["aliases"])})
	p.named[name] = n
	switch kind {
	case "record":
		n.kind = avroRecord
		return n, p.fieldsOf(n, v, namespace)
	case "enum":
		n.kind = avroEnum
		n.symbols = texts(v["symbols"])
		_, n.fallback = v["default"]
	case "fixed":
		n.kind = avroFixed
		size, ok := v["size"].(float64)
		if !ok || size < 0 || size != math.Trunc(size) || size >= never {
			return nil, fmt.Errorf("the type %q has no size that is a count of bytes", name)
		}
		n.size = int64(size)
	}
	return n, nil
}

func (p *avroParser) fieldsOf(n *avroNode, v map[string]any, namespace string) error {
	fields, ok := v["fields"].([]any)
	if !ok {
		return fmt.Errorf("the record %q has no fields", n.name)
	}
	seen := make(map[string]bool, len(fields))
	for _, f := range fields {
		object, _ := f.(map[string]any)
		name, _ := object["name"].(string)
		if name == "" || seen[name] {
			return fmt.Errorf("a field of the record %q has no name, or one that another field has", n.name)
		}
		seen[name] = true
		node, err := p.parse(object["type"], namespace)
		if err != nil {
			return fmt.Errorf("the field %q of %q: %w", name, n.name, err)
		}
		field := avroField{name: name, aliases: texts(object["aliases"]), node: node}
		if value, ok := object["default"]; ok {
			field.fallback = true
			p.defaults = append(p.defaults, func() error {
				if !p.allows(node, value) {
					return fmt.Errorf("the default of the field %q of %q is not of the field's type", name, n.name)
				}
				return nil
			})
		}
		n.fields = append(n.fields, field)
	}
	return nil
}

// allows reports whether v, read from JSON, may be a default of the type n. Unions within unions
// could be asked for ever, so it gives up after a while.
func (p *avroParser) allows(n *avroNode, v any) bool {
	if p.steps--; p.steps < 0 {
		return false
	}
	switch n.kind {
	case avroNull:
		return v == nil
	case avroBoolean:
		_, ok := v.(bool)
		return ok
	case avroInt, avroLong:
		f, ok := v.(float64)
		return ok && f == math.Trunc(f)
	case avroFloat, avroDouble:
		_, ok := v.(float64)
		return ok
	case avroBytes, avroString, avroFixed:
		_, ok := v.(string)
		return ok
	case avroEnum:
		s, ok := v.(string)
		return ok && slices.Contains(n.symbols, s)
	case avroArray:
		list, ok := v.([]any)
		return ok && !slices.ContainsFunc(list, func(item any) bool { return !p.allows(n.items, item) })
	case avroMap:
		object, ok := v.(map[string]any)
		for _, value := range object {
			ok = ok && p.allows(n.items, value)
		}
		return ok
	case avroRecord:
		object, ok := v.(map[string]any)
		for _, f := range n.fields {
			value, given := object[f.name]
			ok = ok && (given && p.allows(f.node, value) || !given && f.fallback)
		}
		return ok
	case avroUnion: // the specification has the first branch, and since 1.12 any
		return slices.ContainsFunc(n.branches, func(b *avroNode) bool { return p.allows(b, v) })
	}
	return false
}

// measure finds the fewest bytes of every type: the least fixed point, from below "never".
func (p *avroParser) measure() {
	for _, n := range p.all {
		n.least = never
	}
	for changed := true; changed; {
		changed = false
		slices.Reverse(p.all) // what a type contains may come before or after it
		for _, n := range p.all {
			if least := n.measure(); least < n.least {
				n.least, changed = least, true
			}
		}
	}
}

func (n *avroNode) measure() int64 {
	switch n.kind {
	case avroNull:
		return 0
	case avroFloat:
		return 4
	case avroDouble:
		return 8
	case avroFixed:
		return n.size
	case avroRecord:
		var sum int64
		for _, f := range n.fields {
			sum = min(sum+f.node.least, never)
		}
		return sum
	case avroUnion:
		least := int64(never)
		for _, b := range n.branches {
			least = min(least, b.least+1)
		}
		return least
	case avroBoolean, avroInt, avroLong, avroBytes, avroString, avroEnum, avroArray, avroMap:
	}
	return 1
}

// essentials is the definition with nothing but what an encoding depends on, as JSON: each named
// type in full where it comes first, by its name later.
func (n *avroNode) essentials(defined map[*avroNode]bool) any {
	if defined[n] {
		return n.name
	}
	switch n.kind {
	case avroRecord:
		defined[n] = true
		fields := make([]any, len(n.fields))
		for i, f := range n.fields {
			fields[i] = map[string]any{"name": f.name, "type": f.node.essentials(defined)}
		}
		return map[string]any{"type": "record", "name": n.name, "fields": fields}
	case avroEnum:
		defined[n] = true
		return map[string]any{"type": "enum", "name": n.name, "symbols": n.symbols}
	case avroFixed:
		defined[n] = true
		return map[string]any{"type": "fixed", "name": n.name, "size": n.size}
	case avroArray:
		return map[string]any{"type": "array", "items": n.items.essentials(defined)}
	case avroMap:
		return map[string]any{"type": "map", "values": n.items.essentials(defined)}
	case avroUnion:
		branches := make([]any, len(n.branches))
		for i, b := range n.branches {
			branches[i] = b.essentials(defined)
		}
		return branches
	case avroNull, avroBoolean, avroInt, avroLong, avroFloat, avroDouble, avroBytes, avroString:
	}
	return n.name
}

func texts(v any) []string {
	list, _ := v.([]any)
	out := make([]string, 0, len(list))
	for _, item := range list {
		s, _ := item.(string)
		out = append(out, s)
	}
	return out
}
