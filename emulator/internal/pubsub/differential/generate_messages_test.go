package differential

import (
	"fmt"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func protoInt(n int32) protoreflect.Value { return protoreflect.ValueOfInt32(n) }

// publish sends messages that can be told from each other by their data. An ordering key is for all of them or for none.
func (g *generator) publish() operation {
	request := &pubsubpb.PublishRequest{Topic: g.topic()}
	key := pick(g, "", "", "k", "l")
	for range 1 + g.IntN(3) {
		m := &pubsubpb.PubsubMessage{Data: fmt.Appendf(nil, "message %02d", g.published), OrderingKey: key}
		if g.rarely(3) {
			m.Attributes = map[string]string{"n": fmt.Sprint(g.published)}
		}
		g.published++
		request.Messages = append(request.Messages, m)
	}
	if g.rarely(25) {
		g.spoil(request)
	}
	return one(request)
}

// spoil makes a publish one that must be refused.
func (g *generator) spoil(request *pubsubpb.PublishRequest) {
	first := request.GetMessages()[0]
	switch g.IntN(8) {
	case 0:
		request.Messages = nil
	case 1:
		first.Data, first.Attributes = nil, nil
	case 2:
		first.Attributes = map[string]string{"": "v"}
	case 3:
		first.Attributes = map[string]string{pick(g, "goog", "googa", "GOOGa"): "v"}
	case 4:
		first.Attributes = map[string]string{long(257): "v"}
	case 5:
		first.Attributes = map[string]string{"k": long(1025)}
	case 6:
		first.OrderingKey = long(1025)
	case 7:
		first.Attributes = map[string]string{}
		for i := range 101 {
			first.Attributes[fmt.Sprint(i)] = "v"
		}
	}
}

func pullAll(subscription string) operation {
	request := &pubsubpb.PullRequest{Subscription: subscription, MaxMessages: 1000}
	request.ReturnImmediately = true //nolint:staticcheck // deprecated, but no sequence is to wait
	return one(request)
}

// pull takes all that is there: which part of it a pull of fewer gets is not promised.
func (g *generator) pull() operation {
	o := pullAll(g.subscription())
	if g.rarely(15) {
		o.request.(*pubsubpb.PullRequest).MaxMessages = pick[int32](g, 0, -1)
	}
	return o
}

// settle acknowledges messages or gives them back. What to give back one that is acknowledged does is not documented.
func (g *generator) settle(delivered deliveries) operation {
	subscription := g.subscription()
	acknowledge := g.rarely(2)
	var chosen []string
	for _, data := range delivered(subscription, acknowledge) {
		if g.rarely(2) {
			chosen = append(chosen, data)
		}
	}
	if len(chosen) == 0 && !g.rarely(5) {
		return g.pull()
	}
	var malformed []string
	if g.rarely(25) {
		malformed = []string{"nonsense"}
	}
	if acknowledge {
		return operation{request: &pubsubpb.AcknowledgeRequest{Subscription: subscription, AckIds: malformed}, deliveries: chosen}
	}
	seconds := pick[int32](g, 0, 0, 30, 600)
	if g.rarely(20) {
		seconds = pick[int32](g, -1, 601)
	}
	return operation{request: &pubsubpb.ModifyAckDeadlineRequest{Subscription: subscription, AckIds: malformed, AckDeadlineSeconds: seconds}, deliveries: chosen}
}

func (g *generator) seek() operation {
	request := &pubsubpb.SeekRequest{Subscription: g.subscription()}
	switch g.IntN(12) {
	case 0, 1, 2:
		request.Target = &pubsubpb.SeekRequest_Time{Time: timestamppb.New(time.Now().Add(-time.Hour))}
	case 3, 6, 7:
		request.Target = &pubsubpb.SeekRequest_Time{Time: timestamppb.Now()}
	case 8:
		request.Target = &pubsubpb.SeekRequest_Time{Time: timestamppb.New(time.Now().Add(time.Hour))}
	case 4, 5, 9, 10:
		request.Target = &pubsubpb.SeekRequest_Snapshot{Snapshot: g.snapshot()}
	}
	return one(request)
}

// drain pulls what is left. An ordering key may give its messages one after the other.
func (g *generator) drain() []operation {
	var out []operation
	for i := range 2 {
		out = append(out, pullAll(g.name("subscriptions", i)))
	}
	return out
}
