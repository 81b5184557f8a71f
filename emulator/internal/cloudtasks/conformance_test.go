package cloudtasks

import (
	"os"
	"testing"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"cloud.google.com/go/iam/apiv1/iampb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	locationpb "google.golang.org/genproto/googleapis/cloud/location"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"waybill.dev/emulator/internal/conformance"
)

// The document names every method and every field, and a test for each.
func TestConformanceTable(t *testing.T) {
	document, err := os.ReadFile("../../../docs/emulator-cloud-tasks.md")
	if err != nil {
		t.Fatal(err)
	}
	c := conformance.Config{
		Services: []protoreflect.ServiceDescriptor{
			cloudtaskspb.File_google_cloud_tasks_v2_cloudtasks_proto.Services().ByName("CloudTasks"),
			locationpb.File_google_cloud_location_locations_proto.Services().ByName("Locations"),
			longrunningpb.File_google_longrunning_operations_proto.Services().ByName("Operations"),
		},
		Dirs: []string{".", "../rest", "../clienttest"},
	}
	for _, m := range []proto.Message{
		&cloudtaskspb.BatchCreateTasksResponse{}, &cloudtaskspb.BatchCreateTasksMetadata{}, &cloudtaskspb.BatchDeleteTasksMetadata{},
		&iampb.GetIamPolicyRequest{}, &iampb.SetIamPolicyRequest{}, &iampb.TestIamPermissionsRequest{}, &iampb.TestIamPermissionsResponse{},
	} {
		c.Messages = append(c.Messages, m.ProtoReflect().Descriptor())
	}
	if err := conformance.Check(document, c); err != nil {
		t.Error(err)
	}
}
