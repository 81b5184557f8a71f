package differential

import (
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// leftOut are the fields that Google's emulator leaves unset where the real service fills them, with their sources.
var leftOut = map[protoreflect.FullName]string{
	"google.pubsub.v1.Topic.state":                                   "output only; ACTIVE of every topic that works [P]",
	"google.pubsub.v1.Subscription.state":                            "output only; ACTIVE of every subscription that works [P]",
	"google.pubsub.v1.Subscription.expiration_policy":                "if it is not set, a default policy with a ttl of 31 days is used [P]",
	"google.pubsub.v1.Snapshot.labels":                               "see the labels of CreateSnapshotRequest [P]",
	"google.pubsub.v1.Subscription.topic_message_retention_duration": "output only; what the topic retains [P]",
}

// serviceWords are parts of errors that Google's emulator has from the real service. Most of its others are its own.
var serviceWords = []string{"You passed", "must be set, and must contain", "is not a known"}

// equal compares two answers.
func equal(s step) bool {
	if s.ours.code != s.theirs.code || len(s.ours.responses) != len(s.theirs.responses) {
		return false
	}
	for _, part := range serviceWords {
		if strings.Contains(s.theirs.words, part) && s.theirs.words != s.ours.words {
			return false
		}
	}
	for i, ours := range s.ours.responses {
		theirs := s.theirs.responses[i]
		ours = proto.Clone(ours)
		clearLeftOut(ours.ProtoReflect(), theirs.ProtoReflect())
		if !proto.Equal(ours, theirs) {
			return false
		}
	}
	return true
}

// clearLeftOut clears in ours what theirs leaves out.
func clearLeftOut(ours, theirs protoreflect.Message) {
	ours.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if _, ok := leftOut[field.FullName()]; ok && !theirs.Has(field) {
			ours.Clear(field)
			return true
		}
		if field.Message() == nil || field.IsMap() {
			return true
		}
		if !field.IsList() {
			clearLeftOut(value.Message(), theirs.Get(field).Message())
			return true
		}
		for i := range value.List().Len() {
			if i < theirs.Get(field).List().Len() {
				clearLeftOut(value.List().Get(i).Message(), theirs.Get(field).List().Get(i).Message())
			}
		}
		return true
	})
}
