package dead

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/internal/wire"
	"waybill.dev/internal/names"
	"waybill.dev/pubsub"
	"waybill.dev/tasks"
)

// Result is what became of one letter in a replay.
type Result struct {
	Letter Letter
	Number int    // which replay of the message it is, from 1
	To     string // the queue or topic
	As     string // of a task: the account that sends it
	Name   string // what was accepted: the task's full name, or the Pub/Sub message's id; empty in a preview
	// Duplicate: this replay had been accepted before, and only the letter was still there.
	Duplicate bool
	// Err says why this letter was not sent. It wraps [ErrRefused] and the letter stays.
	Err error
}

// Replay sends dead letters again, each to the route that it came from, and removes it from the dead letters once that was
// accepted. A letter that cannot be sent as it is, is left and reported in its Result; any other failure ends the replay, and
// what was not sent by then stays where it is. Either way the results are those of the letters that were reached.
//
// A message that dies again while a replay runs is not sent a second time by it.
func (c *Client) Replay(ctx context.Context, q Query) ([]Result, error) {
	return c.replay(ctx, q, (*Client).send)
}

// Preview is Replay without sending: what would go where, and what could not.
func (c *Client) Preview(ctx context.Context, q Query) ([]Result, error) {
	return c.replay(ctx, q, nil)
}

type sendFunc func(*Client, context.Context, *parcel) error

func (c *Client) replay(ctx context.Context, q Query, send sendFunc) ([]Result, error) {
	routes, err := c.asked(q.Route)
	if err != nil {
		return nil, err
	}
	var results []Result
	var problems []error
	for _, r := range routes {
		some, err := c.replayRoute(ctx, r, q, send)
		results = append(results, some...)
		if err != nil {
			return results, err
		}
	}
	for _, result := range results {
		if result.Err != nil {
			problems = append(problems, fmt.Errorf("dead: letter %s of %s stays: %w", result.Letter.ID, result.Letter.Route, result.Err))
		}
	}
	return results, errors.Join(problems...)
}

// replayRoute goes through a route's letters once. Those that it leaves it holds until the end, so that it meets none twice.
func (c *Client) replayRoute(ctx context.Context, r *route, q Query, send sendFunc) (results []Result, err error) {
	rd := c.reader(r)
	defer rd.release(ctx)
	sent := map[string]int{} // the number of the replay, by ID
	for !rd.done() {
		copies, err := rd.next(ctx, q.limit())
		if err != nil {
			return results, err
		}
		for _, f := range merge(copies) {
			if !q.matches(f.letter) {
				f.forget()
				continue
			}
			if number, ok := sent[f.letter.ID]; ok { // another copy, or one that died again since
				err = rd.acknowledge(ctx, f.before(number))
			} else {
				var result Result
				if result, err = rd.replay(ctx, f, send); result.Number > 0 {
					results = append(results, result)
				}
				if result.Err == nil && err == nil && send != nil {
					sent[f.letter.ID] = result.Number
				}
			}
			if err != nil {
				return results, err
			}
			f.forget()
		}
	}
	return results, nil
}

// forget drops the bodies of what is only held so that it is not read again.
func (f *found) forget() {
	for _, l := range f.copies {
		l.letter.Body = nil
	}
}

// before are the copies that died before a replay.
func (f *found) before(replay int) []*leased {
	var copies []*leased
	for _, l := range f.copies {
		if l.letter.Replays < replay {
			copies = append(copies, l)
		}
	}
	return copies
}

// replay sends one letter and then removes it.
func (rd *reader) replay(ctx context.Context, f *found, send sendFunc) (Result, error) {
	if err := rd.renew(ctx); err != nil {
		return Result{}, err
	}
	p, err := rd.prepare(ctx, &f.letter)
	if errors.Is(err, ErrRefused) {
		return Result{Letter: f.letter, Number: f.letter.Replays + 1, Err: err}, nil
	}
	if err != nil {
		return Result{}, err
	}
	if send != nil {
		if err := send(rd.c, ctx, p); errors.Is(err, ErrRefused) {
			p.result.Err = err
			return p.result, nil
		} else if err != nil {
			return Result{}, fmt.Errorf("dead: letter %s of %s, and what comes after it, stays: %w", f.letter.ID, rd.route, err)
		}
		if err := rd.acknowledge(ctx, f.copies); err != nil {
			return p.result, fmt.Errorf("%w; the message itself was sent: replay the letter again soon, its task is then recognised, or discard it", err)
		}
	}
	return p.result, nil
}

