package pubsub

import (
	"context"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"waybill.dev/emulator/internal/faults"
	"waybill.dev/emulator/internal/pubsub/endpoint"
)

// pusher delivers a subscription's messages to one endpoint. It has as many workers as there are
// requests out; a worker starts when there is something to push and ends when there is not.
type pusher struct {
	sub      *subscription
	config   *pubsubpb.PushConfig
	endpoint *endpoint.Endpoint
	ctx      context.Context
	cancel   context.CancelFunc

	// Guarded by the subscription's lock.
	consumer *consumer
	throttle throttle
	workers  int
}

// newPusher returns nil if there is no endpoint, or if nothing is delivered to it.
func newPusher(sub *subscription, subscription *pubsubpb.Subscription) *pusher {
	config := subscription.GetPushConfig()
	if config.GetPushEndpoint() == "" || refusal(subscription) != nil {
		return nil
	}
	s := sub.service
	p := &pusher{
		sub:    sub,
		config: config,
		endpoint: endpoint.New(endpoint.Config{
			Subscription: sub.name,
			Push:         config,
			Signer:       s.signer,
			Client:       s.client,
			Logger:       s.logger,
		}),
		consumer: newConsumer(),
		throttle: newThrottle(s.maxPushRequests),
	}
	p.consumer.serial = true
	p.ctx, p.cancel = context.WithCancel(s.ctx)
	return p
}

// start starts a worker if there is something for it. If only the throttle's pause forbids that,
// it returns the end of the pause. The subscription's lock is held.
func (p *pusher) start(now time.Time) (paused time.Time) {
	if p == nil || p.sub.service.draining.Load() || !p.sub.backlog.deliverable(p.consumer) {
		return time.Time{}
	}
	if !p.throttle.open(now, p.workers) {
		return p.paused(now)
	}
	p.workers++
	p.sub.service.clock.Begin()
	if !p.sub.service.running.run(p.work) {
		p.workers--
		p.sub.service.clock.End()
	}
	return time.Time{}
}

// push is one request to the endpoint.
type push struct {
	delivery
	started time.Time     // on the emulator's clock
	timeout time.Duration // the ack deadline
	err     error         // nil if it was acknowledged
}

// work pushes one message after the other.
func (p *pusher) work() {
	defer p.sub.service.clock.End()
	var last *push
	for {
		var next *push
		p.sub.update(func(now time.Time) {
			p.settle(last, now)
			next = p.next(now)
		})
		if next == nil {
			return
		}
		next.err = p.send(next)
		last = next
	}
}

// settle tells the backlog and the throttle how a push ended.
func (p *pusher) settle(d *push, now time.Time) {
	switch {
	case d == nil:
	case d.err == nil:
		p.throttle.succeeded()
		p.sub.touch(now)
		p.sub.backlog.ack(d.id)
	case p.ctx.Err() != nil:
		p.sub.backlog.giveBack(d.id)
	default:
		p.throttle.failed(now, d.started)
		p.sub.backlog.nack(d.id, now)
	}
}

// next takes the message to push next, or ends the worker.
func (p *pusher) next(now time.Time) *push {
	if p.sub.pusher == p && !p.sub.service.draining.Load() && p.throttle.open(now, p.workers-1) {
		for _, d := range p.sub.backlog.take(p.consumer, 1, 0, time.Time{}) {
			return &push{delivery: d, started: now, timeout: time.Duration(p.sub.config.AckDeadlineSeconds) * time.Second}
		}
	}
	p.workers--
	p.retire()
	return nil
}

// retire ends a pusher that was replaced, once its last request has ended.
func (p *pusher) retire() {
	if p != nil && p.sub.pusher != p && p.workers == 0 {
		p.cancel()
	}
}

// send takes as long as the ack deadline on the wall clock: a request needs real time, however
// far the emulator's clock is advanced meanwhile.
func (p *pusher) send(d *push) error {
	ctx, cancel := context.WithTimeout(faults.WithSource(p.ctx, p.sub.name), d.timeout)
	defer cancel()
	header, body, err := request(d, p.sub.name, p.config)
	if err != nil {
		return err
	}
	return p.endpoint.Post(ctx, d.msg.GetMessageId(), header, body)
}
