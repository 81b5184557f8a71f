package schema

import (
	"fmt"
	"io"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

func stringReader(s string) io.Reader { return strings.NewReader(s) }

// revise reports why next may not follow p: only optional fields may come and go, and what stays
// must stay as it is.
func (p *protobuf) revise(next *protobuf) error {
	return (&protoRevision{seen: make(map[protoreflect.FullName]bool)}).message(p.root, next.root)
}

type protoRevision struct {
	seen map[protoreflect.FullName]bool
}

func (r *protoRevision) message(before, after protoreflect.MessageDescriptor) error {
	if before.FullName() != after.FullName() {
		return fmt.Errorf("the message %s cannot become %s", before.FullName(), after.FullName())
	}
	if r.seen[before.FullName()] {
		return nil
	}
	r.seen[before.FullName()] = true
	for i := range before.Fields().Len() {
		field := before.Fields().Get(i)
		other := after.Fields().ByNumber(field.Number())
		if other == nil {
			if field.Cardinality() != protoreflect.Optional {
				return fmt.Errorf("the field %s is not optional and cannot be removed", field.FullName())
			}
			continue
		}
		if err := r.field(field, other); err != nil {
			return err
		}
	}
	for i := range after.Fields().Len() {
		field := after.Fields().Get(i)
		if before.Fields().ByNumber(field.Number()) == nil && field.Cardinality() != protoreflect.Optional {
			return fmt.Errorf("the field %s is not optional and cannot be added", field.FullName())
		}
	}
	return nil
}

func (r *protoRevision) field(before, after protoreflect.FieldDescriptor) error {
	if before.Name() != after.Name() || before.Kind() != after.Kind() || before.Cardinality() != after.Cardinality() || before.IsMap() != after.IsMap() {
		return fmt.Errorf("the field %s (%d) cannot be changed", before.FullName(), before.Number())
	}
	switch {
	case before.Message() != nil:
		return r.message(before.Message(), after.Message())
	case before.Enum() != nil:
		return r.enum(before.Enum(), after.Enum())
	}
	return nil
}

func (r *protoRevision) enum(before, after protoreflect.EnumDescriptor) error {
	if before.FullName() != after.FullName() {
		return fmt.Errorf("the enum %s cannot become %s", before.FullName(), after.FullName())
	}
	for i := range before.Values().Len() {
		value := before.Values().Get(i)
		if other := after.Values().ByName(value.Name()); other == nil || other.Number() != value.Number() {
			return fmt.Errorf("the value %s (%d) cannot be changed or removed", value.FullName(), value.Number())
		}
	}
	return nil
}
