package differential

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// timed are behaviours that need the clock. Each observes a side and says what it saw.
var timed = []struct {
	name    string
	observe func(*observer)
	want    []string
	// google is what Google's emulator does, where that differs, and reason is why we do not.
	google []string
	reason string
}{
	{
		name: "a message comes again when its ack deadline is over",
		observe: func(o *observer) {
			o.subscribe(&pubsubpb.Subscription{})
			o.publish("a", "")
			o.deadline(o.pull(), 3)
			o.see("at once", o.texts(o.pull()))
			o.see("later", o.texts(o.wait(1)))
		},
		want: []string{"at once: []", "later: [a]"},
	},
	{
		name: "a longer deadline keeps it",
		observe: func(o *observer) {
			o.subscribe(&pubsubpb.Subscription{})
			o.publish("a", "")
			received := o.pull()
			o.deadline(received, 1)
			o.deadline(received, 60)
			time.Sleep(2 * time.Second)
			o.see("after 2 s", o.texts(o.pull()))
		},
		want: []string{"after 2 s: []"},
	},
	{
		name: "a retry policy delays what was given back",
		observe: func(o *observer) {
			o.subscribe(&pubsubpb.Subscription{RetryPolicy: &pubsubpb.RetryPolicy{MinimumBackoff: durationpb.New(3 * time.Second), MaximumBackoff: durationpb.New(3 * time.Second)}})
			o.publish("a", "")
			o.deadline(o.pull(), 0)
			time.Sleep(300 * time.Millisecond) // Google's emulator gives it back a little later than at once
			o.see("soon", o.texts(o.pull()))
			o.see("later", o.texts(o.wait(1)))
		},
		want:   []string{"soon: []", "later: [a]"},
		google: []string{"soon: [a]", "later: []"},
		reason: "Google's emulator has no retry policies; they apply to nacks and expired deadlines alike [P]",
	},
	{
		name: "a dead letter after five deliveries",
		observe: func(o *observer) {
			o.subscribe(&pubsubpb.Subscription{DeadLetterPolicy: &pubsubpb.DeadLetterPolicy{DeadLetterTopic: o.deadTopic(), MaxDeliveryAttempts: 5}})
			o.publish("a", "")
			for range 5 {
				received := o.wait(1)
				for _, m := range received {
					o.see("attempt", m.GetDeliveryAttempt())
				}
				o.deadline(received, 0)
			}
			o.see("left", o.texts(o.pull()))
			for _, m := range o.waitFrom(o.deadSubscription(), 1) {
				o.see("dead letter", string(m.GetMessage().GetData()))
				o.see("attributes", slices.Sorted(maps.Keys(m.GetMessage().GetAttributes())))
			}
		},
		want: []string{
			"attempt: 1", "attempt: 2", "attempt: 3", "attempt: 4", "attempt: 5", "left: []", "dead letter: a",
			"attributes: [CloudPubSubDeadLetterSourceDeliveryCount CloudPubSubDeadLetterSourceSubscription CloudPubSubDeadLetterSourceSubscriptionProject CloudPubSubDeadLetterSourceTopicPublishTime]",
		},
	},
	{
		name: "a message given back brings the later ones of its key again",
		observe: func(o *observer) {
			o.subscribe(&pubsubpb.Subscription{EnableMessageOrdering: true})
			o.publish("a", "k")
			o.publish("b", "k")
			o.publish("c", "k")
			received := o.wait(3)
			o.see("first", o.texts(received))
			o.deadline(received, 0)
			o.see("again", o.texts(o.wait(3)))
		},
		want: []string{"first: [a b c]", "again: [a b c]"},
	},
	{
		name: "exactly once refuses an ack after the deadline",
		observe: func(o *observer) {
			o.subscribe(&pubsubpb.Subscription{EnableExactlyOnceDelivery: true})
			o.publish("a", "")
			received := o.wait(1)
			o.deadline(received, 1)
			o.see("later", o.texts(o.wait(1)))
			_, err := o.side.consumer.Acknowledge(o.ctx, &pubsubpb.AcknowledgeRequest{Subscription: o.subscription(), AckIds: ackIDs(received)})
			o.see("late ack", status.Code(err))
		},
		want: []string{"later: [a]", "late ack: InvalidArgument"},
	},
	{
		name: "a push and its retry",
		observe: func(o *observer) {
			bodies := make(chan []byte, 10)
			answers := []int{http.StatusInternalServerError, http.StatusNoContent}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body) // a body that was cut off is not JSON
				n := len(bodies)
				bodies <- body
				w.WriteHeader(answers[min(n, 1)])
			}))
			defer server.Close()
			o.subscribe(&pubsubpb.Subscription{EnableMessageOrdering: true, PushConfig: &pubsubpb.PushConfig{PushEndpoint: server.URL}})
			o.publish("a", "k")
			for end := time.Now().Add(patience); len(bodies) < 2 && time.Now().Before(end); {
				time.Sleep(50 * time.Millisecond)
			}
			time.Sleep(time.Second) // a third would be wrong
			o.see("pushes", len(bodies))
			o.see("body", shape(<-bodies))
		},
		google: []string{
			"pushes: 2",
			"body: [message message.attributes message.attributes.n message.data message.messageId message.message_id message.publishTime message.publish_time subscription]",
		},
		reason: "Google's emulator leaves the ordering key out of pushes; PubsubMessage has it, and the real service sends it [D]",
		want: []string{
			"pushes: 2",
			"body: [message message.attributes message.attributes.n message.data message.messageId message.message_id message.orderingKey message.publishTime message.publish_time subscription]",
		},
	},
}

