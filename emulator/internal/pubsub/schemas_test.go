package pubsub

import (
	"fmt"
	"strings"
	"testing"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

const schemaName = "projects/p/schemas/order"

// record is an Avro record with an int field n and the given others.
func record(fields ...string) string {
	return `{"type":"record","name":"Order","fields":[{"name":"n","type":"int"}` + strings.Join(fields, "") + `]}`
}

const optional = `,{"name":"text","type":"string","default":""}`

func avroSchema(definition string) *pubsubpb.Schema {
	return &pubsubpb.Schema{Type: pubsubpb.Schema_AVRO, Definition: definition}
}

func createSchema(t *testing.T, s *Service) *pubsubpb.Schema {
	t.Helper()
	return must(t, s.CreateSchema, &pubsubpb.CreateSchemaRequest{Parent: "projects/p", SchemaId: "order", Schema: avroSchema(record())})
}

func commit(t *testing.T, s *Service, definition string) *pubsubpb.Schema {
	t.Helper()
	return must(t, s.CommitSchema, &pubsubpb.CommitSchemaRequest{Name: schemaName, Schema: avroSchema(definition)})
}

// checkStatus checks the code of an error and a part of its sentence.
func checkStatus(t *testing.T, err error, code codes.Code, sentence string) {
	t.Helper()
	if status.Code(err) != code || !strings.Contains(status.Convert(err).Message(), sentence) {
		t.Errorf("got %v, want %v with %q", err, code, sentence)
	}
}

func TestSchemaLifecycle(t *testing.T) {
	s := newService(t, Config{})
	ctx := t.Context()
	first := createSchema(t, s)
	if first.Name != schemaName || len(first.RevisionId) != 8 || first.RevisionCreateTime == nil || first.Definition != record() {
		t.Fatalf("created %v", first)
	}
	_, err := s.CreateSchema(ctx, &pubsubpb.CreateSchemaRequest{Parent: "projects/p", SchemaId: "order", Schema: avroSchema(record())})
	checkStatus(t, err, codes.AlreadyExists, "Resource already exists in the project (resource=order).")

	second := commit(t, s, record(optional))
	if second.RevisionId == first.RevisionId || second.Name != schemaName {
		t.Fatalf("committed %v", second)
	}
	get := func(name string, v pubsubpb.SchemaView) *pubsubpb.Schema {
		return must(t, s.GetSchema, &pubsubpb.GetSchemaRequest{Name: name, View: v})
	}
	basic := &pubsubpb.Schema{Name: schemaName, Type: pubsubpb.Schema_AVRO, RevisionId: second.RevisionId, RevisionCreateTime: second.RevisionCreateTime}
	for _, test := range []struct{ want, got *pubsubpb.Schema }{
		{second, get(schemaName, pubsubpb.SchemaView_SCHEMA_VIEW_UNSPECIFIED)},
		{second, get(schemaName, pubsubpb.SchemaView_FULL)},
		{basic, get(schemaName, pubsubpb.SchemaView_BASIC)},
		{first, get(schemaName+"@"+first.RevisionId, pubsubpb.SchemaView_FULL)},
		{basic, must(t, s.ListSchemas, &pubsubpb.ListSchemasRequest{Parent: "projects/p"}).Schemas[0]},
		{second, must(t, s.ListSchemas, &pubsubpb.ListSchemasRequest{Parent: "projects/p", View: pubsubpb.SchemaView_FULL}).Schemas[0]},
	} {
		if diff := cmp.Diff(test.want, test.got, protocmp.Transform()); diff != "" {
			t.Errorf("schema (-want +got):\n%s", diff)
		}
	}

	third := must(t, s.RollbackSchema, &pubsubpb.RollbackSchemaRequest{Name: schemaName, RevisionId: first.RevisionId})
	if third.Definition != first.Definition || third.RevisionId == first.RevisionId {
		t.Errorf("rolled back to %v", third)
	}
	page := must(t, s.ListSchemaRevisions, &pubsubpb.ListSchemaRevisionsRequest{Name: schemaName, PageSize: 2, View: pubsubpb.SchemaView_FULL})
	rest := must(t, s.ListSchemaRevisions, &pubsubpb.ListSchemaRevisionsRequest{Name: schemaName, PageSize: 2, PageToken: page.NextPageToken})
	if diff := cmp.Diff([]*pubsubpb.Schema{first, second}, page.Schemas, protocmp.Transform()); diff != "" || len(rest.Schemas) != 1 || rest.NextPageToken != "" || rest.Schemas[0].Definition != "" {
		t.Errorf("revisions (-want +got):\n%s\nthe second page has %v", diff, rest)
	}

	deleted := must(t, s.DeleteSchemaRevision, &pubsubpb.DeleteSchemaRevisionRequest{Name: schemaName + "@" + first.RevisionId})
	if deleted.RevisionId != first.RevisionId {
		t.Errorf("deleted %v", deleted)
	}
	must(t, s.DeleteSchemaRevision, &pubsubpb.DeleteSchemaRevisionRequest{Name: schemaName, RevisionId: second.RevisionId}) //nolint:staticcheck // as older clients do
	_, err = s.DeleteSchemaRevision(ctx, &pubsubpb.DeleteSchemaRevisionRequest{Name: schemaName + "@" + third.RevisionId})
	checkStatus(t, err, codes.InvalidArgument, "Cannot delete last revision. Please use DeleteSchema.")

	must(t, s.DeleteSchema, &pubsubpb.DeleteSchemaRequest{Name: schemaName})
	_, err = s.GetSchema(ctx, &pubsubpb.GetSchemaRequest{Name: schemaName})
	checkStatus(t, err, codes.NotFound, "Resource not found (resource=order).")
}

func TestSchemaRefusals(t *testing.T) {
	s := newService(t, Config{})
	ctx := t.Context()
	createSchema(t, s)
	create := func(parent, id string, schema *pubsubpb.Schema) error {
		_, err := s.CreateSchema(ctx, &pubsubpb.CreateSchemaRequest{Parent: parent, SchemaId: id, Schema: schema})
		return err
	}
	checkStatus(t, create("projects/p", "", avroSchema(record())), codes.InvalidArgument, "Invalid resource name given (name=projects/p/schemas/).")
	checkStatus(t, create("p", "new", avroSchema(record())), codes.InvalidArgument, "Invalid resource name")
	checkStatus(t, create("projects/p", "goog-x", avroSchema(record())), codes.InvalidArgument, "Invalid resource name")
	checkStatus(t, create("projects/p", "new", nil), codes.InvalidArgument, "Invalid schema type")
	checkStatus(t, create("projects/p", "new", avroSchema("{")), codes.InvalidArgument, "Could not parse schema definition: the definition is not JSON")
	checkStatus(t, create("projects/p", "new", avroSchema(strings.Repeat(" ", 307201))), codes.InvalidArgument, "You passed 307201 in the request, but the maximum value is 307200.")

	_, err := s.CommitSchema(ctx, &pubsubpb.CommitSchemaRequest{Name: schemaName, Schema: avroSchema(`"string"`)})
	checkStatus(t, err, codes.InvalidArgument, "Incompatible schema revision given")
	_, err = s.CommitSchema(ctx, &pubsubpb.CommitSchemaRequest{Name: schemaName + "@12345678", Schema: avroSchema(record())})
	checkStatus(t, err, codes.InvalidArgument, "Invalid resource name")
	_, err = s.CommitSchema(ctx, &pubsubpb.CommitSchemaRequest{Name: "projects/p/schemas/none", Schema: avroSchema(record())})
	checkStatus(t, err, codes.NotFound, "resource=none")
	_, err = s.RollbackSchema(ctx, &pubsubpb.RollbackSchemaRequest{Name: schemaName})
	checkStatus(t, err, codes.InvalidArgument, "revision_id")
	_, err = s.RollbackSchema(ctx, &pubsubpb.RollbackSchemaRequest{Name: schemaName, RevisionId: "12345678"})
	checkStatus(t, err, codes.NotFound, "resource=order@12345678")
	_, err = s.GetSchema(ctx, &pubsubpb.GetSchemaRequest{Name: schemaName + "@12345678"})
	checkStatus(t, err, codes.NotFound, "resource=order@12345678")
	_, err = s.GetSchema(ctx, &pubsubpb.GetSchemaRequest{Name: schemaName + "@"})
	checkStatus(t, err, codes.InvalidArgument, "Invalid resource name")
	_, err = s.DeleteSchemaRevision(ctx, &pubsubpb.DeleteSchemaRevisionRequest{Name: schemaName})
	checkStatus(t, err, codes.NotFound, "Resource not found")
	_, err = s.DeleteSchema(ctx, &pubsubpb.DeleteSchemaRequest{Name: schemaName + "@12345678"})
	checkStatus(t, err, codes.InvalidArgument, "Invalid resource name")

	for range maxRevisions - 1 {
		commit(t, s, record())
	}
	_, err = s.CommitSchema(ctx, &pubsubpb.CommitSchemaRequest{Name: schemaName, Schema: avroSchema(record())})
	checkStatus(t, err, codes.ResourceExhausted, "Already at maximum number of schema revisions")
}

func TestValidate(t *testing.T) {
	s := newService(t, Config{})
	ctx := t.Context()
	first := createSchema(t, s)
	commit(t, s, record(optional))
	must(t, s.ValidateSchema, &pubsubpb.ValidateSchemaRequest{Parent: "projects/p", Schema: avroSchema(record())})
	_, err := s.ValidateSchema(ctx, &pubsubpb.ValidateSchemaRequest{Parent: "projects/p", Schema: avroSchema("{")})
	checkStatus(t, err, codes.InvalidArgument, "Could not parse schema definition")
	_, err = s.ValidateSchema(ctx, &pubsubpb.ValidateSchemaRequest{Parent: "p", Schema: avroSchema(record())})
	checkStatus(t, err, codes.InvalidArgument, "Invalid resource name")

	named := func(name, data string, encoding pubsubpb.Encoding) *pubsubpb.ValidateMessageRequest {
		return &pubsubpb.ValidateMessageRequest{Parent: "projects/p", SchemaSpec: &pubsubpb.ValidateMessageRequest_Name{Name: name}, Message: []byte(data), Encoding: encoding}
	}
	must(t, s.ValidateMessage, named(schemaName, `{"n":1,"text":"a"}`, pubsubpb.Encoding_JSON)) // against the newest revision
	must(t, s.ValidateMessage, named(schemaName+"@"+first.RevisionId, `{"n":1}`, pubsubpb.Encoding_JSON))
	must(t, s.ValidateMessage, named(schemaName+"@"+first.RevisionId, "\x02", pubsubpb.Encoding_BINARY))
	must(t, s.ValidateMessage, &pubsubpb.ValidateMessageRequest{
		Parent: "projects/p", SchemaSpec: &pubsubpb.ValidateMessageRequest_Schema{Schema: avroSchema(`"int"`)}, Message: []byte("5"), Encoding: pubsubpb.Encoding_JSON,
	})
	_, err = s.ValidateMessage(ctx, named(schemaName, `{"n":"a"}`, pubsubpb.Encoding_JSON))
	checkStatus(t, err, codes.InvalidArgument, "Invalid data in message: Message failed schema validation.")
	_, err = s.ValidateMessage(ctx, named(schemaName, `{"n":1}`, 0))
	checkStatus(t, err, codes.InvalidArgument, "No encoding provided.")
	_, err = s.ValidateMessage(ctx, named("projects/p/schemas/none", `{}`, pubsubpb.Encoding_JSON))
	checkStatus(t, err, codes.NotFound, "resource=none")
	_, err = s.ValidateMessage(ctx, &pubsubpb.ValidateMessageRequest{Parent: "projects/p", Encoding: pubsubpb.Encoding_JSON})
	checkStatus(t, err, codes.InvalidArgument, "needs a name or a schema")
	_, err = s.ValidateMessage(ctx, &pubsubpb.ValidateMessageRequest{
		Parent: "projects/p", SchemaSpec: &pubsubpb.ValidateMessageRequest_Schema{Schema: avroSchema("{")}, Encoding: pubsubpb.Encoding_JSON,
	})
	checkStatus(t, err, codes.InvalidArgument, "Could not parse schema definition")
}

// schemaTopic creates a topic with a schema, and a subscription of it.
func schemaTopic(t *testing.T, s *Service, settings *pubsubpb.SchemaSettings) {
	t.Helper()
	settings.Schema = schemaName
	if settings.Encoding == 0 {
		settings.Encoding = pubsubpb.Encoding_JSON
	}
	must(t, s.CreateTopic, &pubsubpb.Topic{Name: topicName, SchemaSettings: settings})
	createSubscription(t, s, nil)
}

func publishError(t *testing.T, s *Service, texts ...string) error {
	t.Helper()
	var messages []*pubsubpb.PubsubMessage
	for _, text := range texts {
		messages = append(messages, &pubsubpb.PubsubMessage{Data: []byte(text)})
	}
	_, err := s.Publish(t.Context(), &pubsubpb.PublishRequest{Topic: topicName, Messages: messages})
	return err
}

func TestPublishIsValidated(t *testing.T) {
	s := newService(t, Config{})
	rev := createSchema(t, s)
	schemaTopic(t, s, &pubsubpb.SchemaSettings{})
	err := publishError(t, s, `{"n":1}`, `{"n":"a"}`)
	checkStatus(t, err, codes.InvalidArgument, "Invalid data in message: Message failed schema validation.")
	info, ok := status.Convert(err).Details()[0].(*errdetails.ErrorInfo)
	if !ok || info.Reason != "INVALID_JSON_AVRO_MESSAGE" || info.Domain != "pubsub.googleapis.com" || info.Metadata["message"] != "Message failed schema validation" ||
		!strings.HasPrefix(info.Metadata["revisionInfo"], "Could not validate message with any schema revision for schema: projects/p/schemas/order, last checked revision: revision_id="+rev.RevisionId+" failed with status: ") {
		t.Errorf("details %v", info)
	}
	pull(t, s) // of a refused request nothing is published

	publish(t, s, `{"n":1}`)
	got := pull(t, s, `{"n":1}`)[0].Message.Attributes
	want := map[string]string{"googclient_schemaname": schemaName, "googclient_schemaencoding": "JSON", "googclient_schemarevisionid": rev.RevisionId}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
}

func TestPublishInBinary(t *testing.T) {
	s := newService(t, Config{})
	must(t, s.CreateSchema, &pubsubpb.CreateSchemaRequest{Parent: "projects/p", SchemaId: "order", Schema: &pubsubpb.Schema{
		Type: pubsubpb.Schema_PROTOCOL_BUFFER, Definition: `syntax = "proto3"; message Order { string text = 1; }`,
	}})
	schemaTopic(t, s, &pubsubpb.SchemaSettings{Encoding: pubsubpb.Encoding_BINARY})
	err := publishError(t, s, "{")
	checkStatus(t, err, codes.InvalidArgument, "schema validation")
	if info, ok := status.Convert(err).Details()[0].(*errdetails.ErrorInfo); !ok || info.Reason != "INVALID_BINARY_PROTO_MESSAGE" {
		t.Errorf("details %v", info)
	}
	publish(t, s, "\x0a\x01a")
	if got := pull(t, s, "\x0a\x01a")[0].Message.Attributes["googclient_schemaencoding"]; got != "BINARY" {
		t.Errorf("encoding %q", got)
	}
}

// Revisions are tried from the newest of the range to the oldest, and none outside of it.
func TestRevisionRange(t *testing.T) {
	one, two, three := `{"n":1}`, `{"n":1,"text":"a"}`, `{"n":1,"text":"a","more":"b"}`
	for _, test := range []struct {
		first, last int // 1 to 3; 0 is open
		want        [3]int
	}{
		{0, 0, [3]int{1, 2, 3}},
		{2, 0, [3]int{0, 2, 3}},
		{0, 2, [3]int{1, 2, 0}},
		{2, 2, [3]int{0, 2, 0}},
	} {
		t.Run(fmt.Sprintf("%d to %d", test.first, test.last), func(t *testing.T) {
			s := newService(t, Config{})
			ids := []string{
				"", createSchema(t, s).RevisionId, commit(t, s, record(optional)).RevisionId,
				commit(t, s, record(optional, strings.ReplaceAll(optional, `"text"`, `"more"`))).RevisionId,
			}
			schemaTopic(t, s, &pubsubpb.SchemaSettings{FirstRevisionId: ids[test.first], LastRevisionId: ids[test.last]})
			for i, text := range []string{one, two, three} {
				if test.want[i] == 0 {
					checkStatus(t, publishError(t, s, text), codes.InvalidArgument, "schema validation")
					continue
				}
				publish(t, s, text)
				got := pull(t, s, text)
				if id := got[0].Message.Attributes["googclient_schemarevisionid"]; id != ids[test.want[i]] {
					t.Errorf("%s: revision %s, want %s", text, id, ids[test.want[i]])
				}
				ack(t, s, got...)
			}
		})
	}
}

// A revision that is committed later counts at once where the range is open.
func TestLaterRevisionCounts(t *testing.T) {
	s := newService(t, Config{})
	createSchema(t, s)
	schemaTopic(t, s, &pubsubpb.SchemaSettings{})
	const text = `{"n":1,"text":"a"}`
	checkStatus(t, publishError(t, s, text), codes.InvalidArgument, "schema validation")
	commit(t, s, record(optional))
	publish(t, s, text)
	pull(t, s, text)
}

func TestDeletedSchema(t *testing.T) {
	s := newService(t, Config{})
	first := createSchema(t, s)
	second := commit(t, s, record(optional))
	schemaTopic(t, s, &pubsubpb.SchemaSettings{FirstRevisionId: first.RevisionId, LastRevisionId: second.RevisionId})
	publish(t, s, `{"n":1}`)
	shown := func() *pubsubpb.SchemaSettings {
		return must(t, s.GetTopic, &pubsubpb.GetTopicRequest{Topic: topicName}).SchemaSettings
	}

	must(t, s.DeleteSchemaRevision, &pubsubpb.DeleteSchemaRevisionRequest{Name: schemaName + "@" + second.RevisionId})
	if got := shown(); got.LastRevisionId != "_deleted-schema-revision_" || got.FirstRevisionId != first.RevisionId || got.Schema != schemaName {
		t.Errorf("after the last revision was deleted: %v", got)
	}
	commit(t, s, record(optional)) // behind the range's end
	checkStatus(t, publishError(t, s, `{"n":1,"text":"a"}`), codes.InvalidArgument, "schema validation")

	must(t, s.DeleteSchemaRevision, &pubsubpb.DeleteSchemaRevisionRequest{Name: schemaName + "@" + first.RevisionId})
	checkStatus(t, publishError(t, s, `{"n":1}`), codes.InvalidArgument, "schema validation") // none of the range is left

	must(t, s.DeleteSchema, &pubsubpb.DeleteSchemaRequest{Name: schemaName})
	createSchema(t, s) // another one, of the same name
	if got := shown(); got.Schema != "_deleted-schema_" || got.FirstRevisionId != "_deleted-schema-revision_" {
		t.Errorf("after the schema was deleted: %v", got)
	}
	checkStatus(t, publishError(t, s, `{"n":1}`), codes.NotFound, "Schema associated with topic deleted.")
	if got := pull(t, s, `{"n":1}`)[0].Message.Attributes; got["googclient_schemaname"] != "_deleted-schema_" || got["googclient_schemarevisionid"] != first.RevisionId {
		t.Errorf("attributes %v", got)
	}

	// The topic can be updated without its schema, and be rid of it.
	update := &pubsubpb.UpdateTopicRequest{
		Topic: &pubsubpb.Topic{Name: topicName, Labels: map[string]string{"a": "b"}}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"labels"}},
	}
	if got := must(t, s.UpdateTopic, update); got.SchemaSettings.Schema != "_deleted-schema_" || got.Labels["a"] != "b" {
		t.Errorf("updated to %v", got)
	}
	update.UpdateMask.Paths = []string{"schema_settings"}
	if got := must(t, s.UpdateTopic, update); got.SchemaSettings != nil {
		t.Errorf("updated to %v", got)
	}
	publish(t, s, "anything")
}

