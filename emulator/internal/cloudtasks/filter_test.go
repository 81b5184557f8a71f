package cloudtasks

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func TestFilter(t *testing.T) {
	queues := []*cloudtaskspb.Queue{
		{Name: location + "/queues/mail-out", State: cloudtaskspb.Queue_RUNNING},
		{
			Name: location + "/queues/orders", State: cloudtaskspb.Queue_PAUSED,
			RateLimits:  &cloudtaskspb.RateLimits{MaxDispatchesPerSecond: 0.5, MaxConcurrentDispatches: 7},
			RetryConfig: &cloudtaskspb.RetryConfig{MaxAttempts: -1, MinBackoff: durationpb.New(1500 * time.Millisecond)},
			PurgeTime:   timestamppb.New(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)),
			HttpTarget: &cloudtaskspb.HttpTarget{
				UriOverride:     &cloudtaskspb.UriOverride{Host: new("orders.test"), Port: new(int64(0))},
				HeaderOverrides: []*cloudtaskspb.HttpTarget_HeaderOverride{{Header: &cloudtaskspb.HttpTarget_Header{Key: "X-A"}}, {Header: &cloudtaskspb.HttpTarget_Header{Key: "X-B"}}},
			},
		},
	}
	const none, first, second, both = "", "mail-out", "orders", "mail-out orders"
	for filter, want := range map[string]string{
		"":                                   both,
		"state: PAUSED":                      second, // the proto's own example
		"state=paused":                       second,
		"state = 1":                          first,
		"state != PAUSED":                    first,
		"NOT state:PAUSED":                   first,
		"-state:PAUSED":                      first,
		"name:mail-out":                      first,
		"name:MAIL":                          first,
		`name="` + queues[1].Name + `"`:      second,
		"name = " + queues[1].Name:           second,
		"name < " + location + "/queues/n":   first,
		"name >= " + location + "/queues/n":  second,
		"name:mail OR name:orders":           both,
		"name:mail AND name:orders":          none,
		"name:mail name:orders":              none,
		"(name:mail OR name:o) state:PAUSED": second,
		"name:o AND state:RUNNING OR state:PAUSED AND name:orders": second, // OR binds tighter
		"rate_limits.max_dispatches_per_second <= 0.5":             second,
		"rateLimits.maxDispatchesPerSecond > 0.5":                  none,
		"rateLimits.maxConcurrentDispatches=7":                     second,
		"rateLimits.maxConcurrentDispatches!=7":                    first,
		"retry_config.max_attempts = -1":                           second,
		"retry_config.max_attempts < 0":                            second,
		"retryConfig.minBackoff = 1.5s":                            second,
		"retryConfig.minBackoff < 2":                               second,
		"retryConfig.minBackoff > \"1h\"":                          none,
		`purge_time >= "2026-01-02T03:04:05Z"`:                     second,
		`purge_time < "2026-01-02T03:04:05+00:00"`:                 none,
		"purge_time:*":                              second,
		"NOT purge_time:*":                          first,
		"http_target.uri_override.port:*":           second,
		"http_target.uri_override.port = 0":         second,
		"http_target.header_overrides.header.key:B": second,
		"http_target.header_overrides.header.key:C": none,
		"httpTarget:*":                              second,
	} {
		matches, err := compileFilter(filter, queues[0].ProtoReflect().Descriptor())
		if err != nil {
			t.Errorf("%s: %v", filter, err)
			continue
		}
		var got []string
		for _, q := range queues {
			if matches(q.ProtoReflect()) {
				got = append(got, q.Name[len(location+"/queues/"):])
			}
		}
		if got := strings.Join(got, " "); got != want {
			t.Errorf("%s: %q, want %q", filter, got, want)
		}
	}
}

