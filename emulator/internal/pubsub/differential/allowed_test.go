package differential

import (
	"slices"
	"strings"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
)

// allowance is a difference that is right. The reasons name their sources: [R] recorded from the real service, [P] the comments
// of the API's definition, [D] Google's documentation, [G] what Google's emulator says of itself.
type allowance struct {
	reason       string
	methods      string // by their names, separated by spaces; empty: all
	ours, theirs codes.Code
	when         func(step) bool         // nil: always
	since        func(step, []step) bool // a condition on all that went before as well; nil: none
}

func (a allowance) covers(s step, before []step) bool {
	return s.ours.code == a.ours && s.theirs.code == a.theirs &&
		(a.methods == "" || strings.Contains(" "+a.methods+" ", " "+method(s.request)+" ")) &&
		(a.when == nil || a.when(s)) && (a.since == nil || a.since(s, before))
}

// changes reports whether the two sides are in different states after such different answers.
func changes(s step) bool {
	if s.ours.code != codes.OK && s.theirs.code != codes.OK {
		return false
	}
	name := method(s.request)
	for _, reads := range []string{"Get", "List", "Validate"} {
		if strings.HasPrefix(name, reads) {
			return false
		}
	}
	return true
}

// theirWords is an allowance's condition on the words of Google's emulator.
func theirWords(parts ...string) func(step) bool {
	return func(s step) bool {
		for _, part := range parts {
			if strings.Contains(s.theirs.words, part) {
				return true
			}
		}
		return false
	}
}

// ourWords is the same for ours.
func ourWords(parts ...string) func(step) bool {
	return func(s step) bool {
		for _, part := range parts {
			if strings.Contains(s.ours.words, part) {
				return true
			}
		}
		return false
	}
}

// notFirst is why two refusals may differ.
const notFirst = "a request with two faults: Google's emulator looks for the resource first, Waybill at the arguments; which comes first is not documented"

const noName = "a snapshot without a name gets a random one, over gRPC [P]; Google's emulator refuses it"

// What Google's emulator says it does not have.
const (
	noDetach         = "Google's emulator cannot detach [G]"
	noProtobuf       = "Google's emulator has no schemas of protocol buffers [G]"
	noSnapshotUpdate = "Google's emulator cannot update snapshots [G]"
)

