package pubsub

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Limits and defaults of topics and subscriptions.
const (
	defaultAckDeadline = 10 // seconds
	minAckDeadline     = 10
	maxAckDeadline     = 600

	minRetention     = 10 * time.Minute
	maxRetention     = 31 * 24 * time.Hour
	defaultRetention = 7 * 24 * time.Hour

	minExpiration     = 24 * time.Hour
	defaultExpiration = 31 * 24 * time.Hour

	maxBackoffSetting = 600 * time.Second
	defaultMinBackoff = 10 * time.Second
	defaultMaxBackoff = 600 * time.Second

	minDeliveryAttempts     = 5
	maxDeliveryAttempts     = 100
	defaultDeliveryAttempts = 5
)

// checkSubscription checks a subscription's settings, except that its topics exist, and fills in
// the defaults that the service shows.
func checkSubscription(s *pubsubpb.Subscription) error {
	s.Tags = nil // input only
	s.AnalyticsHubSubscriptionInfo = nil
	if err := checkLabels(s.Labels); err != nil {
		return err
	}
	if err := checkTransforms(s.MessageTransforms); err != nil {
		return err
	}
	if err := checkExports(s); err != nil {
		return err
	}
	if s.AckDeadlineSeconds == 0 {
		s.AckDeadlineSeconds = defaultAckDeadline
	}
	if s.AckDeadlineSeconds < minAckDeadline || s.AckDeadlineSeconds > maxAckDeadline {
		return invalidAckDeadline(s.AckDeadlineSeconds, minAckDeadline)
	}
	if s.MessageRetentionDuration == nil {
		s.MessageRetentionDuration = durationpb.New(defaultRetention)
	}
	if err := checkRetention(s.MessageRetentionDuration); err != nil {
		return err
	}
	if err := checkExpiration(s); err != nil {
		return err
	}
	if err := checkRetryPolicy(s.RetryPolicy); err != nil {
		return err
	}
	if err := checkDeadLetterPolicy(s.DeadLetterPolicy); err != nil {
		return err
	}
	if s.PushConfig == nil {
		s.PushConfig = &pubsubpb.PushConfig{}
	}
	if err := checkPushConfig(s.PushConfig); err != nil {
		return err
	}
	if s.EnableExactlyOnceDelivery && s.PushConfig.PushEndpoint != "" {
		return invalid("Exactly-once delivery is only for pull subscriptions: leave out push_config or enable_exactly_once_delivery.")
	}
	if _, err := parseFilter(s.Filter); err != nil {
		return invalid("Invalid filter given (filter=%.256s): %v.", s.Filter, err)
	}
	s.State = pubsubpb.Subscription_ACTIVE
	return nil
}

func checkRetention(d *durationpb.Duration) error {
	if v := d.AsDuration(); v < minRetention || v > maxRetention {
		return invalid("The value for message retention duration is out of bounds. You passed %s in the request, but the value must be between %s and %s.",
			showDuration(v), showDuration(minRetention), showDuration(maxRetention))
	}
	return nil
}

func checkExpiration(s *pubsubpb.Subscription) error {
	if s.ExpirationPolicy == nil {
		s.ExpirationPolicy = &pubsubpb.ExpirationPolicy{Ttl: durationpb.New(defaultExpiration)}
	}
	if s.ExpirationPolicy.Ttl == nil { // never
		return nil
	}
	if ttl := s.ExpirationPolicy.Ttl.AsDuration(); ttl < minExpiration {
		return invalid("The value for expiration duration is too small. You passed %s in the request, but the minimum value is %s.",
			showDuration(ttl), showDuration(minExpiration))
	}
	return nil
}

