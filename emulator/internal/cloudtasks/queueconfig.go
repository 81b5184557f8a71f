package cloudtasks

import (
	"math"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
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
func (e *Engine) complete(sent *cloudtaskspb.Queue) (*cloudtaskspb.Queue, error) {
	q, err := complete(sent)
	if err != nil {
		return nil, err
	}
	if q.HttpTarget != nil {
		if err := e.completeHTTPTarget(q.HttpTarget, q.GetName()); err != nil {
			return nil, err
		}
		if proto.Equal(q.HttpTarget, &cloudtaskspb.HttpTarget{}) {
			q.HttpTarget = nil
		}
	}
	return q, nil
}

// complete does the part that is the same for every engine.
func complete(sent *cloudtaskspb.Queue) (*cloudtaskspb.Queue, error) {
	q := proto.CloneOf(sent)
	if q.RateLimits == nil {
		q.RateLimits = &cloudtaskspb.RateLimits{}
	}
	if err := completeRates(q.RateLimits); err != nil {
		return nil, err
	}
	if q.RetryConfig == nil {
		q.RetryConfig = &cloudtaskspb.RetryConfig{}
	}
	if err := completeRetry("queue.retry_config", q.RetryConfig); err != nil {
		return nil, err
	}
	if r := q.AppEngineRoutingOverride; r.GetService() == "" && r.GetVersion() == "" && r.GetInstance() == "" {
		q.AppEngineRoutingOverride = nil // as gcloud takes one away
	} else if err := completeRouting("queue.app_engine_routing_override", q.GetName(), r); err != nil {
		return nil, err
	}
	if ratio := q.GetStackdriverLoggingConfig().GetSamplingRatio(); !(ratio >= 0 && ratio <= 1) { // NaN as well
		return nil, invalid("queue.stackdriver_logging_config.sampling_ratio", "StackdriverLoggingConfig.samplingRatio must be between 0.0 and 1.0.")
	}
	return q, nil
}

func completeRates(r *cloudtaskspb.RateLimits) error {
	switch rate := r.GetMaxDispatchesPerSecond(); {
	case rate == 0:
		r.MaxDispatchesPerSecond = defaultRate
	case rate < 0:
		return refused("RateLimits.maxDispatchesPerSecond cannot be negative.")
	case rate > maxRate:
		return refused("RateLimits.maxDispatchesPerSecond must be less than or equal to %d.", maxRate)
	case math.IsNaN(rate):
		return invalid("queue.rate_limits.max_dispatches_per_second", "RateLimits.maxDispatchesPerSecond must be a number.")
	}
	switch limit := r.GetMaxConcurrentDispatches(); {
	case limit == 0:
		r.MaxConcurrentDispatches = defaultConcurrency
	case limit < 0:
		return refused("RateLimits.maxConcurrentDispatches cannot be negative.")
	case limit > maxConcurrency:
		return refused("RateLimits.maxConcurrentDispatches must be less than or equal to %d.", maxConcurrency)
	}
	r.MaxBurstSize = int32(burstOf(r.GetMaxDispatchesPerSecond()))
	return nil
}

// completeRetry leaves max_doublings alone, since zero is a value that a mask can ask for; see withDefaultDoublings.
// The proto says of all three durations that they are truncated to the second, yet the service's own default of
// min_backoff is 0.1 s: so the backoffs are kept as they are, and max_retry_duration alone is truncated.
func completeRetry(field string, r *cloudtaskspb.RetryConfig) error {
	switch attempts := r.GetMaxAttempts(); {
	case attempts == 0:
		r.MaxAttempts = defaultAttempts
	case attempts < -1:
		return refused("RetryConfig.maxAttempts must be greater or equal to -1.")
	}
	if r.GetMaxDoublings() < 0 {
		return refused("RetryConfig.maxDoublings cannot be negative.")
	}
	for _, d := range []struct {
		field, name string
		value       *durationpb.Duration
	}{
		{"min_backoff", "minBackoff", r.GetMinBackoff()},
		{"max_backoff", "maxBackoff", r.GetMaxBackoff()},
		{"max_retry_duration", "maxRetryDuration", r.GetMaxRetryDuration()},
	} {
		if d.value != nil && d.value.CheckValid() != nil {
			return invalid(field+"."+d.field, "RetryConfig.%s is not a duration.", d.name)
		}
		if d.value.AsDuration() < 0 {
			return refused("RetryConfig.%s cannot be negative.", d.name)
		}
	}
	r.MaxRetryDuration = durationpb.New(r.GetMaxRetryDuration().AsDuration().Truncate(time.Second))
	if r.MaxBackoff == nil {
		r.MaxBackoff = durationpb.New(max(defaultMaxBackoff, r.GetMinBackoff().AsDuration()))
	}
	if r.MinBackoff == nil {
		r.MinBackoff = durationpb.New(min(defaultMinBackoff, r.GetMaxBackoff().AsDuration()))
	}
	if r.GetMinBackoff().AsDuration() > r.GetMaxBackoff().AsDuration() {
		return refused("RetryConfig.minBackoff must be less than or equal to RetryConfig.maxBackoff.")
	}
	return nil
}

// withDefaultDoublings is for a retry configuration that came as a whole.
func withDefaultDoublings(r *cloudtaskspb.RetryConfig) {
	if r.GetMaxDoublings() == 0 {
		r.MaxDoublings = defaultDoublings
	}
}
