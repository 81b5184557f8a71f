package dispatchtest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/internal/wire"
	"waybill.dev/pubsub"
	"waybill.dev/tasks"
)

// way is the bench as one service sees it.
type way struct {
	bench   *Bench
	service string
}

var _ dispatch.Transport = (*way)(nil)

// Enqueue keeps a task for its receiver.
func (w *way) Enqueue(ctx context.Context, t tasks.Task) (tasks.Receipt, error) {
	b := w.bench
	info := b.routes.byQueue[t.Queue]
	if info == nil {
		return tasks.Receipt{}, fmt.Errorf("dispatchtest: app %q declares no queue %s; open services of the app that the bench was made with", b.app.Name(), t.Queue)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	refused := b.refusal(info.Name)
	if refused != nil && !errors.Is(refused, dispatch.ErrAmbiguous) {
		return tasks.Receipt{}, refused
	}
	if err := ctx.Err(); err != nil {
		return tasks.Receipt{}, err
	}
	now := b.clock.now()
	b.sequence++
	name := taskName{t.Queue, t.Key}
	receipt := tasks.Receipt{Name: t.Queue + "/tasks/" + strconv.Itoa(b.sequence), ScheduleTime: t.ScheduleTime}
	if t.Key != "" {
		receipt.Name = t.Queue + "/tasks/" + t.Key
		if until, taken := b.taken[name]; taken && (until.IsZero() || until.After(now)) {
			return tasks.Receipt{Name: receipt.Name, Duplicate: true}, refused
		}
		b.taken[name] = time.Time{}
	}
	d := &delivery{
		route: info, sequence: b.sequence, due: now, name: name, account: b.account(w.service), url: t.URL, published: now,
		envelope: dispatch.Envelope{ID: t.Header[wire.ID], Route: info.Name, Body: t.Body, Attributes: t.Header},
	}
	if t.ScheduleTime.After(now) {
		d.due = t.ScheduleTime
	}
	b.keep(d)
	return receipt, refused
}

// Publish keeps a copy of a message for each subscription, or a dead letter.
func (w *way) Publish(ctx context.Context, topic string, m pubsub.Message) (string, error) {
	b := w.bench
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sequence++
	id := strconv.Itoa(b.sequence)
	e := dispatch.Envelope{ID: m.Attributes[wire.ID], Body: m.Data, Attributes: m.Attributes, OrderingKey: m.OrderingKey}
	if info := b.routes.byDead[topic]; info != nil {
		return id, b.bury(ctx, info, e)
	}
	info := b.routes.byTopic[topic]
	if info == nil {
		return "", fmt.Errorf("dispatchtest: app %q declares no topic %s; open services of the app that the bench was made with", b.app.Name(), topic)
	}
	refused := b.refusal(info.Name)
	if refused != nil && !errors.Is(refused, dispatch.ErrAmbiguous) {
		return "", refused
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	e.Route = info.Name
	b.sent = append(b.sent, record{info.Name, e})
	for _, s := range b.routes.subscriptions[info.Name] {
		b.keep(b.copyFor(s, e, id))
	}
	return id, refused
}

// bury keeps a dead letter. The caller holds mu.
func (b *Bench) bury(ctx context.Context, info *dispatch.RouteInfo, e dispatch.Envelope) error {
	if err := cmp.Or(b.refusal(deadOf+info.Name), ctx.Err()); err != nil {
		return err
	}
	if a, ok := ctx.Value(attemptKey{}).(*Attempt); ok {
		a.buried = true
	}
	e.Route = info.Name
	b.dead = append(b.dead, record{info.Name, e})
	return nil
}

// copyFor is a subscription's copy of a message. The caller holds mu.
func (b *Bench) copyFor(s *dispatch.RouteInfo, e dispatch.Envelope, id string) *delivery {
	now := b.clock.now()
	return &delivery{route: s, sequence: b.sequence, due: now, account: b.env.PushAccountOf(b.app), envelope: e, messageID: id, published: now}
}

// keep has a message wait for its delivery. The caller holds mu.
func (b *Bench) keep(d *delivery) {
	b.sent = append(b.sent, record{d.route.Name, d.envelope})
	b.waiting = append(b.waiting, d)
	select {
	case b.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// Token is the service's own, for its calls.
func (w *way) Token(ctx context.Context, audience string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	return w.bench.token(Token{}, w.bench.account(w.service), audience), nil
}

// RoundTrip makes an attempt at a call, or fetches the issuer's keys.
func (w *way) RoundTrip(r *http.Request) (*http.Response, error) {
	b := w.bench
	if r.URL.Host == keysHost {
		return &http.Response{
			StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
			Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(issuer().Document())),
		}, nil
	}
	to := strings.TrimSuffix(r.URL.Host, hostSuffix)
	info := b.routes.byPath[to+r.URL.Path]
	if info == nil {
		return nil, fmt.Errorf("dispatchtest: app %q declares no call at %s of service %q", b.app.Name(), r.URL.Path, to)
	}
	var body []byte
	if r.Body != nil {
		var err error
		body, err = io.ReadAll(r.Body)
		if err = errors.Join(err, r.Body.Close()); err != nil {
			return nil, err
		}
	}
	a, f, err := b.beginCall(info, r.Header, body)
	if err != nil {
		return nil, err
	}
	request := r.Clone(r.Context())
	request.Body = io.NopCloser(bytes.NewReader(body))
	if f.token != nil {
		setToken(request.Header, b.token(*f.token, b.account(w.service), b.audience(to)))
	}
	answer, err := b.exchange(r.Context(), info, request, f, a)
	b.mu.Lock()
	defer b.mu.Unlock()
	a.Outcome = Failed
	if err != nil {
		return nil, err
	}
	if answer.Code == http.StatusOK {
		a.Outcome = Done
	}
	return answer.Result(), nil
}

// beginCall records an attempt at a call, and the question if it is the first.
func (b *Bench) beginCall(info *dispatch.RouteInfo, header http.Header, body []byte) (*Attempt, fault, error) {
	e := dispatch.Envelope{ID: header.Get(wire.ID), Route: info.Name, Body: body, Attributes: map[string]string{}}
	for name, values := range header {
		if name == "Content-Type" || strings.HasPrefix(name, "Ce-") {
			e.Attributes[strings.ToLower(name)] = strings.Join(values, ", ")
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.asked[e.ID] == 0 {
		b.sent = append(b.sent, record{info.Name, e})
	}
	b.asked[e.ID]++
	if err := b.refusal(info.Name); err != nil {
		return nil, fault{}, err
	}
	if b.services[info.To] == nil {
		return nil, fault{}, fmt.Errorf("dispatchtest: service %q is not open; open it on the bench, with an answer to %q", info.To, info.Name)
	}
	return b.begin(info, e, b.asked[e.ID]), b.takeFault(info.Name), nil
}