// parcel is a letter that is ready to be sent again.
type parcel struct {
	result Result
	task   tasks.Task     // of a task
	event  pubsub.Message // of a subscription
}

func (rd *reader) prepare(ctx context.Context, l *Letter) (*parcel, error) {
	c, r := rd.c, rd.route
	number := l.Replays + 1
	p := &parcel{result: Result{Letter: *l, Number: number}}
	attributes := maps.Clone(l.Headers)
	if attributes == nil {
		attributes = map[string]string{}
	}
	attributes[wire.ID] = l.ID // Pub/Sub's own dead-lettering adds none where there was none
	attributes[wire.Replay] = strconv.Itoa(number)
	switch r.kind {
	case dispatch.KindTask:
		return p, c.prepareTask(p, r, l, attributes)
	case dispatch.KindSubscription:
		attributes[wire.ReplayTo] = r.name
		p.event = pubsub.Message{Data: l.Body, Attributes: attributes, OrderingKey: l.OrderingKey}
		p.result.To = names.Topic(c.env.Project, c.resource(r.event))
		return p, rd.reachable(ctx, p.result.To)
	default:
		return nil, fmt.Errorf("%w: its subscription does not say whether it is a task's; run what calls dispatch/deploy's Create, and do what it says", ErrRefused)
	}
}

func (c *Client) prepareTask(p *parcel, r *route, l *Letter, header map[string]string) error {
	account, err := r.sender(l)
	if err != nil {
		return err
	}
	endpoint, audience, err := c.target(r, l)
	if err != nil {
		return err
	}
	if c.env.Location == "" {
		return fmt.Errorf("%w: the environment has no location for the queue; add \"location\", such as us-central1", ErrRefused)
	}
	p.task = tasks.Task{
		// The first of several queues will do: a name is only compared within one.
		Queue: names.Queue(c.env.Project, c.env.Location, c.resource(r.name)),
		URL:   endpoint, Audience: audience, Header: header, Body: l.Body, DispatchDeadline: r.deadline,
		Key: fmt.Sprintf("%s replay %d", l.ID, p.result.Number),
	}
	p.result.To, p.result.As = p.task.Queue, account
	return nil
}

// reachable makes sure that somebody will get an event: published for a subscription that is gone, it would be lost.
func (rd *reader) reachable(ctx context.Context, topic string) error {
	if rd.reached {
		return nil
	}
	name := names.Subscription(rd.c.env.Project, rd.c.resource(rd.route.name))
	s, err := rd.c.google.SubscriptionAdminClient.GetSubscription(ctx, &pubsubpb.GetSubscriptionRequest{Subscription: name})
	switch {
	case status.Code(err) == codes.NotFound:
		return fmt.Errorf("%w: %s is not there, so nobody would get it; run what calls dispatch/deploy's Create", ErrRefused, name)
	case err != nil:
		return fmt.Errorf("dead: looking for %s, which is to get the message: %w", name, err)
	case s.GetTopic() != topic || s.GetDetached():
		return fmt.Errorf("%w: %s does not get what is published to %s: it is of %s; delete it and create it again", ErrRefused, name, topic, s.GetTopic())
	}
	rd.reached = true
	return nil
}

// send hands a letter to Google.
func (c *Client) send(ctx context.Context, p *parcel) error {
	var err error
	if p.task.Queue != "" {
		var client *tasks.Client
		if client, err = c.tasksAs(ctx, p.result.As); err != nil {
			return err
		}
		if err := client.Check(p.task); err != nil {
			return fmt.Errorf("%w: %w", ErrRefused, err)
		}
		var receipt tasks.Receipt
		receipt, err = client.Enqueue(ctx, p.task)
		p.result.Name, p.result.Duplicate = receipt.Name, receipt.Duplicate
		return err
	}
	if err := c.publisher.Check(p.result.To, p.event); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	p.result.Name, err = c.publisher.Publish(ctx, p.result.To, p.event)
	return err
}
