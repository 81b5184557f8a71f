package cloudtasks

import (
	"strings"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// What a queue gets where nothing is said.
const (
	defaultRate        = 500
	defaultConcurrency = 1000
	defaultAttempts    = 100
	defaultMinBackoff  = 100 * time.Millisecond
	defaultMaxBackoff  = time.Hour
	defaultDoublings   = 16

	maxRate        = 500
	maxConcurrency = 5000
)

// complete checks a queue as a client sent it and returns a copy with every field filled in.
// Output-only fields are the caller's to set.
func complete(sent *cloudtaskspb.Queue) (*cloudtaskspb.Queue, error) {
	q := proto.CloneOf(sent)
	if q.GetHttpTarget() != nil {
		return nil, missing("queue-level HTTP targets", "set the target on each task")
	}
	if q.RateLimits == nil {
		q.RateLimits = &cloudtaskspb.RateLimits{}
	}
	if err := completeRates(q.RateLimits); err != nil {
		return nil, err
	}
	if q.RetryConfig == nil {
		q.RetryConfig = &cloudtaskspb.RetryConfig{}
	}
	return q, completeRetry("Queue.retryConfig", q.RetryConfig)
}

func completeRates(r *cloudtaskspb.RateLimits) error {
	switch rate := r.GetMaxDispatchesPerSecond(); {
	case rate == 0:
		r.MaxDispatchesPerSecond = defaultRate
	case !(rate > 0 && rate <= maxRate): // NaN as well
		return invalid("Queue.rateLimits.maxDispatchesPerSecond must be above 0 and no more than %d.", maxRate)
	}
	switch limit := r.GetMaxConcurrentDispatches(); {
	case limit == 0:
		r.MaxConcurrentDispatches = defaultConcurrency
	case limit < 0 || limit > maxConcurrency:
		return invalid("Queue.rateLimits.maxConcurrentDispatches must be between 1 and %d.", maxConcurrency)
	}
	r.MaxBurstSize = int32(burstOf(r.GetMaxDispatchesPerSecond()))
	return nil
}

// completeRetry leaves max_doublings alone, since zero is a value that a mask can ask for; see withDefaultDoublings.
func completeRetry(field string, r *cloudtaskspb.RetryConfig) error {
	switch attempts := r.GetMaxAttempts(); {
	case attempts == 0:
		r.MaxAttempts = defaultAttempts
	case attempts < -1:
		return invalid("%s.maxAttempts must be -1 (no limit) or more.", field)
	}
	if r.GetMaxDoublings() < 0 {
		return invalid("%s.maxDoublings must not be negative.", field)
	}
	for name, d := range map[string]*durationpb.Duration{
		"minBackoff":       r.GetMinBackoff(),
		"maxBackoff":       r.GetMaxBackoff(),
		"maxRetryDuration": r.GetMaxRetryDuration(),
	} {
		if d != nil && (d.CheckValid() != nil || d.AsDuration() < 0) {
			return invalid("%s.%s must be a duration of zero or more.", field, name)
		}
	}
	if r.MaxRetryDuration == nil {
		r.MaxRetryDuration = durationpb.New(0)
	}
	if r.MaxBackoff == nil {
		r.MaxBackoff = durationpb.New(max(defaultMaxBackoff, r.GetMinBackoff().AsDuration()))
	}
	if r.MinBackoff == nil {
		r.MinBackoff = durationpb.New(min(defaultMinBackoff, r.GetMaxBackoff().AsDuration()))
	}
	if r.GetMinBackoff().AsDuration() > r.GetMaxBackoff().AsDuration() {
		return invalid("%s.minBackoff must not be above maxBackoff.", field)
	}
	return nil
}

// withDefaultDoublings is for a retry configuration that came as a whole.
func withDefaultDoublings(r *cloudtaskspb.RetryConfig) {
	if r.GetMaxDoublings() == 0 {
		r.MaxDoublings = defaultDoublings
	}
}

// applyMask copies the mask's fields from src to dst; an empty mask means all. What only the
// service sets is passed over.
func applyMask(dst, src *cloudtaskspb.Queue, mask *fieldmaskpb.FieldMask) error {
	for _, path := range maskPaths(mask) {
		switch path {
		case "name", "state", "purge_time", "rate_limits.max_burst_size":
			continue
		}
		if !copyField(dst.ProtoReflect(), src.ProtoReflect(), strings.Split(path, ".")) {
			return invalid("updateMask has the unknown field %q.", path)
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

func copyField(dst, src protoreflect.Message, path []string) bool {
	field := dst.Descriptor().Fields().ByName(protoreflect.Name(path[0]))
	switch {
	case field == nil:
		return false
	case len(path) > 1:
		if field.Message() == nil || field.IsList() || field.IsMap() {
			return false
		}
		return copyField(dst.Mutable(field).Message(), src.Get(field).Message(), path[1:])
	case src.Has(field):
		dst.Set(field, src.Get(field))
	default:
		dst.Clear(field)
	}
	return true
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
