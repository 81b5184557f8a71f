package main

import (
	"context"
	"log/slog"
	"path"
	"strings"
)

// refusals is a slog.Handler that puts refusals on the stage, of a service or of the gates in front of them, whoever is refused:
// the story's own forgeries and what somebody types by hand. Everything else that is logged is left out.
type refusals struct {
	stage   *stage
	service string
}

// Enabled implements slog.Handler.
func (r refusals) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// Handle implements slog.Handler.
func (r refusals) Handle(_ context.Context, record slog.Record) error {
	if !strings.HasPrefix(record.Message, "request refused") && !strings.HasPrefix(record.Message, "gate refused") {
		return nil
	}
	detail := record.Message
	var status, reason string
	record.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "status":
			status = a.Value.String() + ": "
		case "error", "reason":
			reason = a.Value.String()
		}
		return true
	})
	if reason != "" {
		detail = status + strings.TrimPrefix(reason, "auth: ")
	}
	r.stage.happened(event{Service: r.service, What: "refused", Detail: detail})
	return nil
}

// WithAttrs implements slog.Handler.
func (r refusals) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		if r.service == "gate" && a.Key == "service" {
			r.service = path.Base(a.Value.String()) + "'s gate" // projects/P/locations/L/services/NAME
		}
	}
	return r
}

// WithGroup implements slog.Handler.
func (r refusals) WithGroup(string) slog.Handler { return r }
