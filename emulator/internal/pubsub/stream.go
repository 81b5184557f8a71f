package pubsub

import (
	"context"
	"errors"
	"io"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/status"
)

// stream is one StreamingPull: one goroutine reads what the client sends, the other one sends.
type stream struct {
	conn  pubsubpb.Subscriber_StreamingPullServer
	sub   *subscription
	pulls context.Context

	consumer *consumer
	unsent   []delivery
	deadline time.Duration // of leases
	pings    bool          // the client expects an answer to its keepalives

	replies   chan *pubsubpb.StreamingPullResponse // keepalives and confirmations, from the reader
	deadlines chan time.Duration                   // changes of deadline, from the reader
	read      chan error                           // how reading ended
}

// StreamingPull implements google.pubsub.v1.Subscriber. It sends messages as they come, within
// the limits of the first request, until the client closes the stream or the subscription ends.
func (s *Service) StreamingPull(conn pubsubpb.Subscriber_StreamingPullServer) error {
	first, err := conn.Recv()
	if err != nil {
		return err
	}
	if !s.running.enter() {
		return errClosed()
	}
	defer s.running.leave()
	sub, err := s.subscription(first.GetSubscription())
	if err != nil {
		return err
	}
	if err := checkStreamDeadline(first.GetStreamAckDeadlineSeconds()); err != nil {
		return err
	}
	pulls, err := sub.pullable()
	if err != nil {
		return err
	}
	st := &stream{
		conn:      conn,
		sub:       sub,
		pulls:     pulls,
		consumer:  newConsumer(),
		deadline:  time.Duration(first.GetStreamAckDeadlineSeconds()) * time.Second,
		pings:     first.GetProtocolVersion() >= 1,
		replies:   make(chan *pubsubpb.StreamingPullResponse),
		deadlines: make(chan time.Duration),
		read:      make(chan error, 1),
	}
	st.consumer.maxMessages = first.GetMaxOutstandingMessages()
	st.consumer.maxBytes = first.GetMaxOutstandingBytes()
	sub.openStream()
	defer sub.closeStream()
	defer func() { sub.leave(st.consumer, st.unsent) }()

	// The reader ends when the stream's context does, which is when this function returns.
	if !s.running.run(func() { st.read <- st.receive(first) }) {
		return errClosed()
	}
	return st.send()
}

func checkStreamDeadline(seconds int32) error {
	if seconds < minAckDeadline || seconds > maxAckDeadline {
		return invalid("Invalid stream ack deadline given (stream_ack_deadline_seconds=%d). The stream ack deadline must be between %d and %d seconds.", seconds, minAckDeadline, maxAckDeadline)
	}
	return nil
}

// send is the only place that sends on the stream.
func (st *stream) send() error {
	always := make(chan struct{}) // stands in for a wake-up while there are messages
	close(always)
	if err := st.conn.Send(st.response(nil)); err != nil { // says at once what kind of subscription it is
		return err
	}
	for {
		var wake <-chan struct{} = st.consumer.wake
		if st.unsent = st.sub.take(st.consumer, maxResponseMessages, st.deadline); len(st.unsent) > 0 {
			if err := st.conn.Send(st.response(st.unsent)); err != nil {
				return err
			}
			st.unsent = nil
			wake = always
		}
		select {
		case <-wake:
		case reply := <-st.replies:
			if err := st.conn.Send(reply); err != nil {
				return err
			}
		case st.deadline = <-st.deadlines:
		case err := <-st.read:
			return err
		case <-st.pulls.Done():
			return context.Cause(st.pulls)
		}
	}
}

func (st *stream) response(deliveries []delivery) *pubsubpb.StreamingPullResponse {
	config := st.sub.current()
	return &pubsubpb.StreamingPullResponse{
		ReceivedMessages: received(deliveries),
		SubscriptionProperties: &pubsubpb.StreamingPullResponse_SubscriptionProperties{
			ExactlyOnceDeliveryEnabled: config.EnableExactlyOnceDelivery,
			MessageOrderingEnabled:     config.EnableMessageOrdering,
		},
	}
}

// receive carries out the client's requests until the stream ends; nil if the client ended it.
func (st *stream) receive(first *pubsubpb.StreamingPullRequest) error {
	if err := st.carryOut(first); err != nil {
		return err
	}
	for {
		req, err := st.conn.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := st.checkLater(req); err != nil {
			return err
		}
		if err := st.carryOut(req); err != nil {
			return err
		}
		if s := req.GetStreamAckDeadlineSeconds(); s != 0 {
			put(st, st.deadlines, time.Duration(s)*time.Second)
		}
		if st.pings && len(req.GetAckIds()) == 0 && len(req.GetModifyDeadlineAckIds()) == 0 {
			put(st, st.replies, st.response(nil))
		}
	}
}