func TestSchemaSettings(t *testing.T) {
	s := newService(t, Config{})
	ctx := t.Context()
	first := createSchema(t, s)
	second := commit(t, s, record(optional))
	create := func(settings *pubsubpb.SchemaSettings) error {
		_, err := s.CreateTopic(ctx, &pubsubpb.Topic{Name: "projects/p/topics/new", SchemaSettings: settings})
		return err
	}
	json := pubsubpb.Encoding_JSON
	checkStatus(t, create(&pubsubpb.SchemaSettings{Schema: "order", Encoding: json}), codes.InvalidArgument, "Invalid resource name")
	checkStatus(t, create(&pubsubpb.SchemaSettings{Schema: "projects/p/schemas/none", Encoding: json}), codes.NotFound, "resource=none")
	checkStatus(t, create(&pubsubpb.SchemaSettings{Schema: schemaName}), codes.InvalidArgument, "Invalid schema encoding provided")
	checkStatus(t, create(&pubsubpb.SchemaSettings{Schema: schemaName, Encoding: json, FirstRevisionId: "12345678"}), codes.NotFound, "First revision could not be found")
	checkStatus(t, create(&pubsubpb.SchemaSettings{Schema: schemaName, Encoding: json, LastRevisionId: "12345678"}), codes.NotFound, "Last revision could not be found")
	checkStatus(t, create(&pubsubpb.SchemaSettings{Schema: schemaName, Encoding: json, FirstRevisionId: second.RevisionId, LastRevisionId: first.RevisionId}),
		codes.InvalidArgument, "First revision creation time is after last revision creation time")

	// A part of the settings can be updated.
	schemaTopic(t, s, &pubsubpb.SchemaSettings{})
	got := must(t, s.UpdateTopic, &pubsubpb.UpdateTopicRequest{
		Topic:      &pubsubpb.Topic{Name: topicName, SchemaSettings: &pubsubpb.SchemaSettings{FirstRevisionId: second.RevisionId}},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"schema_settings.first_revision_id"}},
	})
	if got.SchemaSettings.FirstRevisionId != second.RevisionId || got.SchemaSettings.Schema != schemaName {
		t.Errorf("updated to %v", got)
	}
	checkStatus(t, publishError(t, s, `{"n":1}`), codes.InvalidArgument, "schema validation")
	publish(t, s, `{"n":1,"text":"a"}`)
}

