package pubsub

import (
	"log/slog"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// admission is what a topic asks of the messages that are published to it. It does not change.
type admission struct {
	transformed bool // it has transforms, which are not emulated
	schema      schemaRange
	encoding    pubsubpb.Encoding
}

// newAdmission returns nil for a topic that takes every message.
func newAdmission(config *pubsubpb.Topic, schema schemaRange) *admission {
	a := &admission{
		transformed: transformed(config.GetMessageTransforms()),
		schema:      schema,
		encoding:    config.GetSchemaSettings().GetEncoding(),
	}
	if !a.transformed && schema.schema == nil {
		return nil
	}
	return a
}

// check refuses all messages if one is not welcome, and gives them the attributes that name their schema.
func (a *admission) check(messages []*pubsubpb.PubsubMessage) error {
	if a.transformed {
		return errTransforms("The topic")
	}
	return a.schema.check(messages, a.encoding)
}

// transformed reports whether a transform is enabled.
func transformed(transforms []*pubsubpb.MessageTransform) bool {
	for _, t := range transforms {
		if !t.GetDisabled() {
			return true
		}
	}
	return false
}

// errTransforms says why nothing passes: a message must not pass untransformed as if it had been.
func errTransforms(what string) error {
	return status.Errorf(codes.FailedPrecondition, "%s has message transforms, which Waybill's Pub/Sub emulator keeps but does not run. Disable them (disabled: true) to let messages pass unchanged.", what)
}

// refusal is why nothing of a subscription is delivered, though messages gather in it; nil if it is.
func refusal(config *pubsubpb.Subscription) error {
	switch {
	case transformed(config.GetMessageTransforms()):
		return errTransforms("The subscription")
	case exports(config) != "":
		return errWrongType()
	}
	return nil
}

// exports is the service that a subscription writes to, "" for pull and push.
func exports(config *pubsubpb.Subscription) string {
	switch {
	case config.GetBigqueryConfig() != nil:
		return "BigQuery"
	case config.GetCloudStorageConfig() != nil:
		return "Cloud Storage"
	case config.GetBigtableConfig() != nil:
		return "Bigtable"
	}
	return ""
}

// warnRefused logs, once until the configuration changes, that messages gather and go nowhere.
func (s *subscription) warnRefused() {
	if s.refusalLogged {
		return
	}
	s.refusalLogged = true
	if to := exports(s.config); to != "" {
		s.service.logger.Warn("messages are kept but not written: exports are not emulated",
			slog.String("subscription", s.name), slog.String("export", to))
		return
	}
	s.service.logger.Warn("messages are kept but not delivered: message transforms are not emulated",
		slog.String("subscription", s.name))
}

// warnIngestion logs that a topic's source is not read.
func (s *Service) warnIngestion(config *pubsubpb.Topic) {
	if config.GetIngestionDataSourceSettings().GetSource() != nil {
		s.logger.Warn("nothing is read from the topic's data source: ingestion is not emulated", slog.String("topic", config.GetName()))
	}
}
