package cloudtasks

import (
	"log/slog"
	"testing"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"cloud.google.com/go/iam/apiv1/iampb"
	"github.com/google/go-cmp/cmp"
	locationpb "google.golang.org/genproto/googleapis/cloud/location"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"waybill.dev/emulator/internal/clock"
)

// newBenchEngine is an engine with queue a, for benchmarks.
func newBenchEngine(b *testing.B) (s service, stop func()) {
	b.Helper()
	c := clock.New()
	s = service{Engine: New(Config{Clock: c, Signer: fakeSigner{}, Logger: slog.New(slog.DiscardHandler)})}
	if _, err := s.CreateQueue(b.Context(), &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{Name: queueA}}); err != nil {
		b.Fatal(err)
	}
	return s, func() {
		if err := s.Close(b.Context()); err != nil {
			b.Error(err)
		}
		c.Close()
	}
}

func TestLocations(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.config.Location = "us-central1"
		for _, name := range []string{"projects/shop/locations/europe-west1", "projects/shop/locations/asia-east1", "projects/other/locations/us-east1"} {
			_, err := b.CreateQueue(b.ctx, &cloudtaskspb.CreateQueueRequest{Parent: name, Queue: &cloudtaskspb.Queue{Name: name + "/queues/a"}})
			b.must(err)
		}
		server := locations{Engine: b.Engine}
		list := func(r *locationpb.ListLocationsRequest) (ids []string, token string) {
			t.Helper()
			got, err := server.ListLocations(b.ctx, r)
			b.must(err)
			for _, l := range got.GetLocations() {
				ids = append(ids, l.GetLocationId())
			}
			return ids, got.GetNextPageToken()
		}
		ids, token := list(&locationpb.ListLocationsRequest{Name: "projects/shop"})
		if diff := cmp.Diff([]string{"asia-east1", "europe-west1", "us-central1"}, ids); diff != "" || token != "" {
			t.Errorf("token %q (-want +got):\n%s", token, diff)
		}
		ids, token = list(&locationpb.ListLocationsRequest{Name: "projects/shop", PageSize: 2})
		rest, last := list(&locationpb.ListLocationsRequest{Name: "projects/shop", PageSize: 2, PageToken: token})
		if len(ids) != 2 || len(rest) != 1 || token == "" || last != "" {
			t.Errorf("pages %v, %v, tokens %q, %q", ids, rest, token, last)
		}
		if ids, _ = list(&locationpb.ListLocationsRequest{Name: "projects/shop", Filter: "location_id:europe-west1"}); !cmp.Equal(ids, []string{"europe-west1"}) {
			t.Errorf("filtered: %v", ids)
		}
		got, err := server.GetLocation(b.ctx, &locationpb.GetLocationRequest{Name: "projects/shop/locations/us-east1"})
		b.must(err)
		want := &locationpb.Location{Name: "projects/shop/locations/us-east1", LocationId: "us-east1", Labels: map[string]string{"cloud.googleapis.com/region": "us-east1"}}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		_, err = server.GetLocation(b.ctx, &locationpb.GetLocationRequest{Name: "us-east1"})
		wantError(t, err, codes.InvalidArgument, `"us-east1" is not a location name`)
		wantField(t, err, "name")
		_, err = server.ListLocations(b.ctx, &locationpb.ListLocationsRequest{Name: "shop"})
		wantError(t, err, codes.InvalidArgument, `"shop" is not a project name`)
		wantField(t, err, "name")
	})
}

