package main

import (
	"context"
	"log/slog"
	"strings"
)

// refusals is a slog.Handler that puts a service's refusals on the stage, whoever is refused: the story's own forgeries and
// what somebody types by hand. Everything else that a service logs is left out.
type refusals struct {
	stage   *stage
	service string
}

// Enabled implements slog.Handler.
func (r refusals) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// Handle implements slog.Handler.
func (r refusals) Handle(_ context.Context, record slog.Record) error {
	if !strings.HasPrefix(record.Message, "request refused") {
		return nil
	}
	detail := record.Message
	var status, reason string
	record.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "status":
			status = a.Value.String() + ": "
		case "error":
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
func (r refusals) WithAttrs([]slog.Attr) slog.Handler { return r }

// WithGroup implements slog.Handler.
func (r refusals) WithGroup(string) slog.Handler { return r }
