// Package fieldmask updates messages by masks (AIP-134), for both services.
package fieldmask

import (
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// Known reports whether a path, in snake_case, leads to a field of the message.
func Known(m proto.Message, path string) bool {
	return (&fieldmaskpb.FieldMask{Paths: []string{path}}).IsValid(m)
}

// Copy copies what a known path leads to from src to dst, two messages of one type, or clears it where src does not have it. It
// makes no message in dst only to clear a field of it, which in a oneof would take away another. Dst may share memory with src
// afterwards.
func Copy(dst, src proto.Message, path string) {
	copyField(dst.ProtoReflect(), src.ProtoReflect(), strings.Split(path, "."))
}

func copyField(dst, src protoreflect.Message, path []string) {
	field := dst.Descriptor().Fields().ByName(protoreflect.Name(path[0]))
	switch {
	case !src.Has(field) && !dst.Has(field):
	case len(path) > 1:
		copyField(dst.Mutable(field).Message(), src.Get(field).Message(), path[1:])
	case src.Has(field):
		dst.Set(field, src.Get(field))
	default:
		dst.Clear(field)
	}
}
