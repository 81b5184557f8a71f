package dispatch

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// Expires declares how long a message is of use, counted from its sending, or from its time if it has [After] or [At]. A message
// that its receiver gets later, at the first attempt or at a repetition, is dropped without running the handler: it is acknowledged,
// logged at info level, and given to [Config].OnExpired. It is no dead letter. A dead letter that is replayed does not expire.
//
// On a task, or as an option of [Send], it travels with the message as the CloudEvents attribute expirytime; an option of
// Send takes the place of the declaration. On a subscription it is the receiver's own, counted from when the event was sent,
// and the earlier of the two counts.
//
// The time is the sender's clock's and is compared with the receiver's: where these differ, the message lives that much
// shorter or longer. Google keeps the clocks of its machines within milliseconds of each other; elsewhere do not use an Expires
// near the difference.
type Expires time.Duration

func (o Expires) applyTask(r *route)         { r.expires = &o }
func (o Expires) applySubscription(r *route) { r.expires = &o }
func (o Expires) applySend(s *sendOptions)   { s.expires = &o }

func (r *route) validateExpires(p func(string, ...any)) {
	if r.expires != nil && *r.expires <= 0 {
		p("Expires(%v) drops every message; give a positive time, or leave it out", time.Duration(*r.expires))
	}
}

// expiry is when a message that is sent now becomes stale, zero for never.
func (o *sendOptions) expiry(r *route, now, scheduled time.Time) (time.Time, error) {
	after := r.expires
	if o.expires != nil {
		after = o.expires
		if *after <= 0 {
			return time.Time{}, fmt.Errorf("dispatch: %w: %s: with Expires(%v) it is never delivered; give a positive time, or leave it out", ErrOption, r, time.Duration(*after))
		}
	}
	if after == nil {
		return time.Time{}, nil
	}
	from := now
	if scheduled.After(now) {
		from = scheduled
	}
	return from.Add(time.Duration(*after)), nil
}

// setExpiry reads when a received message becomes stale. What is not a time says nothing. One that was replayed does not: a
// person has decided that it is of use.
func (m *Message) setExpiry(r *route, attribute, replay string) {
	if replay != "" {
		return
	}
	if attribute != "" {
		if t, err := time.Parse(time.RFC3339Nano, attribute); err == nil {
			m.ExpiresAt = t
		}
	}
	if r.kind != KindSubscription || r.expires == nil || m.PublishedAt.IsZero() {
		return // a task's declaration is its sender's, who knows of its schedule
	}
	if own := m.PublishedAt.Add(time.Duration(*r.expires)); m.ExpiresAt.IsZero() || own.Before(m.ExpiresAt) {
		m.ExpiresAt = own
	}
}

// expired reports whether a message came too late to be of use, and says so.
func (d *Dispatcher) expired(ctx context.Context, m *Message) bool {
	if m.ExpiresAt.IsZero() {
		return false
	}
	late := d.now().Sub(m.ExpiresAt)
	if late < 0 {
		return false
	}
	d.log.InfoContext(ctx, "message dropped: it expired before it was received",
		slog.String("route", firstOf(m.Alias, m.Route)), slog.String("message_id", m.ID), slog.Int("attempt", m.Attempt),
		slog.Time("expired_at", m.ExpiresAt), slog.Duration("late", late))
	if d.onExpired != nil {
		d.onExpired(ctx, *m)
	}
	return true
}