// checkLater refuses in later requests what only the first one may say.
func (st *stream) checkLater(req *pubsubpb.StreamingPullRequest) error {
	switch {
	case req.GetSubscription() != "":
		return invalidArgumentNamed("subscription")
	case req.GetMaxOutstandingMessages() != 0:
		return invalidArgumentNamed("max_outstanding_messages")
	case req.GetMaxOutstandingBytes() != 0:
		return invalidArgumentNamed("max_outstanding_bytes")
	case req.GetProtocolVersion() != 0:
		return invalidArgumentNamed("protocol_version")
	case req.GetStreamAckDeadlineSeconds() != 0:
		return checkStreamDeadline(req.GetStreamAckDeadlineSeconds())
	}
	return nil
}

// carryOut does the acks and the deadline changes of a request.
func (st *stream) carryOut(req *pubsubpb.StreamingPullRequest) error {
	if len(req.GetModifyDeadlineAckIds()) != len(req.GetModifyDeadlineSeconds()) {
		return invalidArgumentNamed("modify_deadline_seconds")
	}
	for _, s := range req.GetModifyDeadlineSeconds() {
		if s < 0 || s > maxAckDeadline {
			return invalidAckDeadline(s, 0)
		}
	}
	acks, err := parseAckIDs(req.GetAckIds())
	if err != nil {
		return err
	}
	changes, err := parseAckIDs(req.GetModifyDeadlineAckIds())
	if err != nil {
		return err
	}
	response := st.response(nil)
	confirm := false
	if len(acks) > 0 {
		response.AcknowledgeConfirmation, err = st.acknowledge(acks, req.GetAckIds(), response.GetSubscriptionProperties().GetExactlyOnceDeliveryEnabled())
		if err != nil {
			return err
		}
		confirm = true
	}
	if len(changes) > 0 {
		lapsed, err := st.sub.modifyDeadlines(changes, func(i int) int32 { return req.GetModifyDeadlineSeconds()[i] })
		if err != nil {
			return err
		}
		done, refused := split(req.GetModifyDeadlineAckIds(), lapsed)
		response.ModifyAckDeadlineConfirmation = &pubsubpb.StreamingPullResponse_ModifyAckDeadlineConfirmation{AckIds: done, InvalidAckIds: refused}
		confirm = true
	}
	if confirm && response.SubscriptionProperties.ExactlyOnceDeliveryEnabled {
		put(st, st.replies, response)
	}
	return nil
}

// acknowledge acks. What is confirmed is safe; what cannot be stored has failed for the time being.
func (st *stream) acknowledge(acks []ackID, ids []string, confirmed bool) (*pubsubpb.StreamingPullResponse_AcknowledgeConfirmation, error) {
	journal := st.sub.service.journal
	if confirmed && journal.Ready() != nil {
		//nolint:nilerr // the confirmation tells
		return &pubsubpb.StreamingPullResponse_AcknowledgeConfirmation{TemporaryFailedAckIds: ids}, nil
	}
	lapsed, err := st.sub.acknowledge(acks)
	if err != nil {
		return nil, err
	}
	done, refused := split(ids, lapsed)
	if confirmed && journal.Sync() != nil {
		//nolint:nilerr // the confirmation tells
		return &pubsubpb.StreamingPullResponse_AcknowledgeConfirmation{TemporaryFailedAckIds: done, InvalidAckIds: refused}, nil
	}
	return &pubsubpb.StreamingPullResponse_AcknowledgeConfirmation{AckIds: done, InvalidAckIds: refused}, nil
}

// split separates the ids at the given rising indexes from the others.
func split(all []string, lapsed []int) (done, refused []string) {
	for i, id := range all {
		if len(lapsed) > 0 && lapsed[0] == i {
			refused = append(refused, id)
			lapsed = lapsed[1:]
			continue
		}
		done = append(done, id)
	}
	return done, refused
}

// put hands v to the sender, unless the stream has ended.
func put[T any](st *stream, to chan<- T, v T) {
	select {
	case to <- v:
	case <-st.conn.Context().Done():
	}
}

// contextError is the status of a call whose context is done.
func contextError(ctx context.Context) error { return status.FromContextError(ctx.Err()).Err() }
