package pubsub

import (
	"maps"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
)

// publication is one published message. Subscriptions, snapshots and the topic's history share what
// it points to, so nobody changes that.
type publication struct {
	msg    *pubsubpb.PubsubMessage
	size   int             // bytes, as flow control counts them
	seq    uint64          // its number, the same everywhere: it rises with each message of a topic
	schema *schemaResource // by which it was validated, or nil
	batch  *batch          // of which it is a part in the store, or nil
}

// place is where it is in its batch.
func (p *publication) place() int { return int(p.seq - p.batch.first) } //nolint:gosec // at most 1000

func (p *publication) published() time.Time { return p.msg.PublishTime.AsTime() }

// shown is the message as it is delivered now: it names its schema only as long as that exists.
func (p *publication) shown() *pubsubpb.PubsubMessage {
	if p.schema == nil || !p.schema.gone.Load() {
		return p.msg
	}
	attributes := maps.Clone(p.msg.Attributes)
	attributes[attributeSchemaName] = deletedSchema
	return &pubsubpb.PubsubMessage{
		Data:        p.msg.Data,
		Attributes:  attributes,
		MessageId:   p.msg.MessageId,
		PublishTime: p.msg.PublishTime,
		OrderingKey: p.msg.OrderingKey,
	}
}

// merge joins two lists that rise by number. Of two messages of one number the first list's is taken.
func merge[M any](a, b []M, seq func(*M) uint64) []M {
	out := make([]M, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch x, y := seq(&a[0]), seq(&b[0]); {
		case x == y:
			b = b[1:]
		case x < y:
			out, a = append(out, a[0]), a[1:]
		default:
			out, b = append(out, b[0]), b[1:]
		}
	}
	return append(append(out, a...), b...)
}
