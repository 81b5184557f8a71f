package pubsub

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waybill.dev/emulator/internal/schema"
)

const (
	maxRevisions = 20 // of one schema

	deletedSchema   = "_deleted-schema_"
	deletedRevision = "_deleted-schema-revision_"

	attributeSchemaName     = "googclient_schemaname"
	attributeSchemaEncoding = "googclient_schemaencoding"
	attributeSchemaRevision = "googclient_schemarevisionid"
)

// schemaResource is one schema with its revisions. Topics point to it, so that one that is deleted
// and created again is another.
type schemaResource struct {
	name    string
	number  uint64 // tells it from others of its name
	kind    pubsubpb.Schema_Type
	journal journal
	gone    atomic.Bool // deleted

	mu        sync.RWMutex // taken last
	revisions []*revision  // the oldest first; never empty
	ordinal   uint64       // of the newest
}

// revision is one definition, compiled once. It does not change.
type revision struct {
	ordinal  uint64 // its place among all revisions that there have been, from 1
	schema   *pubsubpb.Schema
	compiled *schema.Compiled
}

// commit appends a revision of the definition and returns it.
func (r *schemaResource) commit(definition *pubsubpb.Schema, compiled *schema.Compiled, now time.Time) (*pubsubpb.Schema, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone.Load() {
		return nil, notFound(r.name)
	}
	if len(r.revisions) >= maxRevisions {
		return nil, status.Error(codes.ResourceExhausted, "Already at maximum number of schema revisions")
	}
	var id [4]byte
	_, _ = rand.Read(id[:]) // never fails
	s := proto.CloneOf(definition)
	s.Name = r.name
	s.RevisionId = hex.EncodeToString(id[:])
	s.RevisionCreateTime = timestamppb.New(now)
	r.ordinal++
	rev := &revision{ordinal: r.ordinal, schema: s, compiled: compiled}
	r.revisions = append(r.revisions, rev)
	r.journal.putSchema(r, rev)
	return s, nil
}

// delete lets nobody commit any more. Service.mu is held.
func (r *schemaResource) delete() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone.Store(true)
	for _, rev := range r.revisions {
		r.journal.deleteSchema(r, rev)
	}
}

// find returns the revision with the id, the newest for "", or nil.
func (r *schemaResource) find(id string) *revision {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if id == "" {
		return r.revisions[len(r.revisions)-1]
	}
	for _, rev := range r.revisions {
		if rev.schema.RevisionId == id {
			return rev
		}
	}
	return nil
}

// list returns all revisions, the oldest first.
func (r *schemaResource) list() []*revision {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Clone(r.revisions)
}

// remove deletes the revision with the id and returns it.
func (r *schemaResource) remove(id string) (*revision, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := slices.IndexFunc(r.revisions, func(rev *revision) bool { return rev.schema.RevisionId == id })
	switch {
	case at < 0:
		return nil, notFound(r.name + "@" + id)
	case len(r.revisions) == 1:
		return nil, invalid("Cannot delete last revision. Please use DeleteSchema.")
	}
	rev := r.revisions[at]
	r.revisions = slices.Delete(r.revisions, at, at+1)
	r.journal.deleteSchema(r, rev)
	return rev, nil
}

// schemaRange is the part of a schema that a topic accepts. The zero value is a topic without a schema.
type schemaRange struct {
	schema      *schemaResource
	first, last uint64 // ordinals; 0 is open
}

// schemaRange resolves a topic's settings. Service.mu is held.
func (s *Service) schemaRange(settings *pubsubpb.SchemaSettings) (schemaRange, error) {
	if settings == nil {
		return schemaRange{}, nil
	}
	if err := checkSchemaName(settings.GetSchema()); err != nil {
		return schemaRange{}, err
	}
	if e := settings.GetEncoding(); e != pubsubpb.Encoding_JSON && e != pubsubpb.Encoding_BINARY {
		return schemaRange{}, invalid("Invalid schema encoding provided")
	}
	r := schemaRange{schema: s.schemas[settings.GetSchema()]}
	if r.schema == nil {
		return schemaRange{}, notFound(settings.GetSchema())
	}
	if id := settings.GetFirstRevisionId(); id != "" {
		rev := r.schema.find(id)
		if rev == nil {
			return schemaRange{}, status.Error(codes.NotFound, "First revision could not be found")
		}
		r.first = rev.ordinal
	}
	if id := settings.GetLastRevisionId(); id != "" {
		rev := r.schema.find(id)
		if rev == nil {
			return schemaRange{}, status.Error(codes.NotFound, "Last revision could not be found")
		}
		r.last = rev.ordinal
	}
	if r.last != 0 && r.first > r.last {
		return schemaRange{}, invalid("First revision creation time is after last revision creation time")
	}
	return r, nil
}