// testTimed runs all at once, since they mostly wait.
func testTimed(t *testing.T, ours, theirs *side) {
	var running sync.WaitGroup
	defer running.Wait()
	for i, c := range timed {
		for _, s := range []*side{ours, theirs} {
			running.Go(func() {
				want := c.want
				if s.name == google && c.google != nil {
					want = c.google
					t.Logf("%s: %s", c.name, c.reason)
				}
				o := &observer{t: t, ctx: t.Context(), side: s, project: fmt.Sprintf("projects/%s-timed-%d", process, i)}
				o.setUp()
				c.observe(o)
				if diff := cmp.Diff(want, o.seen); diff != "" {
					t.Errorf("%s, %s (-want +got):\n%s", c.name, s.name, diff)
				}
			})
		}
	}
}

// observer drives one side through a timed behaviour.
type observer struct {
	t       *testing.T
	ctx     context.Context
	side    *side
	project string
	seen    []string
}

func (o *observer) topic() string            { return o.project + "/topics/main" }
func (o *observer) deadTopic() string        { return o.project + "/topics/dead" }
func (o *observer) subscription() string     { return o.project + "/subscriptions/main" }
func (o *observer) deadSubscription() string { return o.project + "/subscriptions/dead" }

func (o *observer) see(what string, value any) {
	o.seen = append(o.seen, fmt.Sprintf("%s: %v", what, value))
}

func (o *observer) check(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Error(err)
		runtime.Goexit() // as t.Fatal, which is for the test's own goroutine
	}
}

func (o *observer) setUp() {
	o.t.Helper()
	for _, name := range []string{o.topic(), o.deadTopic()} {
		_, err := o.side.publisher.CreateTopic(o.ctx, &pubsubpb.Topic{Name: name})
		o.check(err)
	}
	_, err := o.side.consumer.CreateSubscription(o.ctx, &pubsubpb.Subscription{Name: o.deadSubscription(), Topic: o.deadTopic()})
	o.check(err)
}

func (o *observer) subscribe(s *pubsubpb.Subscription) {
	o.t.Helper()
	s.Name, s.Topic = o.subscription(), o.topic()
	_, err := o.side.consumer.CreateSubscription(o.ctx, s)
	o.check(err)
}

func (o *observer) publish(data, key string) {
	o.t.Helper()
	m := &pubsubpb.PubsubMessage{Data: []byte(data), OrderingKey: key}
	if key != "" {
		m.Attributes = map[string]string{"n": data}
	}
	_, err := o.side.publisher.Publish(o.ctx, &pubsubpb.PublishRequest{Topic: o.topic(), Messages: []*pubsubpb.PubsubMessage{m}})
	o.check(err)
}

func (o *observer) pull() []*pubsubpb.ReceivedMessage { return o.pullFrom(o.subscription()) }

func (o *observer) pullFrom(subscription string) []*pubsubpb.ReceivedMessage {
	o.t.Helper()
	resp, err := o.side.consumer.Pull(o.ctx, pullAll(subscription).request.(*pubsubpb.PullRequest))
	o.check(err)
	return resp.GetReceivedMessages()
}

// patience is how long something that must come may take on a busy machine.
const patience = 10 * time.Second

// wait pulls until n messages have come, for as long as patience lasts.
func (o *observer) wait(n int) []*pubsubpb.ReceivedMessage { return o.waitFrom(o.subscription(), n) }

func (o *observer) waitFrom(subscription string, n int) []*pubsubpb.ReceivedMessage {
	o.t.Helper()
	var all []*pubsubpb.ReceivedMessage
	for end := time.Now().Add(patience); len(all) < n && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		all = append(all, o.pullFrom(subscription)...)
	}
	return all
}

func (o *observer) deadline(messages []*pubsubpb.ReceivedMessage, seconds int32) {
	o.t.Helper()
	_, err := o.side.consumer.ModifyAckDeadline(o.ctx, &pubsubpb.ModifyAckDeadlineRequest{Subscription: o.subscription(), AckIds: ackIDs(messages), AckDeadlineSeconds: seconds})
	o.check(err)
}

func (o *observer) texts(messages []*pubsubpb.ReceivedMessage) []string {
	out := []string{}
	for _, m := range messages {
		out = append(out, string(m.GetMessage().GetData()))
	}
	return out
}

func ackIDs(messages []*pubsubpb.ReceivedMessage) []string {
	var ids []string
	for _, m := range messages {
		ids = append(ids, m.GetAckId())
	}
	return ids
}

// shape lists the fields of a JSON object, those of objects within it after a dot.
func shape(body []byte) []string {
	var object map[string]any
	if err := json.Unmarshal(body, &object); err != nil {
		return []string{err.Error()}
	}
	var fields []string
	var walk func(prefix string, object map[string]any)
	walk = func(prefix string, object map[string]any) {
		for name, value := range object {
			fields = append(fields, prefix+name)
			if inner, ok := value.(map[string]any); ok {
				walk(prefix+name+".", inner)
			}
		}
	}
	walk("", object)
	slices.SortFunc(fields, strings.Compare)
	return fields
}
