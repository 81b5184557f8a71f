package differential

import (
	"fmt"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
)

func (g *generator) schema() string { return g.anyName("schemas") }

// definition is a schema that is good, one that is good as a later revision, or none.
func (g *generator) definition(kind pubsubpb.Schema_Type) string {
	avro := []string{
		`{"type":"record","name":"Order","fields":[{"name":"id","type":"string"}]}`,
		`{"type":"record","name":"Order","fields":[{"name":"id","type":"string"},{"name":"n","type":"int","default":0}]}`,
		`{"type":"record","name":"Order","fields":[{"name":"id"}]}`,
		`{`, ``,
	}
	protobuf := []string{
		`syntax = "proto3"; message Order { string id = 1; }`,
		`syntax = "proto3"; message Order { string id = 1; int32 n = 2; }`,
		`syntax = "proto3"; message Order { string id = 1 }`,
		`message`, ``,
	}
	i := pick(g, 0, 0, 0, 1, 1, 2, 3, 4)
	if kind == pubsubpb.Schema_AVRO {
		return avro[i]
	}
	return protobuf[i]
}

func (g *generator) newSchema(name string) *pubsubpb.Schema {
	kind := pubsubpb.Schema_AVRO
	if g.rarely(20) {
		kind = pubsubpb.Schema_PROTOCOL_BUFFER // Google's emulator has none
	}
	return &pubsubpb.Schema{Name: name, Type: kind, Definition: g.definition(kind)}
}

func (g *generator) schemaOperation() operation {
	return g.choose(
		choice{5, func() operation {
			return one(&pubsubpb.CreateSchemaRequest{Parent: g.project, SchemaId: fmt.Sprintf("schema-%d", pick(g, 0, 0, 1)), Schema: g.newSchema("")})
		}},
		choice{3, func() operation {
			return one(&pubsubpb.GetSchemaRequest{Name: g.schema() + pick(g, "", "", "@REVISION 0", "@0000dead"), View: pick(g, pubsubpb.SchemaView_BASIC, pubsubpb.SchemaView_FULL)})
		}},
		choice{2, func() operation {
			name := g.schema()
			return one(&pubsubpb.CommitSchemaRequest{Name: name, Schema: g.newSchema(name)})
		}},
		choice{1, func() operation {
			return one(&pubsubpb.RollbackSchemaRequest{Name: g.schema(), RevisionId: pick(g, "REVISION 0", "REVISION 1", "0000dead")})
		}},
		choice{1, func() operation {
			return one(&pubsubpb.DeleteSchemaRevisionRequest{Name: g.schema() + "@" + pick(g, "REVISION 0", "REVISION 1", "0000dead")})
		}},
		choice{1, func() operation { return one(&pubsubpb.DeleteSchemaRequest{Name: g.schema()}) }},
		choice{1, func() operation {
			return g.list(&pubsubpb.ListSchemasRequest{Parent: g.project, View: pubsubpb.SchemaView_FULL})
		}},
		choice{1, func() operation {
			return g.list(&pubsubpb.ListSchemaRevisionsRequest{Name: g.schema(), View: pubsubpb.SchemaView_FULL})
		}},
		choice{2, func() operation {
			return one(&pubsubpb.ValidateSchemaRequest{Parent: g.project, Schema: g.newSchema("")})
		}},
		choice{3, func() operation {
			request := &pubsubpb.ValidateMessageRequest{Parent: g.project, Encoding: pick(g, pubsubpb.Encoding_JSON, pubsubpb.Encoding_BINARY)}
			request.Message = pick(g, []byte(`{"id":"1"}`), []byte(`{"id":1}`), []byte(`{`), []byte("\x0a\x011"), []byte("\x021"), nil)
			if g.rarely(2) {
				request.SchemaSpec = &pubsubpb.ValidateMessageRequest_Name{Name: g.schema()}
			} else {
				request.SchemaSpec = &pubsubpb.ValidateMessageRequest_Schema{Schema: g.newSchema("")}
			}
			return one(request)
		}},
	)
}
