package pubsub

import (
	"slices"
	"strings"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
)

const (
	maxTransforms = 5 // enabled ones of one topic or subscription

	maxLabels     = 64
	maxLabelBytes = 63 // characters of a key and of a value
)

// checkTopic checks a topic's settings, except that its schema exists, and fills in what the service shows.
func checkTopic(t *pubsubpb.Topic) error {
	t.Tags = nil // input only
	t.SatisfiesPzs = false
	t.State = pubsubpb.Topic_ACTIVE
	if err := checkLabels(t.Labels); err != nil {
		return err
	}
	if p := t.MessageStoragePolicy; p != nil && len(p.AllowedPersistenceRegions) == 0 {
		return invalid("Invalid message storage policy given: allowed_persistence_regions must name a region.")
	}
	if t.KmsKeyName != "" && !matches(t.KmsKeyName, "projects", "locations", "keyRings", "cryptoKeys") {
		return invalid("Invalid KMS key name given (kms_key_name=%.256s). It must be projects/*/locations/*/keyRings/*/cryptoKeys/*.", t.KmsKeyName)
	}
	if err := checkTransforms(t.MessageTransforms); err != nil {
		return err
	}
	if err := checkIngestion(t.IngestionDataSourceSettings); err != nil {
		return err
	}
	if t.MessageRetentionDuration == nil {
		return nil
	}
	return checkRetention(t.MessageRetentionDuration)
}

// matches reports whether name is collection/id/collection/id with these collections.
func matches(name string, collections ...string) bool {
	parts := strings.Split(name, "/")
	if len(parts) != 2*len(collections) {
		return false
	}
	for i, c := range collections {
		if parts[2*i] != c || parts[2*i+1] == "" {
			return false
		}
	}
	return true
}

// checkLabels follows https://cloud.google.com/pubsub/docs/labels.
func checkLabels(labels map[string]string) error {
	if len(labels) > maxLabels {
		return invalid("The value for labels_count is too large. You passed %d in the request, but the maximum value is %d.", len(labels), maxLabels)
	}
	for key, value := range labels {
		if !validLabel(key) || key == "" || !('a' <= key[0] && key[0] <= 'z' || key[0] >= 0x80) {
			return invalid("Invalid label key given (key=%.256s). It must have 1 to %d lowercase letters, digits, underscores and dashes, a letter first.", key, maxLabelBytes)
		}
		if !validLabel(value) {
			return invalid("Invalid label value given (value=%.256s). It may have up to %d lowercase letters, digits, underscores and dashes.", value, maxLabelBytes)
		}
	}
	return nil
}

// validLabel lets international letters through without looking at their case.
func validLabel(s string) bool {
	n := 0
	for _, r := range s {
		n++
		if r < 0x80 && !('a' <= r && r <= 'z') && !isDigit(byte(r)) && r != '_' && r != '-' {
			return false
		}
	}
	return n <= maxLabelBytes
}

func checkTransforms(transforms []*pubsubpb.MessageTransform) error {
	enabled := 0
	names := make(map[string]bool)
	for _, t := range transforms {
		if !t.GetDisabled() {
			enabled++
		}
		switch transform := t.GetTransform().(type) {
		case *pubsubpb.MessageTransform_JavascriptUdf:
			udf := transform.JavascriptUdf
			switch {
			case udf.GetFunctionName() == "" || udf.GetCode() == "":
				return invalid("Invalid JavaScript UDF given: function_name and code are required.")
			case !strings.Contains(udf.GetCode(), udf.GetFunctionName()):
				return invalid("Invalid JavaScript UDF given: the code has no function %s.", udf.GetFunctionName())
			case names[udf.GetFunctionName()]:
				return invalid("Invalid JavaScript UDF given: function_name %s is used twice.", udf.GetFunctionName())
			}
			names[udf.GetFunctionName()] = true
		case *pubsubpb.MessageTransform_Compression:
			if c := transform.Compression; c.GetCompressionAlgorithm() == 0 || c.GetCompressionMode() == 0 {
				return invalid("Invalid compression given: compression_algorithm and compression_mode are required.")
			}
		case *pubsubpb.MessageTransform_AiInference:
			if transform.AiInference.GetEndpoint() == "" {
				return invalid("Invalid AI inference given: endpoint is required.")
			}
		default:
			return invalid("A message transform is empty: set javascript_udf, compression or ai_inference.")
		}
	}
	if enabled > maxTransforms {
		return invalid("At most %d message transforms may be enabled; the request has %d.", maxTransforms, enabled)
	}
	return nil
}

// checkIngestion checks that a source has the fields that its comments require.
func checkIngestion(settings *pubsubpb.IngestionDataSourceSettings) error {
	missing := func(kind string, required ...string) error {
		if slices.Contains(required, "") {
			return invalid("The %s ingestion settings lack a required field.", kind)
		}
		return nil
	}
	switch source := settings.GetSource().(type) {
	case *pubsubpb.IngestionDataSourceSettings_AwsKinesis_:
		s := source.AwsKinesis
		s.State = pubsubpb.IngestionDataSourceSettings_AwsKinesis_STATE_UNSPECIFIED
		return missing("AwsKinesis", s.GetStreamArn(), s.GetConsumerArn(), s.GetAwsRoleArn(), s.GetGcpServiceAccount())
	case *pubsubpb.IngestionDataSourceSettings_CloudStorage_:
		s := source.CloudStorage
		s.State = pubsubpb.IngestionDataSourceSettings_CloudStorage_STATE_UNSPECIFIED
		if d := s.GetTextFormat().GetDelimiter(); len([]rune(d)) > 1 {
			return invalid("Delimiter for Cloud Storage ingestion text format must be a single character. Delimiter provided: %s", d)
		}
		return missing("CloudStorage", s.GetBucket())
	case *pubsubpb.IngestionDataSourceSettings_AzureEventHubs_:
		s := source.AzureEventHubs
		s.State = pubsubpb.IngestionDataSourceSettings_AzureEventHubs_STATE_UNSPECIFIED
		return missing("AzureEventHubs", s.GetNamespace(), s.GetEventHub(), s.GetClientId(), s.GetTenantId(), s.GetSubscriptionId(), s.GetGcpServiceAccount())
	case *pubsubpb.IngestionDataSourceSettings_AwsMsk_:
		s := source.AwsMsk
		s.State = pubsubpb.IngestionDataSourceSettings_AwsMsk_STATE_UNSPECIFIED
		return missing("AwsMsk", s.GetClusterArn(), s.GetTopic(), s.GetAwsRoleArn(), s.GetGcpServiceAccount())
	case *pubsubpb.IngestionDataSourceSettings_ConfluentCloud_:
		s := source.ConfluentCloud
		s.State = pubsubpb.IngestionDataSourceSettings_ConfluentCloud_STATE_UNSPECIFIED
		return missing("ConfluentCloud", s.GetBootstrapServer(), s.GetTopic(), s.GetIdentityPoolId(), s.GetGcpServiceAccount())
	}
	return nil
}
