package cloudtasks

import (
	"strings"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// applyMask copies the mask's fields from src to dst; an empty mask means all. What only the
// service sets is passed over.
func applyMask(dst, src *cloudtaskspb.Queue, mask *fieldmaskpb.FieldMask) error {
	for _, path := range maskPaths(mask) {
		steps := strings.Split(path, ".")
		if !known(dst.ProtoReflect().Descriptor(), steps) {
			return invalid("update_mask", "updateMask has the unknown field %q.", path)
		}
		switch {
		case steps[0] == "name", steps[0] == "state", steps[0] == "purge_time",
			path == "rate_limits.max_burst_size", path == "app_engine_routing_override.host":
		default:
			copyField(dst.ProtoReflect(), src.ProtoReflect(), steps)
		}
	}
	return nil
}

// maskPaths are the mask's paths in snake_case.
func maskPaths(mask *fieldmaskpb.FieldMask) []string {
	sent := mask.GetPaths()
	if len(sent) == 0 || len(sent) == 1 && sent[0] == "*" {
		return []string{"app_engine_routing_override", "http_target", "rate_limits", "retry_config", "stackdriver_logging_config"}
	}
	paths := make([]string, len(sent))
	for i, path := range sent {
		paths[i] = snakeCase(path)
	}
	return paths
}

// known tells whether a path leads to a field.
func known(message protoreflect.MessageDescriptor, path []string) bool {
	for i, step := range path {
		field := message.Fields().ByName(protoreflect.Name(step))
		if field == nil {
			return false
		}
		if i == len(path)-1 {
			return true
		}
		if message = field.Message(); message == nil || field.IsList() || field.IsMap() {
			return false
		}
	}
	return false
}

// copyField copies what the path leads to, or clears it where src does not have it. It makes no message in dst only to
// clear a field of it, which in a oneof would take away another.
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

// snakeCase makes rate_limits of rateLimits: JSON clients send either.
func snakeCase(path string) string {
	var b strings.Builder
	for _, r := range path {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}
