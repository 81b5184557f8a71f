package pubsub

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"waybill.dev/internal/endpoint"
)

// Pub/Sub's limits for subscriptions.
const (
	MinAckDeadline      = 10 * time.Second
	MaxAckDeadline      = 600 * time.Second
	MaxRetryBackoff     = 600 * time.Second
	MinDeliveryAttempts = 5
	MaxDeliveryAttempts = 100
	MaxFilterLength     = 256 // bytes
)

// PushSubscription is a subscription that Pub/Sub pushes to an endpoint, with an
// ID token of its push account. It never expires for want of activity.
type PushSubscription struct {
	// Name and Topic are short names in the client's project or full names. Required.
	Name, Topic string
	// Endpoint is where messages are pushed: https, or http to a loopback address. Required.
	Endpoint string
	// Audience is the token's audience, as the receiver's verifier compares it. Required.
	Audience string
	// ServiceAccount is the e-mail of the push account, whose token every push
	// carries. Pub/Sub's own agent needs roles/iam.serviceAccountTokenCreator on
	// it, and who creates the subscription iam.serviceAccounts.actAs. Required.
	ServiceAccount string
	// AckDeadline is how long Pub/Sub waits for the answer, 10 s to 600 s in
	// whole seconds; 0 means 10 s.
	AckDeadline time.Duration
	// MinBackoff and MaxBackoff are the retry policy, each up to 600 s; 0 means 10 s and 600 s.
	MinBackoff, MaxBackoff time.Duration
	// DeadLetterTopic is where Pub/Sub itself puts a message after
	// MaxDeliveryAttempts, 5 to 100, 0 means 5. Without it attempts are not counted.
	DeadLetterTopic     string
	MaxDeliveryAttempts int
	// Ordered delivers the messages of one ordering key in their order.
	Ordered bool
	// Filter chooses messages by their attributes, at most 256 bytes. It cannot be changed later.
	Filter string
	// Unwrapped pushes the bare data. WriteMetadata then adds the attributes and
	// the message's id, time, key and attempt as headers.
	Unwrapped, WriteMetadata bool
}

func (s *PushSubscription) validate() error {
	var problems []error
	if _, err := endpoint.Parse(s.Endpoint); err != nil {
		problems = append(problems, fmt.Errorf("Endpoint: %w", err))
	}
	if s.Audience == "" {
		problems = append(problems, errors.New("Audience is empty: set the audience that the receiver's verifier expects"))
	}
	if !strings.Contains(s.ServiceAccount, "@") {
		problems = append(problems, fmt.Errorf("ServiceAccount is %q: set the e-mail of the push account", s.ServiceAccount))
	}
	if d := s.AckDeadline; d != 0 && (d < MinAckDeadline || d > MaxAckDeadline || d%time.Second != 0) {
		problems = append(problems, fmt.Errorf("AckDeadline is %v: use whole seconds from %v to %v, or 0 for 10 s", d, MinAckDeadline, MaxAckDeadline))
	}
	lo, hi := s.backoff()
	if lo < 0 || hi > MaxRetryBackoff || lo > hi {
		problems = append(problems, fmt.Errorf("MinBackoff %v and MaxBackoff %v: use 0 to %v, the first not above the second", s.MinBackoff, s.MaxBackoff, MaxRetryBackoff))
	}
	switch n := s.MaxDeliveryAttempts; {
	case n != 0 && s.DeadLetterTopic == "":
		problems = append(problems, errors.New("MaxDeliveryAttempts is set without a DeadLetterTopic: name the topic"))
	case n != 0 && (n < MinDeliveryAttempts || n > MaxDeliveryAttempts):
		problems = append(problems, fmt.Errorf("MaxDeliveryAttempts is %d: use %d to %d, or 0 for %d", n, MinDeliveryAttempts, MaxDeliveryAttempts, MinDeliveryAttempts))
	}
	if n := len(s.Filter); n > MaxFilterLength {
		problems = append(problems, fmt.Errorf("Filter has %d bytes: use at most %d", n, MaxFilterLength))
	}
	if s.WriteMetadata && !s.Unwrapped {
		problems = append(problems, errors.New("WriteMetadata is set without Unwrapped: a wrapped push has its metadata in the body"))
	}
	return errors.Join(problems...)
}

