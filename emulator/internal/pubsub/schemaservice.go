package pubsub

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"waybill.dev/emulator/internal/schema"
)

// schema finds a schema by its name, and splits the revision off that may follow an "@".
func (s *Service) schema(name string) (*schemaResource, string, error) {
	bare, id, hasID := strings.Cut(name, "@")
	if err := checkSchemaName(bare); err != nil || hasID && id == "" {
		return nil, "", invalidName(name)
	}
	if s.ctx.Err() != nil {
		return nil, "", errClosed()
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.schemas[bare]
	if r == nil {
		return nil, "", notFound(bare)
	}
	return r, id, nil
}

// compile compiles a definition, or says in the service's code why it cannot be.
func compile(ctx context.Context, s *pubsubpb.Schema) (*schema.Compiled, error) {
	if t := s.GetType(); t != pubsubpb.Schema_AVRO && t != pubsubpb.Schema_PROTOCOL_BUFFER {
		return nil, invalid("Invalid schema type")
	}
	c, err := schema.Compile(ctx, s)
	if errors.Is(err, schema.ErrTooLarge) {
		return nil, invalid("The value for schema_definition_size is too large. You passed %d in the request, but the maximum value is %d.", len(s.GetDefinition()), schema.MaxDefinitionBytes)
	}
	if err != nil {
		return nil, invalid("Could not parse schema definition: %v", err)
	}
	return c, nil
}

// view is a schema as the view shows it.
func view(s *pubsubpb.Schema, v, unset pubsubpb.SchemaView) *pubsubpb.Schema {
	if v == pubsubpb.SchemaView_SCHEMA_VIEW_UNSPECIFIED {
		v = unset
	}
	if v != pubsubpb.SchemaView_BASIC {
		return s
	}
	return &pubsubpb.Schema{Name: s.Name, Type: s.Type, RevisionId: s.RevisionId, RevisionCreateTime: s.RevisionCreateTime}
}

// CreateSchema implements google.pubsub.v1.SchemaService.
func (s *Service) CreateSchema(ctx context.Context, req *pubsubpb.CreateSchemaRequest) (*pubsubpb.Schema, error) {
	return durable(s, func() (*pubsubpb.Schema, error) { return s.createSchema(ctx, req) })
}

func (s *Service) createSchema(ctx context.Context, req *pubsubpb.CreateSchemaRequest) (*pubsubpb.Schema, error) {
	if err := checkProjectName(req.GetParent()); err != nil {
		return nil, err
	}
	name := req.GetParent() + "/schemas/" + req.GetSchemaId()
	if err := checkSchemaName(name); err != nil {
		return nil, err
	}
	compiled, err := compile(ctx, req.GetSchema())
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return nil, errClosed()
	}
	if s.schemas[name] != nil {
		return nil, alreadyExists(name)
	}
	r := &schemaResource{name: name, number: s.numbers.take(1), kind: req.GetSchema().GetType(), journal: s.journal}
	created, err := r.commit(req.GetSchema(), compiled, s.clock.Now())
	if err != nil {
		return nil, err
	}
	s.schemas[name] = r
	return created, nil
}

// GetSchema implements google.pubsub.v1.SchemaService. The name may carry a revision.
func (s *Service) GetSchema(_ context.Context, req *pubsubpb.GetSchemaRequest) (*pubsubpb.Schema, error) {
	r, id, err := s.schema(req.GetName())
	if err != nil {
		return nil, err
	}
	rev := r.find(id)
	if rev == nil {
		return nil, notFound(req.GetName())
	}
	return view(rev.schema, req.GetView(), pubsubpb.SchemaView_FULL), nil
}

