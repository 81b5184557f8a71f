package differential

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func protoString(s string) protoreflect.Value { return protoreflect.ValueOfString(s) }

// aTime stands for a time near now, in normalized responses.
var aTime = &timestamppb.Timestamp{Seconds: 1}

// normalize replaces ids by their order, and times that are right by one.
func (r *run) normalize(request, response proto.Message) {
	switch m := response.(type) {
	case *pubsubpb.PublishResponse:
		for _, id := range m.GetMessageIds() {
			r.messages[id] = fmt.Sprintf("MESSAGE %d", len(r.messages))
		}
		for i, id := range m.GetMessageIds() {
			m.MessageIds[i] = r.messages[id]
		}
	case *pubsubpb.PullResponse:
		r.normalizePull(request.(*pubsubpb.PullRequest).GetSubscription(), m)
	case *pubsubpb.Snapshot:
		normalizeExpiry(m)
	case *pubsubpb.ListSnapshotsResponse:
		for _, s := range m.GetSnapshots() {
			normalizeExpiry(s)
		}
	case *pubsubpb.Schema:
		r.normalizeSchema(m)
	case *pubsubpb.ListSchemasResponse:
		for _, s := range m.GetSchemas() {
			r.normalizeSchema(s)
		}
	case *pubsubpb.ListSchemaRevisionsResponse:
		for _, s := range m.GetSchemas() {
			r.normalizeSchema(s)
		}
	}
	if nextPage(response) != "" {
		setNextPage(response, "TOKEN")
	}
}

// normalizePull notes the ack ids and brings the messages into the order of their publishing, except that those of one
// ordering key stay in the order of their delivery. Between keys nothing is promised.
func (r *run) normalizePull(subscription string, m *pubsubpb.PullResponse) {
	if r.acks[subscription] == nil {
		r.acks[subscription] = map[string]string{}
	}
	for _, received := range m.GetReceivedMessages() {
		msg := received.GetMessage()
		r.acks[subscription][string(msg.GetData())] = received.GetAckId()
		delete(r.done, subscription+string(msg.GetData()))
		received.AckId = "ACK"
		if place, ok := r.messages[msg.GetMessageId()]; ok {
			msg.MessageId = place
		}
		if near(msg.GetPublishTime()) {
			msg.PublishTime = aTime
		}
	}
	sortByKey(m.GetReceivedMessages())
}

func sortByKey(messages []*pubsubpb.ReceivedMessage) {
	slices.SortStableFunc(messages, func(a, b *pubsubpb.ReceivedMessage) int {
		if c := strings.Compare(a.GetMessage().GetOrderingKey(), b.GetMessage().GetOrderingKey()); c != 0 || a.GetMessage().GetOrderingKey() != "" {
			return c
		}
		return strings.Compare(string(a.GetMessage().GetData()), string(b.GetMessage().GetData()))
	})
}

func normalizeExpiry(s *pubsubpb.Snapshot) {
	if s.GetExpireTime() != nil && near(timestamppb.New(s.GetExpireTime().AsTime().Add(-7*24*time.Hour))) {
		s.ExpireTime = aTime
	}
}

func (r *run) normalizeSchema(s *pubsubpb.Schema) {
	if id := s.GetRevisionId(); id != "" {
		i := slices.Index(r.revisions, id)
		if i < 0 {
			i = len(r.revisions)
			r.revisions = append(r.revisions, id)
		}
		s.RevisionId = fmt.Sprintf("REVISION %d", i)
		s.Name = strings.ReplaceAll(s.GetName(), id, s.RevisionId)
	}
	// Google's emulator counts this time from the start of its machine.
	if at := s.GetRevisionCreateTime(); near(at) || at != nil && r.name == google {
		s.RevisionCreateTime = aTime
	}
}

// fillRevisions puts the side's own revision ids in place of "REVISION n".
func (r *run) fillRevisions(request proto.Message) {
	fill := func(text string) string {
		for i, id := range r.revisions {
			text = strings.ReplaceAll(text, fmt.Sprintf("REVISION %d", i), id)
		}
		return text
	}
	switch q := request.(type) {
	case *pubsubpb.GetSchemaRequest:
		q.Name = fill(q.GetName())
	case *pubsubpb.DeleteSchemaRevisionRequest:
		q.Name = fill(q.GetName())
	case *pubsubpb.RollbackSchemaRequest:
		q.RevisionId = fill(q.GetRevisionId())
	}
}

// plain replaces what the side has named itself in an error's words.
func (r *run) plain(words string) string {
	for i, id := range r.revisions {
		words = strings.ReplaceAll(words, id, fmt.Sprintf("REVISION %d", i))
	}
	return strings.ReplaceAll(words, "schemaSetings", "schemaSettings") // a slip of Google's emulator
}

func near(t *timestamppb.Timestamp) bool {
	return t != nil && time.Since(t.AsTime()).Abs() < 5*time.Minute
}

func setNextPage(response proto.Message, token string) {
	m := response.ProtoReflect()
	m.Set(m.Descriptor().Fields().ByName("next_page_token"), protoString(token))
}