func (s *PushSubscription) backoff() (lo, hi time.Duration) {
	lo, hi = s.MinBackoff, s.MaxBackoff
	if hi == 0 {
		hi = MaxRetryBackoff
	}
	if lo == 0 {
		lo = min(10*time.Second, hi)
	}
	return lo, hi
}

// CreateTopic creates a topic, given by its short name in the client's project
// or its full name. It reports false without an error if the topic was there.
func (c *Client) CreateTopic(ctx context.Context, name string) (created bool, err error) {
	if err := c.open(); err != nil {
		return false, err
	}
	full, err := c.fullName("topics", name)
	if err != nil {
		return false, fmt.Errorf("pubsub: the topic's name is wrong: %w", err)
	}
	attempts := c.retries.create()
	_, err = c.client.TopicAdminClient.CreateTopic(ctx, &pubsubpb.Topic{Name: full}, attempts.option())
	return createdBy(attempts.cause(err), full)
}

// CreatePushSubscription creates a subscription. It reports false without an
// error if one of this name was there, whatever its settings: they are not compared.
func (c *Client) CreatePushSubscription(ctx context.Context, s PushSubscription) (created bool, err error) {
	if err := c.open(); err != nil {
		return false, err
	}
	req, err := c.subscription(&s)
	if err != nil {
		return false, fmt.Errorf("pubsub: the subscription %q is wrong: %w", s.Name, err)
	}
	attempts := c.retries.create()
	_, err = c.client.SubscriptionAdminClient.CreateSubscription(ctx, req, attempts.option())
	return createdBy(attempts.cause(err), req.GetName())
}

func (c *Client) open() error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return fmt.Errorf("pubsub: %w", ErrClosed)
	}
	return nil
}

func createdBy(err error, name string) (bool, error) {
	switch status.Code(err) {
	case codes.OK:
		return true, nil
	case codes.AlreadyExists:
		return false, nil
	case codes.PermissionDenied:
		return false, fmt.Errorf("pubsub: not allowed to create %s: who creates it needs roles/pubsub.editor, and actAs on the push account: %w", name, err)
	default:
		return false, fmt.Errorf("pubsub: %s could not be created: %w", name, err)
	}
}

func (c *Client) subscription(s *PushSubscription) (*pubsubpb.Subscription, error) {
	name, errName := c.fullName("subscriptions", s.Name)
	topic, errTopic := c.fullName("topics", s.Topic)
	var deadLetter *pubsubpb.DeadLetterPolicy
	var errDeadLetter error
	if s.DeadLetterTopic != "" {
		deadLetter = &pubsubpb.DeadLetterPolicy{MaxDeliveryAttempts: int32(s.MaxDeliveryAttempts)} //nolint:gosec // validate bounds it
		deadLetter.DeadLetterTopic, errDeadLetter = c.fullName("topics", s.DeadLetterTopic)
	}
	if err := errors.Join(named("Name", errName), named("Topic", errTopic), named("DeadLetterTopic", errDeadLetter), s.validate()); err != nil {
		return nil, err
	}
	lo, hi := s.backoff()
	return &pubsubpb.Subscription{
		Name:                  name,
		Topic:                 topic,
		PushConfig:            s.pushConfig(),
		AckDeadlineSeconds:    int32(max(s.AckDeadline, MinAckDeadline) / time.Second),
		EnableMessageOrdering: s.Ordered,
		Filter:                s.Filter,
		DeadLetterPolicy:      deadLetter,
		RetryPolicy:           &pubsubpb.RetryPolicy{MinimumBackoff: durationpb.New(lo), MaximumBackoff: durationpb.New(hi)},
		// A policy without a ttl: the default would delete an idle subscription after 31 days.
		ExpirationPolicy: &pubsubpb.ExpirationPolicy{},
	}, nil
}

func named(field string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", field, err)
}

func (s *PushSubscription) pushConfig() *pubsubpb.PushConfig {
	push := &pubsubpb.PushConfig{
		PushEndpoint: s.Endpoint,
		AuthenticationMethod: &pubsubpb.PushConfig_OidcToken_{OidcToken: &pubsubpb.PushConfig_OidcToken{
			ServiceAccountEmail: s.ServiceAccount,
			Audience:            s.Audience,
		}},
	}
	if s.Unwrapped {
		push.Wrapper = &pubsubpb.PushConfig_NoWrapper_{NoWrapper: &pubsubpb.PushConfig_NoWrapper{WriteMetadata: s.WriteMetadata}}
	}
	return push
}
