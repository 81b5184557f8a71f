package cloudtasks

import (
	"strings"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"waybill.dev/emulator/internal/fieldmask"
)

// applyMask copies the mask's fields from src to dst; an empty mask means all. What only the
// service sets is passed over.
func applyMask(dst, src *cloudtaskspb.Queue, mask *fieldmaskpb.FieldMask) error {
	for _, path := range maskPaths(mask) {
		if !fieldmask.Known(dst, path) {
			return invalid("update_mask", "updateMask has the unknown field %q.", path)
		}
		top, _, _ := strings.Cut(path, ".")
		switch {
		case top == "name", top == "state", top == "purge_time",
			path == "rate_limits.max_burst_size", path == "app_engine_routing_override.host":
		default:
			fieldmask.Copy(dst, src, path)
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
