package pubsub

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

func udf(name string, disabled bool) *pubsubpb.MessageTransform {
	return &pubsubpb.MessageTransform{
		Transform: &pubsubpb.MessageTransform_JavascriptUdf{JavascriptUdf: &pubsubpb.JavaScriptUDF{
			FunctionName: name, Code: "function " + name + "(message, metadata) { return message; }",
		}},
		Disabled: disabled,
	}
}

// setTransforms updates the subscription.
func setTransforms(t *testing.T, s *Service, transforms ...*pubsubpb.MessageTransform) {
	t.Helper()
	got := must(t, s.UpdateSubscription, &pubsubpb.UpdateSubscriptionRequest{
		Subscription: &pubsubpb.Subscription{Name: subName, MessageTransforms: transforms}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"message_transforms"}},
	})
	if len(got.MessageTransforms) != len(transforms) {
		t.Fatalf("stored %v", got.MessageTransforms)
	}
}

const notRun = "which Waybill's Pub/Sub emulator keeps but does not run"

// Nothing is published untransformed as if it had been transformed.
func TestTopicTransforms(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *Service) {
		createSubscription(t, s, nil)
		update := func(transforms ...*pubsubpb.MessageTransform) {
			must(t, s.UpdateTopic, &pubsubpb.UpdateTopicRequest{
				Topic: &pubsubpb.Topic{Name: topicName, MessageTransforms: transforms}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"message_transforms"}},
			})
		}
		update(udf("f", false))
		checkStatus(t, publishError(t, s, "a"), codes.FailedPrecondition, "The topic has message transforms, "+notRun)
		update(udf("f", true))
		publish(t, s, "b")
		update()
		publish(t, s, "c")
		pull(t, s, "b", "c")
	})
}

func TestSubscriptionTransforms(t *testing.T) {
	var log bytes.Buffer
	bubble(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}, func(t *testing.T, s *Service) {
		createSubscription(t, s, nil)
		w := openStream(t, s, &pubsubpb.StreamingPullRequest{})
		setTransforms(t, s, udf("f", false), udf("g", true))
		synctest.Wait()
		checkStatus(t, <-w.result, codes.FailedPrecondition, "The subscription has message transforms, "+notRun)
		publish(t, s, "a", "b")
		_, err := s.Pull(t.Context(), &pubsubpb.PullRequest{Subscription: subName, MaxMessages: 1})
		checkStatus(t, err, codes.FailedPrecondition, notRun)
		if n := strings.Count(log.String(), "messages are kept but not delivered: message transforms are not emulated"); n != 1 {
			t.Errorf("%d lines in the log:\n%s", n, log.String())
		}
		setTransforms(t, s, udf("f", true))
		pull(t, s, "a", "b") // they were kept
	})
}

func TestTransformsStopPushes(t *testing.T) {
	e := &fakeEndpoint{answer: func(int, string) int { return 204 }}
	bubble(t, Config{HTTPClient: &http.Client{Transport: e}}, func(t *testing.T, s *Service) {
		createSubscription(t, s, bare)
		setTransforms(t, s, udf("f", false))
		publish(t, s, "a")
		time.Sleep(time.Hour)
		if got := e.requests(); len(got) != 0 {
			t.Fatalf("pushed %v", got)
		}
		setTransforms(t, s)
		time.Sleep(time.Hour)
		if got := e.requests(); len(got) != 1 {
			t.Fatalf("pushed %v", got)
		}
	})
}

// Exports are kept and shown; what they would write gathers, and cannot be pulled.
func TestExports(t *testing.T) {
	for name, edit := range map[string]func(*pubsubpb.Subscription){
		"BigQuery": func(sub *pubsubpb.Subscription) {
			sub.BigqueryConfig = &pubsubpb.BigQueryConfig{Table: "p.d.t", UseTopicSchema: true, WriteMetadata: true}
		},
		"Cloud Storage": func(sub *pubsubpb.Subscription) {
			sub.CloudStorageConfig = &pubsubpb.CloudStorageConfig{Bucket: "b", FilenameSuffix: ".txt"}
		},
		"Bigtable": func(sub *pubsubpb.Subscription) {
			sub.BigtableConfig = &pubsubpb.BigtableConfig{Table: "projects/p/instances/i/tables/t"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			bubble(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}, func(t *testing.T, s *Service) {
				created := createSubscription(t, s, edit)
				if exports(created) != name || created.State != pubsubpb.Subscription_ACTIVE {
					t.Errorf("created %v", created)
				}
				publish(t, s, "a", "b")
				_, err := s.Pull(t.Context(), &pubsubpb.PullRequest{Subscription: subName, MaxMessages: 1})
				checkStatus(t, err, codes.FailedPrecondition, "This method is not supported for this subscription type.")
				if n := strings.Count(log.String(), "messages are kept but not written: exports are not emulated"); n != 1 || !strings.Contains(log.String(), name) {
					t.Errorf("%d lines in the log:\n%s", n, log.String())
				}
				must(t, s.UpdateSubscription, &pubsubpb.UpdateSubscriptionRequest{
					Subscription: &pubsubpb.Subscription{Name: subName},
					UpdateMask:   &fieldmaskpb.FieldMask{Paths: []string{"bigquery_config", "cloud_storage_config", "bigtable_config"}},
				})
				pull(t, s, "a", "b")
			})
		})
	}
}

func TestIngestionIsKept(t *testing.T) {
	var log bytes.Buffer
	s := newService(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	settings := &pubsubpb.IngestionDataSourceSettings{Source: &pubsubpb.IngestionDataSourceSettings_CloudStorage_{
		CloudStorage: &pubsubpb.IngestionDataSourceSettings_CloudStorage{Bucket: "b"},
	}}
	must(t, s.CreateTopic, &pubsubpb.Topic{Name: topicName, IngestionDataSourceSettings: settings})
	if got := must(t, s.GetTopic, &pubsubpb.GetTopicRequest{Topic: topicName}); got.IngestionDataSourceSettings.GetCloudStorage().GetBucket() != "b" {
		t.Errorf("kept %v", got)
	}
	if !strings.Contains(log.String(), "ingestion is not emulated") {
		t.Errorf("log:\n%s", log.String())
	}
	createSubscription(t, s, nil)
	publish(t, s, "a") // one may still publish by hand
	pull(t, s, "a")
}
