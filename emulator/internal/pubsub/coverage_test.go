package pubsub

import (
	"os"
	"testing"

	"cloud.google.com/go/iam/apiv1/iampb"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/reflect/protoreflect"

	"waybill.dev/emulator/internal/conformance"
)

// The document has a row for every method and field, and every test that it names exists.
func TestDocumentIsComplete(t *testing.T) {
	document, err := os.ReadFile("../../../docs/emulator-pubsub.md")
	if err != nil {
		t.Fatal(err)
	}
	err = conformance.Check(document, conformance.Config{
		Services: []protoreflect.ServiceDescriptor{
			pubsubpb.File_google_pubsub_v1_pubsub_proto.Services().ByName("Publisher"),
			pubsubpb.File_google_pubsub_v1_pubsub_proto.Services().ByName("Subscriber"),
			pubsubpb.File_google_pubsub_v1_schema_proto.Services().ByName("SchemaService"),
			iampb.File_google_iam_v1_iam_policy_proto.Services().ByName("IAMPolicy"),
		},
		Dirs: []string{".", "endpoint", "../schema", "../iam", "../rest"},
	})
	if err != nil {
		t.Error(err)
	}
}
