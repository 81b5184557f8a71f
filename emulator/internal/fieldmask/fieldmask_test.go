package fieldmask_test

import (
	"testing"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"waybill.dev/emulator/internal/fieldmask"
)

func TestKnown(t *testing.T) {
	for path, want := range map[string]bool{
		"labels": true, "push_config.oidc_token.audience": true, "pushConfig": false, "labels.a": false, "push_config.": false, "": false, "name.x": false,
	} {
		if got := fieldmask.Known(&pubsubpb.Subscription{}, path); got != want {
			t.Errorf("%q: %v, want %v", path, got, want)
		}
	}
}

func TestCopy(t *testing.T) {
	token := func(audience string) *pubsubpb.PushConfig {
		return &pubsubpb.PushConfig{PushEndpoint: "http://a", AuthenticationMethod: &pubsubpb.PushConfig_OidcToken_{
			OidcToken: &pubsubpb.PushConfig_OidcToken{ServiceAccountEmail: "a@b", Audience: audience},
		}}
	}
	avro := &pubsubpb.CloudStorageConfig{Bucket: "b", OutputFormat: &pubsubpb.CloudStorageConfig_AvroConfig_{AvroConfig: &pubsubpb.CloudStorageConfig_AvroConfig{}}}
	for name, c := range map[string]struct {
		path           string
		dst, src, want *pubsubpb.Subscription
	}{
		"sets":            {"topic", &pubsubpb.Subscription{Filter: "f"}, &pubsubpb.Subscription{Topic: "t", Filter: "g"}, &pubsubpb.Subscription{Topic: "t", Filter: "f"}},
		"clears":          {"topic", &pubsubpb.Subscription{Topic: "t"}, &pubsubpb.Subscription{}, &pubsubpb.Subscription{}},
		"sets inside":     {"push_config.oidc_token.audience", &pubsubpb.Subscription{PushConfig: token("x")}, &pubsubpb.Subscription{PushConfig: token("y")}, &pubsubpb.Subscription{PushConfig: token("y")}},
		"clears inside":   {"push_config.oidc_token.audience", &pubsubpb.Subscription{PushConfig: token("x")}, &pubsubpb.Subscription{}, &pubsubpb.Subscription{PushConfig: token("")}},
		"makes":           {"push_config.push_endpoint", &pubsubpb.Subscription{}, &pubsubpb.Subscription{PushConfig: token("y")}, &pubsubpb.Subscription{PushConfig: &pubsubpb.PushConfig{PushEndpoint: "http://a"}}},
		"makes nothing":   {"push_config.push_endpoint", &pubsubpb.Subscription{}, &pubsubpb.Subscription{}, &pubsubpb.Subscription{}},
		"keeps the oneof": {"cloud_storage_config.text_config", &pubsubpb.Subscription{CloudStorageConfig: avro}, &pubsubpb.Subscription{}, &pubsubpb.Subscription{CloudStorageConfig: avro}},
	} {
		t.Run(name, func(t *testing.T) {
			fieldmask.Copy(c.dst, c.src, c.path)
			if diff := cmp.Diff(c.want, c.dst, protocmp.Transform()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
