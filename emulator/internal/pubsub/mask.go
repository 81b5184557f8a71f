package pubsub

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"waybill.dev/emulator/internal/fieldmask"
)

// checkMask accepts a mask that is not empty and whose paths all exist in the resource and lie
// in its mutable fields.
func checkMask(resource proto.Message, mask *fieldmaskpb.FieldMask, request, kind string, mutable ...string) error {
	if len(mask.GetPaths()) == 0 {
		return invalid("The update_mask in the %s must be set, and must contain a non-empty paths list.", request)
	}
	for _, path := range mask.GetPaths() {
		field, _, _ := strings.Cut(path, ".")
		if !fieldmask.Known(resource, path) {
			return invalid("Invalid update_mask provided in the %s: %s is not a known %s field. Note that field paths must be of the form %s.", request, path, kind, maskExample(kind))
		}
		if !slices.Contains(mutable, field) {
			return invalid("Invalid update_mask provided in the %s: the '%s' field in the %s is not mutable.", request, path, kind)
		}
	}
	return nil
}

// maskExample is the service's hint for who spells paths as JSON does.
func maskExample(kind string) string {
	switch kind {
	case "Subscription":
		return "'push_config' rather than 'pushConfig'"
	case "Topic":
		return "'schema_settings' rather than 'schemaSettings'"
	default:
		return "'expire_time' rather than 'expireTime'"
	}
}

// applyMask copies the masked fields of src to dst, two messages of one type. The mask has been checked.
func applyMask(dst, src proto.Message, mask *fieldmaskpb.FieldMask) {
	src = proto.Clone(src) // dst must not share memory with a request
	for _, path := range mask.GetPaths() {
		fieldmask.Copy(dst, src, path)
	}
}