func TestCmekConfig(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		const name = location + "/cmekConfig"
		const key = "projects/keys/locations/us-central1/keyRings/ring_1/cryptoKeys/key-1"
		check := func(got *cloudtaskspb.CmekConfig, err error, key string) {
			t.Helper()
			b.must(err)
			if diff := cmp.Diff(&cloudtaskspb.CmekConfig{Name: name, KmsKey: key}, got, protocmp.Transform()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
		get := func() (*cloudtaskspb.CmekConfig, error) {
			return b.GetCmekConfig(b.ctx, &cloudtaskspb.GetCmekConfigRequest{Name: name})
		}
		update := func(key string, paths ...string) (*cloudtaskspb.CmekConfig, error) {
			return b.UpdateCmekConfig(b.ctx, &cloudtaskspb.UpdateCmekConfigRequest{
				CmekConfig: &cloudtaskspb.CmekConfig{Name: name, KmsKey: key},
				UpdateMask: &fieldmaskpb.FieldMask{Paths: paths},
			})
		}
		got, err := get()
		check(got, err, "")
		got, err = update(key)
		check(got, err, key)
		got, err = update("", "name")
		check(got, err, key)
		got, err = get()
		check(got, err, key)
		got, err = update("", "kmsKey")
		check(got, err, "")
		_, err = update("my-key")
		wantError(t, err, codes.InvalidArgument, "CmekConfig.kmsKey must be formatted")
		wantField(t, err, "cmek_config.kms_key")
		_, err = update(key, "key")
		wantError(t, err, codes.InvalidArgument, `updateMask has the unknown field "key".`)
		_, err = b.GetCmekConfig(b.ctx, &cloudtaskspb.GetCmekConfigRequest{Name: location})
		wantError(t, err, codes.InvalidArgument, `"`+location+`" is not the name of a CMEK configuration`)
		_, err = b.UpdateCmekConfig(b.ctx, &cloudtaskspb.UpdateCmekConfigRequest{})
		wantField(t, err, "cmek_config.name")
	})
}

func TestIAMEtagsMasksAndErrors(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(nil, nil)
		set := func(policy *iampb.Policy, paths ...string) (*iampb.Policy, error) {
			r := &iampb.SetIamPolicyRequest{Resource: queueA, Policy: policy}
			if paths != nil {
				r.UpdateMask = &fieldmaskpb.FieldMask{Paths: paths}
			}
			return b.SetIamPolicy(b.ctx, r)
		}
		first, err := set(&iampb.Policy{Bindings: []*iampb.Binding{{Role: "roles/cloudtasks.viewer", Members: []string{"allUsers"}}}})
		b.must(err)
		_, err = set(&iampb.Policy{Etag: first.GetEtag(), Bindings: nil})
		b.must(err)
		_, err = set(&iampb.Policy{Etag: first.GetEtag()})
		wantError(t, err, codes.Aborted, "There were concurrent policy changes.")
		_, err = set(&iampb.Policy{}, "nothing")
		wantError(t, err, codes.InvalidArgument, "Invalid update_mask")
		_, err = set(nil)
		wantError(t, err, codes.InvalidArgument, "The policy is missing")
		for what, call := range map[string]func() error{
			"get": func() error {
				_, err := b.GetIamPolicy(b.ctx, &iampb.GetIamPolicyRequest{Resource: location + "/queues/b", Options: &iampb.GetPolicyOptions{RequestedPolicyVersion: 3}})
				return err
			},
			"set": func() error {
				_, err := b.SetIamPolicy(b.ctx, &iampb.SetIamPolicyRequest{Resource: location + "/queues/b", Policy: &iampb.Policy{}})
				return err
			},
		} {
			t.Run(what, func(t *testing.T) { wantError(t, call(), codes.NotFound, "Queue does not exist.") })
		}
		_, err = b.TestIamPermissions(b.ctx, &iampb.TestIamPermissionsRequest{Resource: queueA, Permissions: []string{"cloudtasks.*"}})
		wantError(t, err, codes.InvalidArgument, "Permission cloudtasks.*")
		_, err = b.TestIamPermissions(b.ctx, &iampb.TestIamPermissionsRequest{Resource: "queues/a"})
		wantError(t, err, codes.InvalidArgument, "Queue name must be formatted")

		// A queue that is made again has no policy.
		_, err = b.DeleteQueue(b.ctx, &cloudtaskspb.DeleteQueueRequest{Name: queueA})
		b.must(err)
		b.queue(nil, nil)
		got, err := b.GetIamPolicy(b.ctx, &iampb.GetIamPolicyRequest{Resource: queueA})
		b.must(err)
		if len(got.GetBindings()) != 0 {
			t.Errorf("the policy of the queue before: %v", got)
		}
	})
}