func TestFilterErrors(t *testing.T) {
	for filter, message := range map[string]string{
		"PAUSED":                               "a value alone says nothing",
		"state = ":                             "it cannot be read",
		"state = NOTHING":                      "state must be compared with a value of State",
		"state > PAUSED":                       "state has no order",
		"status = PAUSED":                      `Queue has no field "status"`,
		"name.x = 1":                           `"name" has no fields`,
		"rate_limits = 1":                      "rate_limits is a message",
		"rate_limits.max_burst_size = many":    "max_burst_size must be compared with a number",
		"rate_limits.max_burst_size = NaN":     "max_burst_size must be compared with a number",
		"retry_config.min_backoff = soon":      "min_backoff must be compared with a duration",
		"purge_time = yesterday":               "purge_time must be compared with a time",
		`purge_time > "0001-01-01T00:00:00Z"`:  "purge_time must be compared with a time",
		"len(name) > 3":                        "what precedes an operator must be a field",
		"lower(name)":                          `there is no function "lower"`,
		"name = lower(x)":                      "what follows = must be a value",
		"(state:PAUSED":                        "it cannot be read",
		"'":                                    "it cannot be read",
		"\xff":                                 "it cannot be read",
		strings.Repeat("(", 40):                "it has more than",
		"name:" + strings.Repeat("x", 3<<10):   "it has more than",
		strings.Repeat("a(", 33) + "x":         "it has more than",
		"name:a " + strings.Repeat("-", 1000):  "it cannot be read",
		strings.Repeat("NOT ", 400) + "name:a": "it cannot be read",
	} {
		started := time.Now()
		_, err := compileFilter(filter, (&cloudtaskspb.Queue{}).ProtoReflect().Descriptor())
		wantError(t, err, codes.InvalidArgument, "The filter is not valid: "+message)
		wantField(t, err, "filter")
		if took := time.Since(started); took > time.Second {
			t.Errorf("%.20q took %v", filter, took)
		}
	}
}

func FuzzFilter(f *testing.F) {
	for _, filter := range []string{
		"state: PAUSED", "name:mail-out OR -name:o", `retry_config.min_backoff > "1s" AND (state=RUNNING)`, "a(b(c(", "purge_time:*",
		"rateLimits.maxDispatchesPerSecond=1e400", "'", "\\", "name:\"\\\"", "-", "NOT", "0x", "http_target.header_overrides.header.key:x", "1.5s", "2026-01-02",
	} {
		f.Add(filter)
	}
	queue := &cloudtaskspb.Queue{Name: queueA, HttpTarget: &cloudtaskspb.HttpTarget{HeaderOverrides: []*cloudtaskspb.HttpTarget_HeaderOverride{{}}}}
	f.Fuzz(func(t *testing.T, filter string) {
		matches, err := compileFilter(filter, queue.ProtoReflect().Descriptor())
		if err == nil {
			matches(queue.ProtoReflect())
			matches((&cloudtaskspb.Queue{}).ProtoReflect())
		}
	})
}

func TestListQueuesFiltersAndPages(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		for i := range 10 {
			name := fmt.Sprintf("%s/queues/q-%d", location, i)
			_, err := b.CreateQueue(b.ctx, &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{Name: name}})
			b.must(err)
			if i%2 == 0 {
				_, err = b.PauseQueue(b.ctx, &cloudtaskspb.PauseQueueRequest{Name: name})
				b.must(err)
			}
		}
		var got, tokens []string
		for token := ""; len(got) < 10; {
			r, err := b.ListQueues(b.ctx, &cloudtaskspb.ListQueuesRequest{Parent: location, PageSize: 2, Filter: "state:PAUSED", PageToken: token})
			b.must(err)
			for _, q := range r.GetQueues() {
				got = append(got, q.GetName()[len(location+"/queues/"):])
			}
			if token = r.GetNextPageToken(); token == "" {
				break
			}
			tokens = append(tokens, token)
		}
		if diff := cmp.Diff([]string{"q-0", "q-2", "q-4", "q-6", "q-8"}, got); diff != "" || len(tokens) != 2 {
			t.Errorf("%d tokens (-want +got):\n%s", len(tokens), diff)
		}
		again, err := b.ListQueues(b.ctx, &cloudtaskspb.ListQueuesRequest{Parent: location, PageSize: 2, Filter: "state:PAUSED"})
		b.must(err)
		if again.GetNextPageToken() != tokens[0] {
			t.Error("the same page has another token")
		}
		_, err = b.ListQueues(b.ctx, &cloudtaskspb.ListQueuesRequest{Parent: location, Filter: "state:RUNNING", PageToken: tokens[0]})
		wantError(t, err, codes.InvalidArgument, "pageToken is of a list with another filter")
		_, err = b.ListQueues(b.ctx, &cloudtaskspb.ListQueuesRequest{Parent: location, PageToken: tokens[0]})
		wantError(t, err, codes.InvalidArgument, "pageToken is of a list with another filter")
		_, err = b.ListQueues(b.ctx, &cloudtaskspb.ListQueuesRequest{Parent: location, Filter: "nonsense"})
		wantError(t, err, codes.InvalidArgument, "The filter is not valid")
		_, err = b.ListQueues(b.ctx, &cloudtaskspb.ListQueuesRequest{Parent: "projects/p"})
		wantError(t, err, codes.InvalidArgument, `"projects/p" is not a location name`)
	})
}
