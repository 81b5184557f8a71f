package dead

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"waybill.dev/internal/names"
)

const (
	leaseTime   = 60 * time.Second // what a lease is renewed to; deploy creates the subscriptions with as much
	renewAfter  = leaseTime / 3
	answerTime  = 10 * time.Second // for an answer to a question that needs no wait
	releaseTime = 10 * time.Second // for giving leases back, also when the caller's context is over
	maxPull     = 1000             // messages of one pull
	maxIDs      = 500              // ack ids of one request, whose size Pub/Sub bounds: 512 KiB
	maxBytes    = 64 << 20         // of bodies that are held at once
)

// leased is a copy of a letter that was pulled and is not settled yet.
type leased struct {
	letter       Letter
	subscription string
	ackID        string
}

// reader takes leases on the dead letters of one route, and holds them until they are acknowledged or released: what it
// has read once it does not read again.
type reader struct {
	c       *Client
	route   *route
	own     string   // the route's subscription; the others are those of its aliases
	from    []string // the subscriptions that are not read to their end
	held    map[string]*leased
	renewed time.Time
	reached bool // of an event: it was seen that its subscription gets what is published
}

func (c *Client) reader(r *route) *reader {
	own := names.Subscription(c.env.Project, names.Dead(c.resource(r.name)))
	from := []string{own}
	for _, alias := range r.aliases { // what died before the route was renamed
		from = append(from, names.Subscription(c.env.Project, names.Dead(c.resource(alias))))
	}
	return &reader{c: c, route: r, own: own, from: from, held: map[string]*leased{}, renewed: time.Now()}
}

// next leases up to limit copies more. Fewer mean that there are no more, or that their bodies are large: see done.
func (rd *reader) next(ctx context.Context, limit int) ([]*leased, error) {
	var batch []*leased
	size := 0
	for len(rd.from) > 0 && len(batch) < limit && size < maxBytes {
		if err := rd.renew(ctx); err != nil {
			return batch, err
		}
		got, err := rd.pull(ctx, rd.from[0], min(limit-len(batch), maxPull))
		if err != nil {
			return batch, err
		}
		if len(got) == 0 {
			rd.from = rd.from[1:]
		}
		for _, l := range got {
			size += len(l.letter.Body)
		}
		batch = append(batch, got...)
	}
	return batch, nil
}

// done reports whether everything was read.
func (rd *reader) done() bool { return len(rd.from) == 0 }

// pull leases what is there. It waits for Config.Wait, since Pub/Sub may have messages and not have them at hand.
func (rd *reader) pull(ctx context.Context, subscription string, most int) ([]*leased, error) {
	asking, cancel := context.WithTimeout(ctx, cmp.Or(rd.c.wait, answerTime))
	defer cancel()
	var to peer.Peer
	response, err := rd.c.google.SubscriptionAdminClient.Pull(asking, &pubsubpb.PullRequest{
		Subscription:      subscription,
		MaxMessages:       int32(most),    //nolint:gosec // 1000 at most
		ReturnImmediately: rd.c.wait == 0, //nolint:staticcheck // deprecated, since Google's answer then says little; an emulator's is exact
	}, gax.WithGRPCOptions(grpc.Peer(&to)), gax.WithRetry(func() gax.Retryer { return nil })) // a retry would hide that nobody answers
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil, fmt.Errorf("dead: reading %s: %w", subscription, context.Cause(ctx))
	case status.Code(err) == codes.DeadlineExceeded && to.Addr != nil && rd.c.wait > 0: // asked, and there was nothing
		return nil, nil
	case status.Code(err) == codes.NotFound && subscription != rd.own:
		return nil, nil // an alias's, which is long gone
	case status.Code(err) == codes.NotFound:
		return nil, fmt.Errorf("dead: %s is not there; run what calls dispatch/deploy's Create: %w", subscription, err)
	default:
		return nil, fmt.Errorf("dead: reading %s: %w", subscription, err)
	}
	got := make([]*leased, 0, len(response.GetReceivedMessages()))
	for _, m := range response.GetReceivedMessages() {
		l := &leased{letter: read(rd.route, m.GetMessage()), subscription: subscription, ackID: m.GetAckId()}
		rd.held[l.ackID] = l
		got = append(got, l)
	}
	return got, nil
}

// renew lengthens the leases when it is time.
func (rd *reader) renew(ctx context.Context) error {
	if time.Since(rd.renewed) < renewAfter {
		return nil
	}
	rd.renewed = time.Now()
	return rd.modify(ctx, leaseTime)
}

// release gives back what is held, at once: others can read it from then on.
func (rd *reader) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
	defer cancel()
	_ = rd.modify(ctx, 0) // what could not be given back comes back by itself when the lease ends
	clear(rd.held)
}

func (rd *reader) modify(ctx context.Context, lease time.Duration) error {
	bySubscription := map[string][]string{}
	for id, l := range rd.held {
		bySubscription[l.subscription] = append(bySubscription[l.subscription], id)
	}
	var problems []error
	for subscription, ids := range bySubscription {
		for some := range slices.Chunk(ids, maxIDs) {
			if err := rd.c.google.SubscriptionAdminClient.ModifyAckDeadline(ctx, &pubsubpb.ModifyAckDeadlineRequest{
				Subscription: subscription, AckIds: some, AckDeadlineSeconds: int32(lease.Seconds()),
			}); err != nil {
				problems = append(problems, fmt.Errorf("dead: keeping the leases of %s: %w", subscription, err))
			}
		}
	}
	return errors.Join(problems...)
}

// acknowledge removes copies from the dead letters.
func (rd *reader) acknowledge(ctx context.Context, copies []*leased) error {
	for _, l := range copies {
		if err := rd.c.google.SubscriptionAdminClient.Acknowledge(ctx, &pubsubpb.AcknowledgeRequest{Subscription: l.subscription, AckIds: []string{l.ackID}}); err != nil {
			return fmt.Errorf("dead: removing letter %s from %s: %w", l.letter.ID, l.subscription, err)
		}
		delete(rd.held, l.ackID)
	}
	return nil
}
