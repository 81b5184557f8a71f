// Package deliverylog tells a developer what becomes of deliveries, in the same words for tasks and
// for pushes:
//
//	delivery refused       the receiver answered, and not with a success
//	delivery failed        there was no answer
//	delivery works again   a success after one of these
//
// The attributes are target, reason, status (only of an answer), the queue or subscription, and the
// task or message_id. The same reason of the same target is logged once, and again after a success.
// Neither the query nor the user information of a target is ever logged, and of an answer only
// the first line of a plain text.
package deliverylog

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
)

const (
	// maxTargets bounds what is remembered; beyond it, something may be logged again.
	maxTargets = 1000
	// maxReasons bounds what one target can make us log, when each of its reasons differs.
	maxReasons = 10
)

// Log is the log of one queue or subscription. It is safe for concurrent use. Use [New].
type Log struct {
	logger *slog.Logger
	origin slog.Attr

	mu      sync.Mutex
	failing map[string]*Reasons // by target
}

// New returns a Log that writes to logger. Origin is the attribute of the queue or subscription.
func New(logger *slog.Logger, origin slog.Attr) *Log {
	return &Log{logger: logger, origin: origin, failing: make(map[string]*Reasons)}
}

// Refused logs an answer that is no success. ID is the attribute of the task or message.
func (l *Log) Refused(ctx context.Context, url string, status int, reason string, id slog.Attr) {
	target := Target(url)
	if l.isNew(target, strconv.Itoa(status)+" "+reason) {
		l.logger.LogAttrs(ctx, slog.LevelWarn, "delivery refused",
			slog.String("target", target), slog.String("reason", reason), slog.Int("status", status), l.origin, id)
	}
}

// Failed logs that there was no answer.
func (l *Log) Failed(ctx context.Context, url, reason string, id slog.Attr) {
	target := Target(url)
	if l.isNew(target, reason) {
		l.logger.LogAttrs(ctx, slog.LevelWarn, "delivery failed",
			slog.String("target", target), slog.String("reason", reason), l.origin, id)
	}
}

// Succeeded forgets the target's reasons, and logs it if there were any.
func (l *Log) Succeeded(ctx context.Context, url string, id slog.Attr) {
	target := Target(url)
	l.mu.Lock()
	_, failed := l.failing[target]
	delete(l.failing, target)
	l.mu.Unlock()
	if failed {
		l.logger.LogAttrs(ctx, slog.LevelInfo, "delivery works again", slog.String("target", target), l.origin, id)
	}
}

func (l *Log) isNew(target, reason string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	reasons := l.failing[target]
	if reasons == nil {
		if len(l.failing) >= maxTargets {
			clear(l.failing)
		}
		reasons = &Reasons{}
		l.failing[target] = reasons
	}
	return reasons.First(reason)
}

// Reasons remembers what has been logged since the last success. The zero value is ready, and safe
// for concurrent use.
type Reasons struct {
	mu   sync.Mutex
	seen map[string]bool
}

// First reports whether reason is new, and there were not too many before it.
func (r *Reasons) First(reason string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[reason] || len(r.seen) >= maxReasons {
		return false
	}
	if r.seen == nil {
		r.seen = make(map[string]bool)
	}
	r.seen[reason] = true
	return true
}

// Clear forgets all reasons: the next is news again.
func (r *Reasons) Clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.seen)
}
