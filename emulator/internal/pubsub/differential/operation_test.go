package differential

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// operation is a request, the same for both sides but for what each has named itself.
type operation struct {
	request proto.Message
	// deliveries are the messages, by their data, whose ack ids the request is about: those of the side's latest delivery
	// by the subscription.
	deliveries []string
	// pages repeats a list with the token of the page before, until there is none.
	pages bool
	// revision replaces the revision id "REVISION n" in the request by the side's n-th.
}

// String shows the operation for a person who wants to repeat it.
func (o operation) String() string {
	text := show(o.request)
	if len(text) > 400 {
		text = fmt.Sprintf("%s... (%d bytes)", text[:400], len(text))
	}
	out := method(o.request) + "{" + text + "}"
	if len(o.deliveries) > 0 {
		out += fmt.Sprintf(" with the ack ids of %q", o.deliveries)
	}
	if o.pages {
		out += ", page by page"
	}
	return out
}

// result is what one side answered, normalized.
type result struct {
	code      codes.Code
	words     string          // of the error
	responses []proto.Message // more than one where a list was read page by page
}

func (r result) String() string {
	if r.code != codes.OK {
		return fmt.Sprintf("%v: %s", r.code, r.words)
	}
	var pages []string
	for _, response := range r.responses {
		pages = append(pages, "{"+show(response)+"}")
	}
	return "OK " + strings.Join(pages, ", then ")
}

// show is the message on one line. Package prototext varies its spaces on purpose.
func show(m proto.Message) string {
	return strings.Join(strings.Fields(prototext.MarshalOptions{}.Format(m)), " ")
}

// run is a sequence's run on one side: it keeps what the side has named itself.
type run struct {
	*side
	messages  map[string]string            // its message ids, to the message's place among the published
	acks      map[string]map[string]string // its latest ack ids, by subscription and data
	done      map[string]bool              // what is acknowledged, by subscription and data
	revisions []string                     // of schemas, in the order of their appearance
	created   []proto.Message              // requests that delete what the run has created
}

func newRun(s *side) *run {
	return &run{side: s, messages: map[string]string{}, acks: map[string]map[string]string{}, done: map[string]bool{}}
}

// do carries out an operation.
func (r *run) do(ctx context.Context, o operation) result {
	request := proto.Clone(o.request)
	switch q := request.(type) {
	case *pubsubpb.AcknowledgeRequest:
		q.AckIds = append(q.AckIds, r.ackIDs(q.GetSubscription(), o.deliveries)...)
	case *pubsubpb.ModifyAckDeadlineRequest:
		q.AckIds = append(q.AckIds, r.ackIDs(q.GetSubscription(), o.deliveries)...)
	}
	r.fillRevisions(request)
	response, err := r.send(ctx, request)
	if err != nil {
		st := status.Convert(err)
		return result{code: st.Code(), words: r.plain(st.Message())}
	}
	r.noteCreated(response)
	out := result{}
	for {
		token := nextPage(response)
		r.normalize(o.request, response)
		out.responses = append(out.responses, response)
		if !o.pages || token == "" {
			return out
		}
		setPage(request, token)
		if response, err = r.send(ctx, request); err != nil {
			return result{code: status.Code(err), words: status.Convert(err).Message()}
		}
	}
}

// noteCreated makes cleanUp delete a resource. It is also given those that were only read or updated: they are there as well.
func (r *run) noteCreated(response proto.Message) {
	switch m := response.(type) {
	case *pubsubpb.Topic:
		r.created = append(r.created, &pubsubpb.DeleteTopicRequest{Topic: m.GetName()})
	case *pubsubpb.Subscription:
		r.created = append(r.created, &pubsubpb.DeleteSubscriptionRequest{Subscription: m.GetName()})
	case *pubsubpb.Snapshot:
		r.created = append(r.created, &pubsubpb.DeleteSnapshotRequest{Snapshot: m.GetName()})
	}
}

// cleanUp deletes what the run has created: Google's emulator spends time on every subscription that there is.
func (r *run) cleanUp(ctx context.Context) {
	seen := map[string]bool{}
	for _, request := range r.created {
		if text := show(request); !seen[text] {
			seen[text] = true
			_, _ = r.send(ctx, request) // it may have been deleted
		}
	}
}

func (r *run) ackIDs(subscription string, deliveries []string) []string {
	var ids []string
	for _, data := range deliveries {
		ids = append(ids, r.acks[subscription][data])
	}
	return ids
}

// delivered are the data of the messages that a subscription has delivered.
func (r *run) delivered(subscription string, acknowledged bool) []string {
	var all []string
	for data := range r.acks[subscription] {
		if acknowledged || !r.done[subscription+data] {
			all = append(all, data)
		}
	}
	slices.Sort(all)
	return all
}

// settled forgets the ack ids whose further use has no documented effect: those of what was given back or sought away.
func (r *run) settled(s step) {
	switch {
	case isNack(s):
		for _, data := range s.deliveries {
			delete(r.acks[subscriptionOf(s)], data)
		}
	case method(s.request) == "Acknowledge":
		for _, data := range s.deliveries {
			r.done[subscriptionOf(s)+data] = true
		}
	case method(s.request) == "Seek":
		delete(r.acks, subscriptionOf(s))
	}
}

func nextPage(response proto.Message) string {
	if page, ok := response.(interface{ GetNextPageToken() string }); ok {
		return page.GetNextPageToken()
	}
	return ""
}

func setPage(request proto.Message, token string) {
	m := request.ProtoReflect()
	m.Set(m.Descriptor().Fields().ByName("page_token"), protoString(token))
}

// pulled counts a pull's messages.
func pulled(r result) int {
	if len(r.responses) != 1 {
		return 0
	}
	pull, _ := r.responses[0].(*pubsubpb.PullResponse)
	return len(pull.GetReceivedMessages())
}

// pullMore repeats a pull and adds what it brings.
func (r *run) pullMore(ctx context.Context, o operation, before result) result {
	more := r.do(ctx, o)
	if before.code != codes.OK || more.code != codes.OK {
		return more
	}
	all := before.responses[0].(*pubsubpb.PullResponse)
	all.ReceivedMessages = append(all.ReceivedMessages, more.responses[0].(*pubsubpb.PullResponse).GetReceivedMessages()...)
	sortByKey(all.GetReceivedMessages())
	return before
}