// The copies for a dead-letter topic must fit that topic's schema.
func TestDeadLettersAreValidated(t *testing.T) {
	s := newService(t, Config{})
	createSchema(t, s)
	must(t, s.CreateTopic, &pubsubpb.Topic{Name: topicName})
	must(t, s.CreateTopic, &pubsubpb.Topic{Name: deadName, SchemaSettings: &pubsubpb.SchemaSettings{Schema: schemaName, Encoding: pubsubpb.Encoding_JSON}})
	createSubscription(t, s, func(sub *pubsubpb.Subscription) {
		sub.Name, sub.Topic = "projects/p/subscriptions/dead", deadName
	})
	createSubscription(t, s, func(sub *pubsubpb.Subscription) {
		sub.DeadLetterPolicy = &pubsubpb.DeadLetterPolicy{DeadLetterTopic: deadName, MaxDeliveryAttempts: 5}
	})
	publish(t, s, `{"n":1}`, "no record")
	for range 5 {
		nack(t, s, pull(t, s, `{"n":1}`, "no record")...)
	}
	pull(t, s, "no record") // its copy was refused
	dead := pullFrom(t, s, "projects/p/subscriptions/dead", `{"n":1}`)
	if got := dead[0].Message.Attributes; got["googclient_schemaname"] != schemaName || got["CloudPubSubDeadLetterSourceDeliveryCount"] != "5" {
		t.Errorf("attributes %v", got)
	}
}