// ListSchemas implements google.pubsub.v1.SchemaService.
func (s *Service) ListSchemas(_ context.Context, req *pubsubpb.ListSchemasRequest) (*pubsubpb.ListSchemasResponse, error) {
	if err := checkProjectName(req.GetParent()); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	names, next, err := page(namesIn(s.schemas, req.GetParent()), req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	resp := &pubsubpb.ListSchemasResponse{NextPageToken: next}
	for _, name := range names {
		resp.Schemas = append(resp.Schemas, view(s.schemas[name].find("").schema, req.GetView(), pubsubpb.SchemaView_BASIC))
	}
	return resp, nil
}

// ListSchemaRevisions implements google.pubsub.v1.SchemaService. The oldest revision comes first.
func (s *Service) ListSchemaRevisions(_ context.Context, req *pubsubpb.ListSchemaRevisionsRequest) (*pubsubpb.ListSchemaRevisionsResponse, error) {
	r, _, err := s.schema(req.GetName())
	if err != nil {
		return nil, err
	}
	revisions := r.list()
	byName := make(map[string]*pubsubpb.Schema, len(revisions))
	names := make([]string, len(revisions))
	for i, rev := range revisions { // pages go by the order of names, so these get numbers
		names[i] = fmt.Sprintf("%s@%020d", r.name, rev.ordinal)
		byName[names[i]] = rev.schema
	}
	names, next, err := page(names, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	resp := &pubsubpb.ListSchemaRevisionsResponse{NextPageToken: next}
	for _, name := range names {
		resp.Schemas = append(resp.Schemas, view(byName[name], req.GetView(), pubsubpb.SchemaView_BASIC))
	}
	return resp, nil
}

// CommitSchema implements google.pubsub.v1.SchemaService.
func (s *Service) CommitSchema(ctx context.Context, req *pubsubpb.CommitSchemaRequest) (*pubsubpb.Schema, error) {
	return durable(s, func() (*pubsubpb.Schema, error) { return s.commitSchema(ctx, req) })
}

func (s *Service) commitSchema(ctx context.Context, req *pubsubpb.CommitSchemaRequest) (*pubsubpb.Schema, error) {
	r, id, err := s.schema(req.GetName())
	if err != nil {
		return nil, err
	}
	if id != "" {
		return nil, invalidName(req.GetName())
	}
	compiled, err := compile(ctx, req.GetSchema())
	if err != nil {
		return nil, err
	}
	if err := r.find("").compiled.Revise(compiled); err != nil {
		return nil, invalid("Incompatible schema revision given: %v", err)
	}
	return r.commit(req.GetSchema(), compiled, s.clock.Now())
}

// RollbackSchema implements google.pubsub.v1.SchemaService: the revision is committed once more.
func (s *Service) RollbackSchema(_ context.Context, req *pubsubpb.RollbackSchemaRequest) (*pubsubpb.Schema, error) {
	return durable(s, func() (*pubsubpb.Schema, error) { return s.rollbackSchema(req) })
}

func (s *Service) rollbackSchema(req *pubsubpb.RollbackSchemaRequest) (*pubsubpb.Schema, error) {
	r, id, err := s.schema(req.GetName())
	if err != nil {
		return nil, err
	}
	if id != "" {
		return nil, invalidName(req.GetName())
	}
	if req.GetRevisionId() == "" {
		return nil, invalidArgumentNamed("revision_id")
	}
	rev := r.find(req.GetRevisionId())
	if rev == nil {
		return nil, notFound(r.name + "@" + req.GetRevisionId())
	}
	return r.commit(rev.schema, rev.compiled, s.clock.Now())
}

// DeleteSchemaRevision implements google.pubsub.v1.SchemaService and returns what it deleted.
func (s *Service) DeleteSchemaRevision(_ context.Context, req *pubsubpb.DeleteSchemaRevisionRequest) (*pubsubpb.Schema, error) {
	return durable(s, func() (*pubsubpb.Schema, error) { return s.deleteSchemaRevision(req) })
}

func (s *Service) deleteSchemaRevision(req *pubsubpb.DeleteSchemaRevisionRequest) (*pubsubpb.Schema, error) {
	r, id, err := s.schema(req.GetName())
	if err != nil {
		return nil, err
	}
	if id == "" {
		id = req.GetRevisionId() //nolint:staticcheck // deprecated, but older clients send it
	}
	rev, err := r.remove(id)
	if err != nil {
		return nil, err
	}
	return rev.schema, nil
}

// DeleteSchema implements google.pubsub.v1.SchemaService. Topics keep it as "_deleted-schema_" and
// refuse to publish.
func (s *Service) DeleteSchema(_ context.Context, req *pubsubpb.DeleteSchemaRequest) (*emptypb.Empty, error) {
	return durable(s, func() (*emptypb.Empty, error) { return s.deleteSchema(req) })
}

func (s *Service) deleteSchema(req *pubsubpb.DeleteSchemaRequest) (*emptypb.Empty, error) {
	r, id, err := s.schema(req.GetName())
	if err != nil {
		return nil, err
	}
	if id != "" {
		return nil, invalidName(req.GetName())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.schemas[r.name] != r {
		return nil, notFound(r.name)
	}
	delete(s.schemas, r.name)
	r.delete()
	s.deletePolicy(r.name)
	return &emptypb.Empty{}, nil
}

// ValidateSchema implements google.pubsub.v1.SchemaService.
func (s *Service) ValidateSchema(ctx context.Context, req *pubsubpb.ValidateSchemaRequest) (*pubsubpb.ValidateSchemaResponse, error) {
	if err := checkProjectName(req.GetParent()); err != nil {
		return nil, err
	}
	if _, err := compile(ctx, req.GetSchema()); err != nil {
		return nil, err
	}
	return &pubsubpb.ValidateSchemaResponse{}, nil
}

// ValidateMessage implements google.pubsub.v1.SchemaService.
func (s *Service) ValidateMessage(ctx context.Context, req *pubsubpb.ValidateMessageRequest) (*pubsubpb.ValidateMessageResponse, error) {
	if err := checkProjectName(req.GetParent()); err != nil {
		return nil, err
	}
	kind, compiled, err := s.schemaSpec(ctx, req)
	if err != nil {
		return nil, err
	}
	if e := req.GetEncoding(); e != pubsubpb.Encoding_JSON && e != pubsubpb.Encoding_BINARY {
		return nil, invalid("No encoding provided.")
	}
	if err := compiled.Validate(req.GetMessage(), req.GetEncoding()); err != nil {
		return nil, errInvalidMessage(kind, req.GetEncoding(), err.Error())
	}
	return &pubsubpb.ValidateMessageResponse{}, nil
}

// schemaSpec is the schema that a message is to be validated against: a named one, or the request's own.
func (s *Service) schemaSpec(ctx context.Context, req *pubsubpb.ValidateMessageRequest) (pubsubpb.Schema_Type, *schema.Compiled, error) {
	switch spec := req.GetSchemaSpec().(type) {
	case *pubsubpb.ValidateMessageRequest_Name:
		r, id, err := s.schema(spec.Name)
		if err != nil {
			return 0, nil, err
		}
		rev := r.find(id)
		if rev == nil {
			return 0, nil, notFound(spec.Name)
		}
		return r.kind, rev.compiled, nil
	case *pubsubpb.ValidateMessageRequest_Schema:
		compiled, err := compile(ctx, spec.Schema)
		return spec.Schema.GetType(), compiled, err
	default:
		return 0, nil, status.Error(codes.InvalidArgument, "ValidateMessage needs a name or a schema.")
	}
}
