package pubsub

import (
	"strings"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Limits of Cloud Storage and Bigtable subscriptions.
const (
	minExportDuration     = time.Minute
	maxExportDuration     = 10 * time.Minute
	defaultExportDuration = 5 * time.Minute
	minExportBytes        = 1 << 10
	maxExportBytes        = 10 << 30
	minExportMessages     = 1000
	maxKeyDelimiter       = 50 // bytes
)

// checkExports checks what a subscription writes to. It delivers in one way only.
func checkExports(s *pubsubpb.Subscription) error {
	ways := 0
	for _, set := range []bool{s.GetPushConfig().GetPushEndpoint() != "", s.BigqueryConfig != nil, s.CloudStorageConfig != nil, s.BigtableConfig != nil} {
		if set {
			ways++
		}
	}
	if ways > 1 {
		return invalid("A subscription can have only one of push_config, bigquery_config, cloud_storage_config and bigtable_config.")
	}
	if err := checkBigQuery(s.BigqueryConfig); err != nil {
		return err
	}
	if err := checkCloudStorage(s.CloudStorageConfig); err != nil {
		return err
	}
	return checkBigtable(s.BigtableConfig)
}

func checkBigQuery(c *pubsubpb.BigQueryConfig) error {
	if c == nil {
		return nil
	}
	c.State = pubsubpb.BigQueryConfig_ACTIVE
	parts := strings.Split(c.Table, ".")
	switch {
	case len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "":
		return invalid("Invalid BigQuery table given (table=%.256s). It must be PROJECT.DATASET.TABLE.", c.Table)
	case c.UseTopicSchema && c.UseTableSchema:
		return invalid("use_topic_schema and use_table_schema cannot be enabled at the same time.")
	}
	return nil
}

func checkCloudStorage(c *pubsubpb.CloudStorageConfig) error {
	if c == nil {
		return nil
	}
	c.State = pubsubpb.CloudStorageConfig_ACTIVE
	if c.MaxDuration == nil {
		c.MaxDuration = durationpb.New(defaultExportDuration)
	}
	d := c.MaxDuration.AsDuration()
	switch {
	case c.Bucket == "" || strings.HasPrefix(c.Bucket, "gs://"):
		return invalid("Invalid Cloud Storage bucket given (bucket=%.256s). It must be a name without gs://.", c.Bucket)
	case strings.HasSuffix(c.FilenameSuffix, "/"):
		return invalid("Invalid filename_suffix given (filename_suffix=%.256s). It must not end in \"/\".", c.FilenameSuffix)
	case d < minExportDuration || d > maxExportDuration:
		return invalid("The value for max_duration is out of bounds. You passed %s in the request, but the value must be between %s and %s.",
			showDuration(d), showDuration(minExportDuration), showDuration(maxExportDuration))
	case c.MaxBytes != 0 && (c.MaxBytes < minExportBytes || c.MaxBytes > maxExportBytes):
		return invalid("The value for max_bytes is out of bounds. You passed %d in the request, but the value must be between %d and %d.", c.MaxBytes, minExportBytes, int64(maxExportBytes))
	case c.MaxMessages != 0 && c.MaxMessages < minExportMessages:
		return invalid("The value for max_messages is too small. You passed %d in the request, but the minimum value is %d.", c.MaxMessages, minExportMessages)
	}
	return nil
}

func checkBigtable(c *pubsubpb.BigtableConfig) error {
	if c == nil {
		return nil
	}
	c.State = pubsubpb.BigtableConfig_ACTIVE
	if !matches(c.Table, "projects", "instances", "tables") {
		return invalid("Invalid Bigtable table given (table=%.256s). It must be projects/*/instances/*/tables/*.", c.Table)
	}
	if key := c.GetColumnFamilyMapping().GetDelimitedKey(); key != nil {
		switch n := len(key.Delimiter); {
		case len(key.KeyFields) == 0:
			return invalid("Invalid delimited_key given: key_fields is required.")
		case n > maxKeyDelimiter || n == 0 && len(key.KeyFields) > 1:
			return invalid("Invalid delimited_key given: the delimiter of several key_fields must have 1 to %d bytes.", maxKeyDelimiter)
		}
	}
	return nil
}
