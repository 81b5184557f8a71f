package gate

import (
	"context"
	"log/slog"
	"sync"
)

const (
	// maxCallers bounds what is remembered; beyond it, something may be logged again.
	maxCallers = 1000
	// maxReasons bounds what one caller can make us log, when each of its reasons differs.
	maxReasons = 10
)

// container stands for the service itself among the callers, whose names are email addresses.
const container = "container"

// refusals logs each refused caller once per reason, and again after a success. Those whom no good token names are
// one caller.
type refusals struct {
	logger *slog.Logger
	mu     sync.Mutex
	logged map[string]map[string]bool // by caller, by reason
}

func newRefusals(logger *slog.Logger, service string) *refusals {
	return &refusals{logger: logger.With("service", service), logged: make(map[string]map[string]bool)}
}

func (r *refusals) report(ctx context.Context, v verdict) {
	if r.isNew(v.caller, v.reason) {
		r.logger.WarnContext(ctx, "gate refused a request; the same again is not logged",
			"status", v.status, "reason", v.reason, "caller", v.caller)
	}
}

// reportContainer says that the container gave no answer.
func (r *refusals) reportContainer(ctx context.Context, err error) {
	if r.isNew(container, err.Error()) {
		r.logger.WarnContext(ctx, "gate got no answer from its container; the same again is not logged", "error", err)
	}
}

func (r *refusals) isNew(caller, reason string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	reasons := r.logged[caller]
	if reasons[reason] || len(reasons) >= maxReasons {
		return false
	}
	if reasons == nil {
		if len(r.logged) >= maxCallers {
			clear(r.logged)
		}
		reasons = make(map[string]bool)
		r.logged[caller] = reasons
	}
	reasons[reason] = true
	return true
}

// succeeded lets what was logged of them be logged again.
func (r *refusals) succeeded(callers ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, caller := range callers {
		delete(r.logged, caller)
	}
}
