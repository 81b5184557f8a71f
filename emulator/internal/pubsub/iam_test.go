package pubsub

import (
	"testing"

	"cloud.google.com/go/iam/apiv1/iampb"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

func TestPolicies(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, nil)
		createSnapshot(t, s)
		createSchema(t, s)
		ctx := t.Context()
		policy := &iampb.Policy{Bindings: []*iampb.Binding{{Role: "roles/pubsub.viewer", Members: []string{"allUsers"}}}}
		resources := []string{topicName, subName, snapName, schemaName}
		for _, name := range resources {
			get := &iampb.GetIamPolicyRequest{Resource: name, Options: &iampb.GetPolicyOptions{RequestedPolicyVersion: 3}}
			if got := must(t, s.GetIamPolicy, get); len(got.Bindings) != 0 || len(got.Etag) == 0 {
				t.Errorf("%s: the first policy is %v", name, got)
			}
			must(t, s.SetIamPolicy, &iampb.SetIamPolicyRequest{Resource: name, Policy: policy, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"bindings", "etag"}}})
			if got := must(t, s.GetIamPolicy, get); got.Bindings[0].Role != "roles/pubsub.viewer" {
				t.Errorf("%s: the policy is %v", name, got)
			}
			permissions := []string{"pubsub.topics.publish", "pubsub.subscriptions.consume"}
			if got := must(t, s.TestIamPermissions, &iampb.TestIamPermissionsRequest{Resource: name, Permissions: permissions}); !cmp.Equal(got.Permissions, permissions) {
				t.Errorf("%s: permissions %v", name, got.Permissions)
			}
			_, err := s.SetIamPolicy(ctx, &iampb.SetIamPolicyRequest{Resource: name, Policy: &iampb.Policy{Etag: []byte("stale")}})
			checkStatus(t, err, codes.Aborted, "concurrent policy changes")
		}

		// A policy ends with its resource.
		must(t, s.DeleteSnapshot, &pubsubpb.DeleteSnapshotRequest{Snapshot: snapName})
		must(t, s.DeleteSubscription, &pubsubpb.DeleteSubscriptionRequest{Subscription: subName})
		must(t, s.DeleteSchema, &pubsubpb.DeleteSchemaRequest{Name: schemaName})
		must(t, s.DeleteTopic, &pubsubpb.DeleteTopicRequest{Topic: topicName})
		for _, name := range resources {
			_, err := s.GetIamPolicy(ctx, &iampb.GetIamPolicyRequest{Resource: name})
			checkStatus(t, err, codes.NotFound, "Resource not found")
		}
		must(t, s.CreateTopic, &pubsubpb.Topic{Name: topicName})
		if got := must(t, s.GetIamPolicy, &iampb.GetIamPolicyRequest{Resource: topicName}); len(got.Bindings) != 0 {
			t.Errorf("a new topic has the old one's policy: %v", got)
		}
	})
}

func TestPolicyRefusals(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		ctx := t.Context()
		for name, code := range map[string]codes.Code{
			"projects/p/topics/none":        codes.NotFound,
			"projects/p/queues/orders":      codes.InvalidArgument,
			"projects/p":                    codes.InvalidArgument,
			"projects/p/topics/orders/more": codes.InvalidArgument,
			"":                              codes.InvalidArgument,
		} {
			_, err := s.GetIamPolicy(ctx, &iampb.GetIamPolicyRequest{Resource: name})
			checkStatus(t, err, code, "")
			_, err = s.SetIamPolicy(ctx, &iampb.SetIamPolicyRequest{Resource: name, Policy: &iampb.Policy{}})
			checkStatus(t, err, code, "")
		}
		_, err := s.GetIamPolicy(ctx, &iampb.GetIamPolicyRequest{Resource: topicName, Options: &iampb.GetPolicyOptions{RequestedPolicyVersion: 2}})
		checkStatus(t, err, codes.InvalidArgument, "It must be 0, 1 or 3.")
		_, err = s.SetIamPolicy(ctx, &iampb.SetIamPolicyRequest{Resource: topicName})
		checkStatus(t, err, codes.InvalidArgument, "The policy is missing")
		_, err = s.TestIamPermissions(ctx, &iampb.TestIamPermissionsRequest{Resource: topicName, Permissions: []string{"pubsub.*"}})
		checkStatus(t, err, codes.InvalidArgument, "wildcard")
		_, err = s.TestIamPermissions(ctx, &iampb.TestIamPermissionsRequest{Resource: "x", Permissions: nil})
		checkStatus(t, err, codes.InvalidArgument, "Invalid resource name")
		// A resource that does not exist is no error here: nobody has a permission on it.
		got := must(t, s.TestIamPermissions, &iampb.TestIamPermissionsRequest{Resource: "projects/p/topics/none", Permissions: []string{"pubsub.topics.get"}})
		if len(got.Permissions) != 0 {
			t.Errorf("permissions %v", got.Permissions)
		}
	})
}
