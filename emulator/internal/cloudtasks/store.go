package cloudtasks

import (
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
)

// Store keeps what the engine acknowledges. It is told of changes in their order, under the engine's
// lock, so it must not block there; what it is given is never changed afterwards, except for the
// TaskRecord's own fields, of which it gets a copy.
type Store interface {
	PutQueue(*cloudtaskspb.Queue)
	DeleteQueue(name string, reusable time.Time)
	PutTask(TaskRecord)
	DeleteTask(name string, reusable time.Time)

	// Sync returns when everything that was put or deleted before is safe. It is called without the lock,
	// by many callers at once, before each acknowledgement: one write can serve them all.
	Sync() error
}

// Memory is a [Store] that keeps nothing beyond the engine's own state.
type Memory struct{}

// PutQueue implements [Store].
func (Memory) PutQueue(*cloudtaskspb.Queue) {}

// DeleteQueue implements [Store].
func (Memory) DeleteQueue(string, time.Time) {}

// PutTask implements [Store].
func (Memory) PutTask(TaskRecord) {}

// DeleteTask implements [Store].
func (Memory) DeleteTask(string, time.Time) {}

// Sync implements [Store].
func (Memory) Sync() error { return nil }