var allowances = []allowance{
	{reason: notFirst, ours: codes.InvalidArgument, theirs: codes.NotFound},
	{reason: notFirst, ours: codes.InvalidArgument, theirs: codes.AlreadyExists},
	{reason: notFirst, ours: codes.OutOfRange, theirs: codes.NotFound},
	{reason: notFirst, ours: codes.OutOfRange, theirs: codes.AlreadyExists},
	{reason: notFirst, ours: codes.OutOfRange, theirs: codes.InvalidArgument},
	{reason: notFirst, ours: codes.InvalidArgument, theirs: codes.OutOfRange},
	{reason: notFirst, ours: codes.AlreadyExists, theirs: codes.NotFound, methods: "CreateTopic", when: theirWords("Schema could not be found")},
	{
		reason: "Google's emulator fails on an empty project",
		ours:   codes.InvalidArgument, theirs: codes.Unknown, when: theirWords("Application error processing RPC"),
	},
	{
		reason: "Google's emulator takes ack deadlines below 10 s; the real service refuses them [R]",
		ours:   codes.InvalidArgument, theirs: codes.OK, methods: "CreateSubscription UpdateSubscription", when: ourWords("ack_deadline"),
	},
	{
		reason: "Google's emulator does not check the expiration policy; the real service does [R]",
		ours:   codes.InvalidArgument, theirs: codes.OK, methods: "CreateSubscription", when: ourWords("expiration duration"),
	},
	{
		reason: "a subscription retains messages for up to 31 days [R]; Google's emulator has the earlier limit of 7",
		ours:   codes.OK, theirs: codes.InvalidArgument, methods: "CreateSubscription UpdateSubscription", when: theirWords("message_retention_duration out of bounds"),
	},
	{
		reason: "a mask with message_retention_duration and no value ends the topic's retention [P]; Google's emulator sets 31 days",
		ours:   codes.OK, theirs: codes.OK, methods: "UpdateTopic", when: func(s step) bool {
			return s.request.(*pubsubpb.UpdateTopicRequest).GetTopic().GetMessageRetentionDuration() == nil
		},
	},
	{
		reason: "Google's emulator lists what belongs to a topic that is not there; the methods' documentation has NOT_FOUND for every topic that is not [D]",
		ours:   codes.NotFound, theirs: codes.OK, methods: "ListTopicSubscriptions ListTopicSnapshots",
	},
	{
		reason: "Google's emulator takes any page size and token; the real service refuses them [R]",
		ours:   codes.InvalidArgument, theirs: codes.OK, when: ourWords("page_size", "page token"),
	},
	{
		reason: "Google's emulator takes max_messages of 0 and below; the real service refuses them [R]",
		ours:   codes.InvalidArgument, theirs: codes.OK, methods: "Pull", when: ourWords("argument=max_messages"),
	},
	{
		reason: "Google's emulator does not seek to the future [G]; the API does [P]",
		ours:   codes.OK, theirs: codes.Unimplemented, methods: "Seek", when: isTimeSeek,
	},
	{
		reason: "Google's emulator takes any ack id and deadline; the real service refuses malformed ids and deadlines out of its limits [R]",
		ours:   codes.InvalidArgument, theirs: codes.OK, methods: "Acknowledge ModifyAckDeadline", when: ourWords("invalid ack ID", "Invalid ack deadline"),
	},
	{
		reason: "Google's emulator lists for any project; the real service checks its name [R]",
		ours:   codes.InvalidArgument, theirs: codes.OK, methods: "ListTopics ListSubscriptions ListSnapshots", when: ourWords("Invalid resource name"),
	},
	{
		reason: noName, ours: codes.OK, theirs: codes.InvalidArgument, methods: "CreateSnapshot", when: theirWords("(name=)"),
	},
	{
		reason: noName, ours: codes.NotFound, theirs: codes.InvalidArgument, methods: "CreateSnapshot", when: theirWords("(name=)"),
	},
	{
		reason: "Google's emulator names a subscription without a name; the API requires one [P]",
		ours:   codes.InvalidArgument, theirs: codes.OK, methods: "CreateSubscription", when: ourWords("Invalid resource name given (name=)"),
	},
	{
		reason: "Google's emulator does not enforce the limits of a message's attributes and ordering key; the real service does [R]",
		ours:   codes.InvalidArgument, theirs: codes.OK, methods: "Publish", when: ourWords("attribute", "ordering_key_size"),
	},
	{reason: notFirst, ours: codes.NotFound, theirs: codes.AlreadyExists, methods: "CreateSnapshot"},
	{reason: notFirst, ours: codes.InvalidArgument, theirs: codes.InvalidArgument, methods: "UpdateTopic UpdateSubscription", when: theirWords("is not a known")},
	{reason: notFirst, ours: codes.NotFound, theirs: codes.InvalidArgument, methods: "UpdateTopic UpdateSubscription", when: theirWords("is not a known", "currently unsupported")},
	{reason: notFirst, ours: codes.AlreadyExists, theirs: codes.InvalidArgument, methods: "CreateTopic", when: theirWords("No schema name provided")},
	{reason: notFirst, ours: codes.NotFound, theirs: codes.InvalidArgument, when: theirWords("Cannot delete last revision", "message_retention_duration out of bounds")},
	{reason: notFirst, ours: codes.AlreadyExists, theirs: codes.NotFound, methods: "CreateSnapshot"},
	{
		reason: "Google's emulator says of a field that cannot be updated that it does not know it; the real service says that it is not mutable [R]",
		ours:   codes.InvalidArgument, theirs: codes.InvalidArgument, methods: "UpdateTopic UpdateSubscription",
		when: func(s step) bool { return ourWords("is not mutable")(s) && theirWords("is not a known")(s) },
	},
	{reason: noProtobuf, ours: codes.AlreadyExists, theirs: codes.Unimplemented, when: theirWords("Protocol buffer support")},
	{reason: noProtobuf, ours: codes.NotFound, theirs: codes.Unimplemented, when: theirWords("Protocol buffer support")},
	{reason: noProtobuf, ours: codes.OK, theirs: codes.Unimplemented, when: theirWords("Protocol buffer support")},
	{reason: noProtobuf, ours: codes.InvalidArgument, theirs: codes.Unimplemented, when: theirWords("Protocol buffer support")},
	{reason: noSnapshotUpdate, ours: codes.OK, theirs: codes.Unimplemented, methods: "UpdateSnapshot"},
	{reason: noSnapshotUpdate, ours: codes.NotFound, theirs: codes.Unimplemented, methods: "UpdateSnapshot"},
	{reason: noSnapshotUpdate, ours: codes.InvalidArgument, theirs: codes.Unimplemented, methods: "UpdateSnapshot"},
	{reason: noDetach, ours: codes.OK, theirs: codes.Unimplemented, methods: "DetachSubscription"},
	{reason: noDetach, ours: codes.NotFound, theirs: codes.Unimplemented, methods: "DetachSubscription"},
	{reason: noDetach, ours: codes.InvalidArgument, theirs: codes.Unimplemented, methods: "DetachSubscription"},
	{
		reason: "Google's emulator cannot update these fields [G]",
		ours:   codes.OK, theirs: codes.InvalidArgument, methods: "UpdateTopic UpdateSubscription",
		when: theirWords("is not a known", "currently unsupported in the Pub/Sub Emulator"),
	},
	{
		reason: "what a snapshot shows as its topic when that is deleted is not documented; a subscription shows _deleted-topic_ [P]",
		ours:   codes.OK, theirs: codes.OK, methods: "CreateSnapshot GetSnapshot ListSnapshots",
		when: func(s step) bool { return strings.Contains(s.ours.String(), "_deleted-topic_") },
	},
	{
		reason: "under exactly-once delivery a second ack of an acknowledged message is accepted [R]; Google's emulator refuses it",
		ours:   codes.OK, theirs: codes.InvalidArgument, methods: "Acknowledge",
		since: func(s step, before []step) bool {
			acked := func(b step) bool {
				return method(b.request) == "Acknowledge" && b.ours.code == codes.OK && shares(b, s)
			}
			return s.theirs.words == "" && slices.ContainsFunc(before, acked)
		},
	},
	{
		reason: "a seek forward acknowledges what it passes, and a seek back brings it again where acknowledged messages are retained [P]; Google's emulator has lost what was never delivered",
		ours:   codes.OK, theirs: codes.OK, methods: "Pull",
		since: func(s step, before []step) bool {
			seeks := slices.DeleteFunc(slices.Clone(before), func(b step) bool {
				return method(b.request) != "Seek" || b.ours.code != codes.OK || subscriptionOf(b) != subscriptionOf(s)
			})
			_, fewer := lacking(s)
			return fewer && len(seeks) > 1
		},
	},
	{
		reason: "under exactly-once delivery Google's emulator accepts the ack of a message that an earlier one of its ordering key has taken back; it comes again [D], so Waybill refuses",
		ours:   codes.InvalidArgument, theirs: codes.OK, methods: "Acknowledge ModifyAckDeadline",
		since: func(s step, before []step) bool {
			return ourWords("Some acknowledgement ids")(s) && slices.ContainsFunc(before, func(b step) bool { return isNack(b) && subscriptionOf(b) == subscriptionOf(s) })
		},
	},
	{
		reason: "a message that is given back comes again at once, before all after it of its ordering key [D]; Google's emulator waits for what else it delivered of that key, and sends what was not yet delivered before it",
		ours:   codes.OK, theirs: codes.OK, methods: "Pull",
		since: func(s step, before []step) bool {
			missing, fewer := lacking(s)
			return (fewer || len(missing) == 0) && !slices.ContainsFunc(missing, func(m *pubsubpb.PubsubMessage) bool { return m.GetOrderingKey() == "" }) &&
				slices.ContainsFunc(before, func(b step) bool { return isNack(b) && subscriptionOf(b) == subscriptionOf(s) })
		},
	},
}

