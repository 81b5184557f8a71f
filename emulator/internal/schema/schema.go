package schema

import (
	"context"
	"errors"
	"fmt"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
)

// Bounds on definitions and messages.
const (
	// MaxDefinitionBytes is the service's limit on a definition.
	MaxDefinitionBytes = 300 << 10

	maxDefinitionDepth = 64        // brackets within brackets
	maxMessageDepth    = 200       // values within values
	maxSteps           = 1_000_000 // values visited in a binary Avro message, beside one for each of its bytes
)

// ErrTooLarge is a definition above MaxDefinitionBytes.
var ErrTooLarge = errors.New("the definition is too large")

// Compiled is a definition that messages can be checked against.
type Compiled struct {
	kind pubsubpb.Schema_Type
	impl interface {
		validate(data []byte, encoding pubsubpb.Encoding) error
	}
}

// Compile reads the definition, or the compiled_proto_schema, of a schema. Its name and revision
// do not matter. The error says what is wrong with it, or that ctx is done.
func Compile(ctx context.Context, s *pubsubpb.Schema) (c *Compiled, err error) {
	defer func() { // the libraries are not ours, and neither is the definition
		if p := recover(); p != nil {
			c, err = nil, fmt.Errorf("the definition cannot be read: %v", p)
		}
	}()
	definition := s.GetDefinition()
	if n := max(len(definition), len(s.GetCompiledProtoSchema().GetCompiledBytes())); n > MaxDefinitionBytes {
		return nil, fmt.Errorf("%w: it has %d bytes, but at most %d are allowed", ErrTooLarge, n, MaxDefinitionBytes)
	}
	c = &Compiled{kind: s.GetType()}
	switch {
	case s.GetCompiledProtoSchema() != nil && (definition != "" || s.GetType() != pubsubpb.Schema_PROTOCOL_BUFFER):
		return nil, errors.New("compiled_proto_schema excludes a definition and needs the type PROTOCOL_BUFFER")
	case s.GetCompiledProtoSchema() != nil:
		c.impl, err = loadProto(s.GetCompiledProtoSchema())
	case definition == "":
		return nil, errors.New("the definition is empty")
	case s.GetType() == pubsubpb.Schema_AVRO:
		c.impl, err = compileAvro(definition)
	case s.GetType() == pubsubpb.Schema_PROTOCOL_BUFFER:
		c.impl, err = compileProto(ctx, definition)
	default:
		return nil, errors.New("the type is neither AVRO nor PROTOCOL_BUFFER")
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Validate reports why data is not a message of this schema in the given encoding, which must be
// JSON or BINARY.
func (c *Compiled) Validate(data []byte, encoding pubsubpb.Encoding) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the message cannot be read: %v", p)
		}
	}()
	return c.impl.validate(data, encoding)
}

// Revise reports why next may not be committed as a revision of c.
func (c *Compiled) Revise(next *Compiled) error {
	switch before := c.impl.(type) {
	case *avro:
		if after, ok := next.impl.(*avro); ok {
			return before.revise(after)
		}
	case *protobuf:
		if after, ok := next.impl.(*protobuf); ok {
			return before.revise(after)
		}
	}
	return fmt.Errorf("the type of a schema cannot be changed from %v to %v", c.kind, next.kind)
}

// definitionDepth is how deep braces and brackets are nested. It does not know strings and comments
// (an apostrophe in a comment would hide everything behind it); few have many more that open than close.
func definitionDepth(text string) int {
	most, now := 0, 0
	for i := range len(text) {
		switch text[i] {
		case '{', '[':
			now++
			most = max(most, now)
		case '}', ']':
			now = max(now-1, 0)
		}
	}
	return most
}

// messageDepth is how deep the objects and arrays of JSON are nested.
func messageDepth(text []byte) int {
	most, now, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			now++
			most = max(most, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return most
}