// accepted lists the revisions of the range that there are, the newest first.
func (r schemaRange) accepted() []*revision {
	all := r.schema.list()
	slices.Reverse(all)
	return slices.DeleteFunc(all, func(rev *revision) bool {
		return rev.ordinal < r.first || r.last != 0 && rev.ordinal > r.last
	})
}

// shown is what a topic shows as its settings: what has been deleted is named so.
func (r schemaRange) shown(settings *pubsubpb.SchemaSettings) *pubsubpb.SchemaSettings {
	if r.schema == nil {
		return settings
	}
	gone := r.schema.gone.Load()
	lost := func(id string) bool { return id != "" && (gone || r.schema.find(id) == nil) }
	first, last := lost(settings.GetFirstRevisionId()), lost(settings.GetLastRevisionId())
	if !gone && !first && !last {
		return settings
	}
	shown := proto.CloneOf(settings)
	if gone {
		shown.Schema = deletedSchema
	}
	if first {
		shown.FirstRevisionId = deletedRevision
	}
	if last {
		shown.LastRevisionId = deletedRevision
	}
	return shown
}

// check validates messages against the revisions of the range, from the newest to the oldest, and
// gives each the attributes that say by which it was accepted.
func (r schemaRange) check(messages []*pubsubpb.PubsubMessage, encoding pubsubpb.Encoding) error {
	if r.schema.gone.Load() {
		return status.Error(codes.NotFound, "Schema associated with topic deleted.")
	}
	revisions := r.accepted()
	found := make([]*revision, len(messages))
	for i, m := range messages {
		var why error
		for _, rev := range revisions {
			if why = rev.compiled.Validate(m.GetData(), encoding); why == nil {
				found[i] = rev
				break
			}
		}
		if found[i] == nil {
			return r.errInvalidMessage(encoding, revisions, why)
		}
	}
	for i, m := range messages {
		if m.Attributes == nil {
			m.Attributes = make(map[string]string, 3)
		}
		m.Attributes[attributeSchemaName] = r.schema.name
		m.Attributes[attributeSchemaEncoding] = encoding.String()
		m.Attributes[attributeSchemaRevision] = found[i].schema.RevisionId
	}
	return nil
}

func (r schemaRange) errInvalidMessage(encoding pubsubpb.Encoding, revisions []*revision, why error) error {
	info := fmt.Sprintf("Could not validate message with any schema revision for schema: %s", r.schema.name)
	if n := len(revisions); n > 0 {
		info += fmt.Sprintf(", last checked revision: revision_id=%s failed with status: %v", revisions[n-1].schema.RevisionId, why)
	} else {
		info += ", no revision of the topic's range is left"
	}
	return errInvalidMessage(r.schema.kind, encoding, info)
}

// errInvalidMessage is how the service refuses a message that does not fit its schema. The sentence,
// the reason and the keys are from reports of its users; the words behind "status:" are ours.
func errInvalidMessage(kind pubsubpb.Schema_Type, encoding pubsubpb.Encoding, revisionInfo string) error {
	format := "PROTO"
	if kind == pubsubpb.Schema_AVRO {
		format = "AVRO"
	}
	st := status.New(codes.InvalidArgument, "Invalid data in message: Message failed schema validation.")
	detailed, err := st.WithDetails(&errdetails.ErrorInfo{
		Reason:   fmt.Sprintf("INVALID_%v_%s_MESSAGE", encoding, format),
		Domain:   "pubsub.googleapis.com",
		Metadata: map[string]string{"message": "Message failed schema validation", "revisionInfo": revisionInfo},
	})
	if err == nil {
		st = detailed
	}
	return st.Err()
}
