package upstream

import (
	"context"
	"crypto/rand"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"waybill.dev/emulator/internal/pubsub/endpoint"
)

// maxOrphans bounds how many unknown keys are remembered, and so logged.
const maxOrphans = 1000

// endpoints remembers the users' push configurations by the key that stands in our URL.
type endpoints struct {
	run string // with which every key of this run begins

	mu      sync.Mutex
	byKey   map[string]*endpoint.Endpoint
	keys    map[string]string // of each subscription the key that is in force
	orphans map[string]bool   // keys of earlier runs that were pushed to
}

func newEndpoints() *endpoints {
	return &endpoints{
		run:     rand.Text() + "-",
		byKey:   make(map[string]*endpoint.Endpoint),
		keys:    make(map[string]string),
		orphans: make(map[string]bool),
	}
}

// ofThisRun tells the keys that were given here, though they may not be in force any more.
func (e *endpoints) ofThisRun(key string) bool { return strings.HasPrefix(key, e.run) }

// orphaned reports whether a key is of an earlier run, and new.
func (e *endpoints) orphaned(key string) bool {
	if key == "" || e.ofThisRun(key) {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.orphans[key] || len(e.orphans) >= maxOrphans {
		return false
	}
	e.orphans[key] = true
	return true
}

func (e *endpoints) get(key string) *endpoint.Endpoint {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.byKey[key]
}

// add makes an endpoint known before its subscription points to it: pushes may come at once.
func (e *endpoints) add(ep *endpoint.Endpoint) (key string) {
	key = e.run + rand.Text()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.byKey[key] = ep
	return key
}

func (e *endpoints) remove(key string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.byKey, key)
}

// use makes key, or none, the one of the subscription, and forgets the one before.
func (e *endpoints) use(subscription, key string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.byKey, e.keys[subscription])
	delete(e.keys, subscription)
	if key != "" {
		e.keys[subscription] = key
	}
}

// change is what a call does to the endpoints, depending on how it ends. The zero change does nothing.
type change struct {
	endpoints         *endpoints
	subscription, key string // key "" if the subscription is then without an endpoint
}

func (c change) apply() {
	if c.endpoints != nil {
		c.endpoints.use(c.subscription, c.key)
	}
}

func (c change) undo() {
	if c.endpoints != nil {
		c.endpoints.remove(c.key)
	}
}

// hide puts our URL in place of the user's endpoint in a request.
func (p *Proxy) hide(req proto.Message) (change, error) {
	switch r := req.(type) {
	case *pubsubpb.Subscription:
		return p.hideIn(r.GetName(), &r.PushConfig), nil
	case *pubsubpb.ModifyPushConfigRequest:
		return p.hideIn(r.GetSubscription(), &r.PushConfig), nil
	case *pubsubpb.UpdateSubscriptionRequest:
		paths := r.GetUpdateMask().GetPaths()
		if slices.ContainsFunc(paths, func(path string) bool { return strings.HasPrefix(path, "push_config.") }) {
			return change{}, status.Error(codes.InvalidArgument, "In front of Google's emulator, update push_config as a whole: the update_mask names a field of it.")
		}
		if r.GetSubscription() != nil && slices.Contains(paths, "push_config") {
			return p.hideIn(r.Subscription.GetName(), &r.Subscription.PushConfig), nil
		}
	case *pubsubpb.DeleteSubscriptionRequest:
		return change{endpoints: p.endpoints, subscription: r.GetSubscription()}, nil
	}
	return change{}, nil
}

func (p *Proxy) hideIn(subscription string, config **pubsubpb.PushConfig) change {
	c := change{endpoints: p.endpoints, subscription: subscription}
	if (*config).GetPushEndpoint() == "" {
		return c
	}
	own := *config
	c.key = p.endpoints.add(endpoint.New(endpoint.Config{
		Subscription: subscription,
		Push:         own,
		Signer:       p.signer,
		Client:       p.client,
		Logger:       p.logger,
	}))
	hidden := proto.CloneOf(own)
	hidden.PushEndpoint = p.pushURL + c.key
	hidden.AuthenticationMethod = nil // ours to do
	*config = hidden
	return c
}

// adopt gives a subscription of an earlier run the push configuration with which it is being created
// once more, and reports whether it did. The configuration that it had is lost, so it cannot work otherwise.
func (p *Proxy) adopt(ctx context.Context, req proto.Message, failure error) bool {
	sub, ok := req.(*pubsubpb.Subscription)
	if !ok || status.Code(failure) != codes.AlreadyExists || sub.GetPushConfig().GetPushEndpoint() == "" {
		return false
	}
	upstream := pubsubpb.NewSubscriberClient(p.conn)
	existing, err := upstream.GetSubscription(ctx, &pubsubpb.GetSubscriptionRequest{Subscription: sub.GetName()})
	if err != nil {
		return false
	}
	key, ours := strings.CutPrefix(existing.GetPushConfig().GetPushEndpoint(), p.pushURL)
	if !ours || p.endpoints.ofThisRun(key) {
		return false
	}
	if _, err := upstream.ModifyPushConfig(ctx, &pubsubpb.ModifyPushConfigRequest{Subscription: sub.GetName(), PushConfig: sub.GetPushConfig()}); err != nil {
		return false
	}
	p.logger.LogAttrs(ctx, slog.LevelInfo, "a subscription made through an earlier run of this emulator has its push configuration again",
		slog.String("subscription", sub.GetName()))
	return true
}

// restore gives the user's push configuration back in a response.
func (p *Proxy) restore(resp proto.Message) {
	switch r := resp.(type) {
	case *pubsubpb.Subscription:
		p.restoreIn(r)
	case *pubsubpb.ListSubscriptionsResponse:
		for _, sub := range r.GetSubscriptions() {
			p.restoreIn(sub)
		}
	}
}

func (p *Proxy) restoreIn(sub *pubsubpb.Subscription) {
	key, ours := strings.CutPrefix(sub.GetPushConfig().GetPushEndpoint(), p.pushURL)
	if !ours {
		return
	}
	if ep := p.endpoints.get(key); ep != nil {
		attributes := sub.PushConfig.GetAttributes()
		sub.PushConfig = proto.CloneOf(ep.Push)
		sub.PushConfig.Attributes = attributes // as the upstream shows them
	}
}
