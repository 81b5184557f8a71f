package schema

import (
	"errors"
	"fmt"
	"strings"
)

// revise reports why next may not follow a: each must read what the other writes.
func (a *avro) revise(next *avro) error {
	if err := newResolution().reads(next.root, a.root, next.root.name); err != nil {
		return fmt.Errorf("the revision cannot read messages of the one before: %w", err)
	}
	if err := newResolution().reads(a.root, next.root, a.root.name); err != nil {
		return fmt.Errorf("the revision before cannot read messages of this one: %w", err)
	}
	return nil
}

// maxPairs bounds how many pairs of types are compared.
const maxPairs = 100_000

// resolution follows the schema resolution of the Avro specification. What has been answered, or
// is being answered further up, is not asked again: that ends recursion through recursive types.
type resolution struct {
	asked map[[2]*avroNode]error
}

func newResolution() *resolution { return &resolution{asked: make(map[[2]*avroNode]error)} }

// reads reports why a reader cannot read what a writer writes. The path says where.
func (r *resolution) reads(reader, writer *avroNode, path string) error {
	pair := [2]*avroNode{reader, writer}
	if err, ok := r.asked[pair]; ok {
		return err
	}
	if len(r.asked) > maxPairs {
		return errors.New("the definitions are too complex to be compared")
	}
	r.asked[pair] = nil
	err := r.resolve(reader, writer, path)
	r.asked[pair] = err
	return err
}

func (r *resolution) resolve(reader, writer *avroNode, path string) error {
	if writer.kind == avroUnion {
		for _, branch := range writer.branches {
			if err := r.reads(reader, branch, path); err != nil {
				return err
			}
		}
		return nil
	}
	if reader.kind == avroUnion {
		for _, branch := range reader.branches {
			if r.reads(branch, writer, path) == nil {
				return nil
			}
		}
		return fmt.Errorf("%s: no branch of the union takes %s", path, writer.name)
	}
	if reader.kind != writer.kind {
		if promotes(writer.kind, reader.kind) {
			return nil
		}
		return fmt.Errorf("%s: %s cannot be read as %s", path, writer.name, reader.name)
	}
	switch reader.kind {
	case avroArray, avroMap:
		return r.reads(reader.items, writer.items, path+"[]")
	case avroRecord:
		if !sameName(reader, writer) {
			return fmt.Errorf("%s: the record %s is not %s", path, writer.name, reader.name)
		}
		return r.record(reader, writer, path)
	case avroEnum:
		if !sameName(reader, writer) {
			return fmt.Errorf("%s: the enum %s is not %s", path, writer.name, reader.name)
		}
		if reader.fallback {
			return nil
		}
		known := make(map[string]bool, len(reader.symbols))
		for _, s := range reader.symbols {
			known[s] = true
		}
		for _, s := range writer.symbols {
			if !known[s] {
				return fmt.Errorf("%s: the symbol %s is missing in the enum %s", path, s, reader.name)
			}
		}
	case avroFixed:
		if !sameName(reader, writer) || reader.size != writer.size {
			return fmt.Errorf("%s: the fixed %s of %d bytes is not %s of %d bytes", path, writer.name, writer.size, reader.name, reader.size)
		}
	case avroNull, avroBoolean, avroInt, avroLong, avroFloat, avroDouble, avroBytes, avroString, avroUnion:
	}
	return nil
}

func (r *resolution) record(reader, writer *avroNode, path string) error {
	written := make(map[string]*avroNode, len(writer.fields))
	for _, f := range writer.fields {
		written[f.name] = f.node
	}
	for _, f := range reader.fields {
		node := written[f.name]
		for i := 0; node == nil && i < len(f.aliases); i++ {
			node = written[f.aliases[i]]
		}
		if node == nil {
			if !f.fallback {
				return fmt.Errorf("%s.%s: the field is missing and has no default", path, f.name)
			}
			continue
		}
		if err := r.reads(f.node, node, path+"."+f.name); err != nil {
			return err
		}
	}
	return nil
}

func promotes(from, to avroKind) bool {
	switch from {
	case avroInt:
		return to == avroLong || to == avroFloat || to == avroDouble
	case avroLong:
		return to == avroFloat || to == avroDouble
	case avroFloat:
		return to == avroDouble
	case avroString:
		return to == avroBytes
	case avroBytes:
		return to == avroString
	case avroNull, avroBoolean, avroDouble, avroRecord, avroEnum, avroArray, avroMap, avroUnion, avroFixed:
	}
	return false
}

// sameName compares unqualified names, as the specification does, and the reader's aliases.
func sameName(reader, writer *avroNode) bool {
	name := unqualified(writer.name)
	if unqualified(reader.name) == name {
		return true
	}
	for _, alias := range reader.aliases {
		if unqualified(alias) == name {
			return true
		}
	}
	return false
}

func unqualified(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }
