package pubsub

import (
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// fullTopic and fullSubscription set every field that a request may set.
func fullTopic() *pubsubpb.Topic {
	return &pubsubpb.Topic{
		Name:                     topicName,
		Labels:                   map[string]string{"team": "shop"},
		MessageStoragePolicy:     &pubsubpb.MessageStoragePolicy{AllowedPersistenceRegions: []string{"europe-west1"}, EnforceInTransit: true},
		KmsKeyName:               "projects/p/locations/l/keyRings/r/cryptoKeys/k",
		SchemaSettings:           &pubsubpb.SchemaSettings{Schema: schemaName, Encoding: pubsubpb.Encoding_JSON},
		MessageRetentionDuration: durationpb.New(time.Hour),
		IngestionDataSourceSettings: &pubsubpb.IngestionDataSourceSettings{
			Source: &pubsubpb.IngestionDataSourceSettings_AwsKinesis_{AwsKinesis: &pubsubpb.IngestionDataSourceSettings_AwsKinesis{
				StreamArn: "a", ConsumerArn: "b", AwsRoleArn: "c", GcpServiceAccount: "d",
			}},
			PlatformLogsSettings: &pubsubpb.PlatformLogsSettings{Severity: pubsubpb.PlatformLogsSettings_WARNING},
		},
		MessageTransforms: []*pubsubpb.MessageTransform{udf("f", false)},
		Tags:              map[string]string{"123/environment": "production"},
		SatisfiesPzs:      true,
	}
}

func fullSubscription() *pubsubpb.Subscription {
	return &pubsubpb.Subscription{
		Name:  subName,
		Topic: topicName,
		PushConfig: &pubsubpb.PushConfig{
			PushEndpoint:         "https://example.com/push",
			AuthenticationMethod: &pubsubpb.PushConfig_OidcToken_{OidcToken: &pubsubpb.PushConfig_OidcToken{ServiceAccountEmail: "a@example.com", Audience: "x"}},
			Wrapper:              &pubsubpb.PushConfig_NoWrapper_{NoWrapper: &pubsubpb.PushConfig_NoWrapper{WriteMetadata: true}},
		},
		AckDeadlineSeconds:       20,
		RetainAckedMessages:      true,
		MessageRetentionDuration: durationpb.New(time.Hour),
		Labels:                   map[string]string{"team": "shop"},
		EnableMessageOrdering:    true,
		ExpirationPolicy:         &pubsubpb.ExpirationPolicy{Ttl: durationpb.New(48 * time.Hour)},
		Filter:                   "attributes:k",
		DeadLetterPolicy:         &pubsubpb.DeadLetterPolicy{DeadLetterTopic: deadName, MaxDeliveryAttempts: 7},
		RetryPolicy:              &pubsubpb.RetryPolicy{MinimumBackoff: durationpb.New(time.Second), MaximumBackoff: durationpb.New(time.Minute)},
		MessageTransforms:        []*pubsubpb.MessageTransform{udf("f", false)},
		Tags:                     map[string]string{"123/environment": "production"},
	}
}

// Every field that can be set at creation comes back by Create, Get and List; tags are input only.
func TestEveryFieldIsKept(t *testing.T) {
	s := newService(t, Config{})
	createSchema(t, s)
	must(t, s.CreateTopic, &pubsubpb.Topic{Name: deadName})

	want := fullTopic()
	want.Tags, want.SatisfiesPzs, want.State = nil, false, pubsubpb.Topic_ACTIVE
	for _, got := range []*pubsubpb.Topic{
		must(t, s.CreateTopic, fullTopic()),
		must(t, s.GetTopic, &pubsubpb.GetTopicRequest{Topic: topicName}),
		must(t, s.ListTopics, &pubsubpb.ListTopicsRequest{Project: "projects/p"}).Topics[1],
	} {
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("topic (-want +got):\n%s", diff)
		}
	}

	sub := fullSubscription()
	sub.Tags, sub.State, sub.TopicMessageRetentionDuration = nil, pubsubpb.Subscription_ACTIVE, durationpb.New(time.Hour)
	created := must(t, s.CreateSubscription, fullSubscription())
	delete(created.PushConfig.Attributes, "x-goog-version")
	for _, got := range []*pubsubpb.Subscription{
		created,
		must(t, s.GetSubscription, &pubsubpb.GetSubscriptionRequest{Subscription: subName}),
		must(t, s.ListSubscriptions, &pubsubpb.ListSubscriptionsRequest{Project: "projects/p"}).Subscriptions[0],
	} {
		if diff := cmp.Diff(sub, got, protocmp.Transform()); diff != "" {
			t.Errorf("subscription (-want +got):\n%s", diff)
		}
	}
}

// Every field of a topic and of a subscription is either updated by a mask of its name, and alone, or refused.
func TestEveryFieldIsUpdatedOrRefused(t *testing.T) {
	immutable := []string{"name", "topic", "enable_message_ordering", "filter", "detached", "state", "tags", "satisfies_pzs", "topic_message_retention_duration", "analytics_hub_subscription_info"}
	s := newService(t, Config{})
	createSchema(t, s)
	must(t, s.CreateTopic, &pubsubpb.Topic{Name: deadName})
	must(t, s.CreateTopic, &pubsubpb.Topic{Name: topicName})
	createSubscription(t, s, nil)

	full := fullSubscription()
	check := func(resource proto.Message, update func(path string) (proto.Message, error)) {
		fields := resource.ProtoReflect().Descriptor().Fields()
		for i := range fields.Len() {
			field := fields.Get(i)
			name := string(field.Name())
			got, err := update(name)
			if slices.Contains(immutable, name) {
				checkStatus(t, err, codes.InvalidArgument, "the '"+name+"' field in the ")
				continue
			}
			if err != nil {
				t.Errorf("update of %s: %v", name, err)
				continue
			}
			if diff := cmp.Diff(valueOf(resource, field), valueOf(got, field), protocmp.Transform()); diff != "" {
				t.Errorf("update of %s (-want +got):\n%s", name, diff)
			}
		}
	}
	topic := fullTopic()
	check(topic, func(path string) (proto.Message, error) {
		return s.UpdateTopic(t.Context(), &pubsubpb.UpdateTopicRequest{Topic: topic, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{path}}})
	})
	check(full, func(path string) (proto.Message, error) {
		return s.UpdateSubscription(t.Context(), &pubsubpb.UpdateSubscriptionRequest{Subscription: full, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{path}}})
	})
	// What excludes a push endpoint.
	must(t, s.ModifyPushConfig, &pubsubpb.ModifyPushConfigRequest{Subscription: subName})
	got := must(t, s.UpdateSubscription, &pubsubpb.UpdateSubscriptionRequest{
		Subscription: &pubsubpb.Subscription{Name: subName, EnableExactlyOnceDelivery: true}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"enable_exactly_once_delivery"}},
	})
	if !got.EnableExactlyOnceDelivery {
		t.Error("exactly-once delivery was not enabled")
	}
}

// valueOf is a message with only that field set, so that two of them compare.
func valueOf(m proto.Message, field protoreflect.FieldDescriptor) proto.Message {
	out := m.ProtoReflect().New()
	if m.ProtoReflect().Has(field) {
		out.Set(field, m.ProtoReflect().Get(field))
	}
	return out.Interface()
}

func TestTopicSettings(t *testing.T) {
	long := strings.Repeat("a", 64)
	many := make(map[string]string)
	for i := range 65 {
		many["a"+strings.Repeat("b", i%60)+string(rune('a'+i/60))] = ""
	}
	six := []*pubsubpb.MessageTransform{udf("a", false), udf("b", false), udf("c", false), udf("d", false), udf("e", false), udf("f", false)}
	ingest := func(source *pubsubpb.IngestionDataSourceSettings) *pubsubpb.Topic {
		return &pubsubpb.Topic{IngestionDataSourceSettings: source}
	}
	for want, topic := range map[string]*pubsubpb.Topic{
		"between 10m and 744h.":                                   {MessageRetentionDuration: durationpb.New(time.Minute)},
		"Invalid label key given (key=A)":                         {Labels: map[string]string{"A": ""}},
		"(key=1)":                                                 {Labels: map[string]string{"1": ""}},
		"(key=)":                                                  {Labels: map[string]string{"": ""}},
		"(key=" + long + ")":                                      {Labels: map[string]string{long: ""}},
		"label value given (value=B)":                             {Labels: map[string]string{"a": "B"}},
		"(value=" + long + ")":                                    {Labels: map[string]string{"a": long}},
		"the maximum value is 64.":                                {Labels: many},
		"must name a region":                                      {MessageStoragePolicy: &pubsubpb.MessageStoragePolicy{}},
		"Invalid KMS key name given (kms_key_name=k)":             {KmsKeyName: "k"},
		"At most 5 message transforms":                            {MessageTransforms: six},
		"function_name f is used twice":                           {MessageTransforms: []*pubsubpb.MessageTransform{udf("f", true), udf("f", true)}},
		"function_name and code are required":                     {MessageTransforms: []*pubsubpb.MessageTransform{udf("", true)}},
		"A message transform is empty":                            {MessageTransforms: []*pubsubpb.MessageTransform{{}}},
		"compression_algorithm and compression_mode are required": {MessageTransforms: []*pubsubpb.MessageTransform{{Transform: &pubsubpb.MessageTransform_Compression{}}}},
		"endpoint is required":                                    {MessageTransforms: []*pubsubpb.MessageTransform{{Transform: &pubsubpb.MessageTransform_AiInference{}}}},
		"The AwsKinesis ingestion settings lack":                  ingest(&pubsubpb.IngestionDataSourceSettings{Source: &pubsubpb.IngestionDataSourceSettings_AwsKinesis_{AwsKinesis: &pubsubpb.IngestionDataSourceSettings_AwsKinesis{}}}),
		"The CloudStorage ingestion settings lack":                ingest(&pubsubpb.IngestionDataSourceSettings{Source: &pubsubpb.IngestionDataSourceSettings_CloudStorage_{CloudStorage: &pubsubpb.IngestionDataSourceSettings_CloudStorage{}}}),
		"The AzureEventHubs ingestion settings lack":              ingest(&pubsubpb.IngestionDataSourceSettings{Source: &pubsubpb.IngestionDataSourceSettings_AzureEventHubs_{AzureEventHubs: &pubsubpb.IngestionDataSourceSettings_AzureEventHubs{}}}),
		"The AwsMsk ingestion settings lack":                      ingest(&pubsubpb.IngestionDataSourceSettings{Source: &pubsubpb.IngestionDataSourceSettings_AwsMsk_{AwsMsk: &pubsubpb.IngestionDataSourceSettings_AwsMsk{}}}),
		"The ConfluentCloud ingestion settings lack":              ingest(&pubsubpb.IngestionDataSourceSettings{Source: &pubsubpb.IngestionDataSourceSettings_ConfluentCloud_{ConfluentCloud: &pubsubpb.IngestionDataSourceSettings_ConfluentCloud{}}}),
	} {
		s := newService(t, Config{})
		topic.Name = topicName
		_, err := s.CreateTopic(t.Context(), topic)
		checkStatus(t, err, codes.InvalidArgument, want)
	}
	s := newService(t, Config{})
	must(t, s.CreateTopic, &pubsubpb.Topic{Name: topicName, Labels: map[string]string{"über": "straße", "a-b_1": "", long[1:]: long[1:]}})
}