func isTimeSeek(s step) bool {
	_, ok := s.request.(*pubsubpb.SeekRequest).GetTarget().(*pubsubpb.SeekRequest_Time)
	return ok
}

func isNack(s step) bool {
	request, ok := s.request.(*pubsubpb.ModifyAckDeadlineRequest)
	return ok && request.GetAckDeadlineSeconds() == 0 && s.ours.code == codes.OK
}

func subscriptionOf(s step) string {
	request, _ := s.request.(interface{ GetSubscription() string })
	if request == nil {
		return ""
	}
	return request.GetSubscription()
}

// shares reports whether two operations are about a delivery of the same message by the same subscription.
func shares(a, b step) bool {
	return subscriptionOf(a) == subscriptionOf(b) &&
		slices.ContainsFunc(a.deliveries, func(data string) bool { return slices.Contains(b.deliveries, data) })
}

// lacking are the messages of our pull that theirs did not bring, and whether it brought no others.
func lacking(s step) (missing []*pubsubpb.PubsubMessage, fewer bool) {
	theirs := map[string]bool{}
	for _, m := range s.theirs.responses[0].(*pubsubpb.PullResponse).GetReceivedMessages() {
		theirs[string(m.GetMessage().GetData())] = true
	}
	for _, m := range s.ours.responses[0].(*pubsubpb.PullResponse).GetReceivedMessages() {
		data := string(m.GetMessage().GetData())
		if !theirs[data] {
			missing = append(missing, m.GetMessage())
		}
		delete(theirs, data)
	}
	return missing, len(theirs) == 0 && len(missing) > 0
}