func checkRetryPolicy(p *pubsubpb.RetryPolicy) error {
	if p == nil {
		return nil
	}
	if p.MinimumBackoff == nil {
		p.MinimumBackoff = durationpb.New(defaultMinBackoff)
	}
	if p.MaximumBackoff == nil {
		p.MaximumBackoff = durationpb.New(defaultMaxBackoff)
	}
	least, most := p.MinimumBackoff.AsDuration(), p.MaximumBackoff.AsDuration()
	for _, b := range []struct {
		name  string
		value time.Duration
	}{{"minimum_backoff", least}, {"maximum_backoff", most}} {
		if b.value < 0 || b.value > maxBackoffSetting {
			return invalid("The value for %s is out of bounds. You passed %s in the request, but the value must be between %s and %s.",
				b.name, showDuration(b.value), showDuration(0), showDuration(maxBackoffSetting))
		}
	}
	if least > most {
		return invalid("The value for minimum_backoff is too large. You passed %s in the request, but maximum_backoff is %s.", showDuration(least), showDuration(most))
	}
	return nil
}

func checkDeadLetterPolicy(p *pubsubpb.DeadLetterPolicy) error {
	if p == nil {
		return nil
	}
	if err := checkTopicName(p.DeadLetterTopic); err != nil {
		return err
	}
	if p.MaxDeliveryAttempts == 0 {
		p.MaxDeliveryAttempts = defaultDeliveryAttempts
	}
	const sentence = "The value for max_delivery_attempts is too %s. You passed %d in the request, but the %s value is %d."
	switch n := p.MaxDeliveryAttempts; {
	case n < minDeliveryAttempts:
		return status.Errorf(codes.OutOfRange, sentence, "small", n, "minimum", minDeliveryAttempts)
	case n > maxDeliveryAttempts:
		return status.Errorf(codes.OutOfRange, sentence, "large", n, "maximum", maxDeliveryAttempts)
	}
	return nil
}

func checkPushConfig(p *pubsubpb.PushConfig) error {
	if p.PushEndpoint == "" {
		return nil
	}
	if err := checkPushAttributes(p.Attributes); err != nil {
		return err
	}
	p.Attributes = nil // Get leaves the version out, and there is but one
	u, err := url.Parse(p.PushEndpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return invalid("Invalid push endpoint given (endpoint=%s). Refer to https://cloud.google.com/pubsub/docs/subscriber#create for more information.", p.PushEndpoint)
	}
	if token := p.GetOidcToken(); token != nil && !strings.Contains(token.ServiceAccountEmail, "@") {
		return invalid("Invalid service account email given (service_account_email=%s).", token.ServiceAccountEmail)
	}
	return nil
}

// checkPushAttributes accepts the only attribute that there is, in the only format that is pushed.
func checkPushAttributes(attributes map[string]string) error {
	for key, value := range attributes {
		switch {
		case key != "x-goog-version":
			return invalid("Invalid push_config attribute given (attribute=%.256s). The only supported attribute is x-goog-version.", key)
		case value == "v1beta1":
			return invalid("Waybill's Pub/Sub emulator does not push in the format v1beta1: leave out x-goog-version, or set it to v1.")
		case value != "v1" && value != "v1beta2":
			return invalid("Invalid x-goog-version given (x-goog-version=%.256s). It must be v1.", value)
		}
	}
	return nil
}

// settingsOf is what the checked configuration means to the backlog.
func settingsOf(s *pubsubpb.Subscription) settings {
	out := settings{
		ordered:     s.EnableMessageOrdering,
		exactlyOnce: s.EnableExactlyOnceDelivery,
		retainAcked: s.RetainAckedMessages,
		retention:   s.MessageRetentionDuration.AsDuration(),
		maxAttempts: int(s.DeadLetterPolicy.GetMaxDeliveryAttempts()),
	}
	if p := s.RetryPolicy; p != nil {
		out.retry = true
		out.minBackoff, out.maxBackoff = p.MinimumBackoff.AsDuration(), p.MaximumBackoff.AsDuration()
	}
	return out
}

// showDuration writes a duration as the service's errors do: 9m59s, 10m, 744h.
func showDuration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	var b strings.Builder
	if d < 0 {
		b.WriteByte('-')
		d = -d
	}
	if h := d / time.Hour; h > 0 {
		fmt.Fprintf(&b, "%dh", h)
	}
	if m := d % time.Hour / time.Minute; m > 0 {
		fmt.Fprintf(&b, "%dm", m)
	}
	if s := d % time.Minute; s > 0 {
		b.WriteString(s.String())
	}
	return b.String()
}