func TestExportSettings(t *testing.T) {
	bigQuery := func(c *pubsubpb.BigQueryConfig) *pubsubpb.Subscription {
		return &pubsubpb.Subscription{BigqueryConfig: c}
	}
	storage := func(edit func(*pubsubpb.CloudStorageConfig)) *pubsubpb.Subscription {
		c := &pubsubpb.CloudStorageConfig{Bucket: "b"}
		edit(c)
		return &pubsubpb.Subscription{CloudStorageConfig: c}
	}
	keys := func(fields int, delimiter string) *pubsubpb.Subscription {
		return &pubsubpb.Subscription{BigtableConfig: &pubsubpb.BigtableConfig{
			Table: "projects/p/instances/i/tables/t",
			MessageMapping: &pubsubpb.BigtableConfig_ColumnFamilyMapping_{ColumnFamilyMapping: &pubsubpb.BigtableConfig_ColumnFamilyMapping{
				KeyDefinition: &pubsubpb.BigtableConfig_ColumnFamilyMapping_DelimitedKey_{DelimitedKey: &pubsubpb.BigtableConfig_ColumnFamilyMapping_DelimitedKey{
					KeyFields: make([]string, fields), Delimiter: []byte(delimiter),
				}},
			}},
		}}
	}
	both := storage(func(*pubsubpb.CloudStorageConfig) {})
	both.PushConfig = &pubsubpb.PushConfig{PushEndpoint: "http://localhost/"}
	for _, test := range []struct {
		sub  *pubsubpb.Subscription
		want string
	}{
		{bigQuery(&pubsubpb.BigQueryConfig{Table: "d.t"}), "Invalid BigQuery table given (table=d.t)"},
		{bigQuery(&pubsubpb.BigQueryConfig{Table: "p.d.t", UseTopicSchema: true, UseTableSchema: true}), "cannot be enabled at the same time"},
		{storage(func(c *pubsubpb.CloudStorageConfig) { c.Bucket = "gs://b" }), "without gs://"},
		{storage(func(c *pubsubpb.CloudStorageConfig) { c.Bucket = "" }), "Invalid Cloud Storage bucket"},
		{storage(func(c *pubsubpb.CloudStorageConfig) { c.FilenameSuffix = "a/" }), "must not end in"},
		{storage(func(c *pubsubpb.CloudStorageConfig) { c.MaxDuration = durationpb.New(time.Second) }), "You passed 1s in the request, but the value must be between 1m and 10m."},
		{storage(func(c *pubsubpb.CloudStorageConfig) { c.MaxBytes = 1 }), "between 1024 and 10737418240."},
		{storage(func(c *pubsubpb.CloudStorageConfig) { c.MaxMessages = 999 }), "the minimum value is 1000."},
		{both, "only one of"},
		{&pubsubpb.Subscription{BigtableConfig: &pubsubpb.BigtableConfig{Table: "t"}}, "Invalid Bigtable table"},
		{keys(0, ""), "key_fields is required"},
		{keys(2, ""), "1 to 50 bytes"},
		{keys(1, strings.Repeat("-", 51)), "1 to 50 bytes"},
		{keys(1, ""), ""},
		{keys(2, "-"), ""},
		{storage(func(c *pubsubpb.CloudStorageConfig) {
			c.MaxBytes, c.MaxMessages, c.MaxDuration = 1<<20, 1000, durationpb.New(time.Minute)
		}), ""},
	} {
		s := newService(t, Config{})
		must(t, s.CreateTopic, &pubsubpb.Topic{Name: topicName})
		test.sub.Name, test.sub.Topic = subName, topicName
		_, err := s.CreateSubscription(t.Context(), test.sub)
		if test.want == "" {
			if err != nil {
				t.Errorf("%v: %v", test.sub, err)
			}
			continue
		}
		checkStatus(t, err, codes.InvalidArgument, test.want)
	}
}

func TestPushAttributes(t *testing.T) {
	s := newService(t, Config{})
	must(t, s.CreateTopic, &pubsubpb.Topic{Name: topicName})
	createSubscription(t, s, nil)
	for attribute, want := range map[string]string{
		"x-goog-version=v1":      "",
		"x-goog-version=v1beta2": "",
		"x-goog-version=v1beta1": "does not push in the format v1beta1",
		"x-goog-version=v2":      "Invalid x-goog-version given (x-goog-version=v2)",
		"other=x":                "The only supported attribute is x-goog-version.",
	} {
		key, value, _ := strings.Cut(attribute, "=")
		_, err := s.ModifyPushConfig(t.Context(), &pubsubpb.ModifyPushConfigRequest{Subscription: subName, PushConfig: &pubsubpb.PushConfig{
			PushEndpoint: "http://localhost:1/", Attributes: map[string]string{key: value},
		}})
		if want == "" {
			if err != nil {
				t.Errorf("%s: %v", attribute, err)
			}
			if got := must(t, s.GetSubscription, &pubsubpb.GetSubscriptionRequest{Subscription: subName}); len(got.PushConfig.Attributes) != 0 {
				t.Errorf("%s is shown as %v", attribute, got.PushConfig.Attributes)
			}
			continue
		}
		checkStatus(t, err, codes.InvalidArgument, want)
	}
}

// update is a request that changes the test's subscription.
func update(to *pubsubpb.Subscription, paths ...string) *pubsubpb.UpdateSubscriptionRequest {
	to.Name = subName
	return &pubsubpb.UpdateSubscriptionRequest{Subscription: to, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}}
}
