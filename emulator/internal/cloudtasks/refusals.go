package cloudtasks

import (
	"context"
	"log/slog"
	"strings"
	"sync"
)

const (
	// maxTargets bounds what is remembered; beyond it, something may be logged again.
	maxTargets = 1000
	// maxReasons bounds what one target can make us log, when each of its reasons differs.
	maxReasons = 10
)

// refusals logs each failing target once per reason, and again after a success.
type refusals struct {
	logger *slog.Logger
	mu     sync.Mutex
	logged map[string]map[string]bool // by target, by reason
}

func newRefusals(logger *slog.Logger) *refusals {
	return &refusals{logger: logger, logged: make(map[string]map[string]bool)}
}

func (r *refusals) report(ctx context.Context, url string, status int, reason, task string) {
	target := withoutQuery(url)
	if r.isNew(target, reason) {
		r.logger.WarnContext(ctx, "task not accepted by its receiver; the same again is not logged",
			"target", target, "status", status, "reason", reason, "task", task)
	}
}

func (r *refusals) isNew(target, reason string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	reasons := r.logged[target]
	if reasons[reason] || len(reasons) >= maxReasons {
		return false
	}
	if reasons == nil {
		if len(r.logged) >= maxTargets {
			clear(r.logged)
		}
		reasons = make(map[string]bool)
		r.logged[target] = reasons
	}
	reasons[reason] = true
	return true
}

func (r *refusals) succeeded(url string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.logged, withoutQuery(url))
}

func (r *refusals) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.logged)
}

// withoutQuery is what of a URL can be logged.
func withoutQuery(url string) string {
	if i := strings.IndexAny(url, "?#"); i >= 0 {
		url = url[:i]
	}
	if scheme, rest, ok := strings.Cut(url, "://"); ok {
		authority, path, _ := strings.Cut(rest, "/")
		if i := strings.LastIndexByte(authority, '@'); i >= 0 {
			return scheme + "://" + authority[i+1:] + "/" + path
		}
	}
	return url
}
