package cloudtasks

import (
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// fullQueue sets every field that a client may set.
func fullQueue() *cloudtaskspb.Queue {
	return &cloudtaskspb.Queue{
		Name:                     queueA,
		AppEngineRoutingOverride: &cloudtaskspb.AppEngineRouting{Service: "mail", Version: "v2", Instance: "i1", Host: "i1.v2.mail.shop.appspot.com"},
		HttpTarget: &cloudtaskspb.HttpTarget{
			UriOverride: &cloudtaskspb.UriOverride{
				Scheme: cloudtaskspb.UriOverride_HTTP.Enum(), Host: new("orders.test"), Port: new(int64(8101)),
				PathOverride:           &cloudtaskspb.PathOverride{Path: "/send"},
				QueryOverride:          &cloudtaskspb.QueryOverride{QueryParams: "a=1"},
				UriOverrideEnforceMode: cloudtaskspb.UriOverride_IF_NOT_EXISTS,
			},
			HttpMethod:          cloudtaskspb.HttpMethod_PATCH,
			HeaderOverrides:     []*cloudtaskspb.HttpTarget_HeaderOverride{{Header: &cloudtaskspb.HttpTarget_Header{Key: "A", Value: "1"}}},
			AuthorizationHeader: &cloudtaskspb.HttpTarget_OidcToken{OidcToken: &cloudtaskspb.OidcToken{ServiceAccountEmail: account, Audience: "https://orders.test"}},
		},
		RateLimits: &cloudtaskspb.RateLimits{MaxDispatchesPerSecond: 1.5, MaxBurstSize: 2, MaxConcurrentDispatches: 7},
		RetryConfig: &cloudtaskspb.RetryConfig{
			MaxAttempts: 3, MaxRetryDuration: durationpb.New(time.Minute), MinBackoff: durationpb.New(1500 * time.Millisecond),
			MaxBackoff: durationpb.New(time.Minute), MaxDoublings: 2,
		},
		State:                    cloudtaskspb.Queue_RUNNING,
		StackdriverLoggingConfig: &cloudtaskspb.StackdriverLoggingConfig{SamplingRatio: 0.25},
	}
}

func TestEveryFieldOfAQueueIsKept(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		want := fullQueue()
		unset(t, want.ProtoReflect(), "purge_time", "oauth_token")
		check := func(what string, got *cloudtaskspb.Queue, err error) {
			t.Helper()
			b.must(err)
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}
		sent := fullQueue()
		// Output only: what a client sends is passed over.
		sent.State, sent.PurgeTime = cloudtaskspb.Queue_DISABLED, timestamppb.Now()
		sent.RateLimits.MaxBurstSize, sent.AppEngineRoutingOverride.Host = -1, "mine"
		created, err := b.CreateQueue(b.ctx, &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: sent})
		check("created", created, err)
		got, err := b.GetQueue(b.ctx, &cloudtaskspb.GetQueueRequest{Name: queueA})
		check("got", got, err)
		listed, err := b.ListQueues(b.ctx, &cloudtaskspb.ListQueuesRequest{Parent: location})
		b.must(err)
		check("listed", listed.GetQueues()[0], nil)
		for _, change := range []func() (*cloudtaskspb.Queue, error){
			func() (*cloudtaskspb.Queue, error) {
				want.State = cloudtaskspb.Queue_PAUSED
				return b.PauseQueue(b.ctx, &cloudtaskspb.PauseQueueRequest{Name: queueA})
			},
			func() (*cloudtaskspb.Queue, error) {
				want.State = cloudtaskspb.Queue_RUNNING
				return b.ResumeQueue(b.ctx, &cloudtaskspb.ResumeQueueRequest{Name: queueA})
			},
			func() (*cloudtaskspb.Queue, error) {
				b.after(1234567 * time.Nanosecond)
				want.PurgeTime = timestamppb.New(b.start.Add(1234 * time.Microsecond))
				return b.PurgeQueue(b.ctx, &cloudtaskspb.PurgeQueueRequest{Name: queueA})
			},
			func() (*cloudtaskspb.Queue, error) { // no mask: all fields; the rest of the queue stays
				return b.UpdateQueue(b.ctx, &cloudtaskspb.UpdateQueueRequest{Queue: sent})
			},
			func() (*cloudtaskspb.Queue, error) {
				want.HttpTarget, want.StackdriverLoggingConfig, want.AppEngineRoutingOverride = nil, nil, nil
				want.RateLimits.MaxConcurrentDispatches = 1000
				return b.UpdateQueue(b.ctx, &cloudtaskspb.UpdateQueueRequest{
					Queue:      &cloudtaskspb.Queue{Name: queueA, State: cloudtaskspb.Queue_PAUSED},
					UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"http_target", "stackdriver_logging_config", "app_engine_routing_override", "rate_limits.max_concurrent_dispatches", "rate_limits.max_burst_size", "state", "purge_time", "name"}},
				})
			},
		} {
			got, err := change()
			check("changed", got, err)
		}
	})
}

// unset fails the test if a field is not set that is not among the excepted ones: so a field that a later version of
// the proto adds is noticed. It looks into messages and the first element of lists.
func unset(t *testing.T, m protoreflect.Message, except ...string) {
	t.Helper()
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		excepted := false
		for _, name := range except {
			excepted = excepted || string(field.Name()) == name
		}
		switch {
		case excepted || field.ContainingOneof() != nil && !field.ContainingOneof().IsSynthetic() && m.WhichOneof(field.ContainingOneof()) != field && m.WhichOneof(field.ContainingOneof()) != nil:
		case !m.Has(field):
			t.Errorf("the test does not set %s", field.FullName())
		case field.IsList() && field.Message() != nil:
			unset(t, m.Get(field).List().Get(0).Message(), except...)
		case field.Message() != nil && !field.IsMap() && field.Message().ParentFile().Package() == "google.cloud.tasks.v2":
			unset(t, m.Get(field).Message(), except...)
		}
	}
}

func TestEveryFieldOfATaskIsKept(t *testing.T) {
	inBubble(t, answers(503), func(b *bench) {
		b.config.AppEngine = "http://127.0.0.1:8080"
		b.queue(nil, nil)
		at := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(b.start.Add(d)) }
		for _, c := range []struct {
			id     string
			target func(*cloudtaskspb.Task)
			unset  []string
		}{
			{"http", func(task *cloudtaskspb.Task) {
				task.MessageType = &cloudtaskspb.Task_HttpRequest{HttpRequest: &cloudtaskspb.HttpRequest{
					Url: "https://mailer.test/send?a=1", HttpMethod: cloudtaskspb.HttpMethod_PATCH,
					Headers: map[string]string{"x-Mixed": "1", "User-Agent": "Google-Cloud-Tasks"}, Body: []byte("body\x00"),
					AuthorizationHeader: &cloudtaskspb.HttpRequest_OauthToken{OauthToken: &cloudtaskspb.OAuthToken{ServiceAccountEmail: account, Scope: "s"}},
				}}
			}, []string{"oidc_token"}},
			{"oidc", func(task *cloudtaskspb.Task) {
				task.MessageType = &cloudtaskspb.Task_HttpRequest{HttpRequest: &cloudtaskspb.HttpRequest{
					Url: "https://mailer.test/send", HttpMethod: cloudtaskspb.HttpMethod_POST,
					Headers: map[string]string{"User-Agent": "Google-Cloud-Tasks"}, Body: []byte("body"),
					AuthorizationHeader: &cloudtaskspb.HttpRequest_OidcToken{OidcToken: &cloudtaskspb.OidcToken{ServiceAccountEmail: account, Audience: "a"}},
				}}
			}, []string{"oauth_token"}},
			{"app-engine", appEngine(func(r *cloudtaskspb.AppEngineHttpRequest) {
				r.HttpMethod, r.RelativeUri, r.Body = cloudtaskspb.HttpMethod_PUT, "/work?a=1", []byte("body")
				r.Headers = map[string]string{"x-Mixed": "1", "content-type": "text/plain", "User-Agent": "AppEngine-Google; (+http://code.google.com/appengine)", "Content-Length": "4"}
				r.AppEngineRouting = &cloudtaskspb.AppEngineRouting{Service: "mail", Version: "v2", Instance: "i1", Host: "i1.v2.mail.shop.appspot.com"}
			}), nil},
		} {
			t.Run(c.id, func(t *testing.T) {
				now := b.clock.Now().Sub(b.start)
				want := &cloudtaskspb.Task{
					Name: queueA + "/tasks/" + c.id, ScheduleTime: at(now + time.Minute), CreateTime: at(now.Truncate(time.Second)), DispatchDeadline: durationpb.New(15500 * time.Millisecond),
					RetryConfig: &cloudtaskspb.RetryConfig{MaxAttempts: 5, MaxRetryDuration: durationpb.New(time.Hour), MinBackoff: durationpb.New(time.Minute), MaxBackoff: durationpb.New(time.Hour), MaxDoublings: 1},
					View:        cloudtaskspb.Task_FULL,
				}
				c.target(want)
				sent := proto.CloneOf(want)
				if r := sent.GetHttpRequest(); r != nil {
					r.Headers["User-Agent"] = "mine" // replaced
				} else {
					delete(sent.GetAppEngineHttpRequest().Headers, "User-Agent") // a given one is added to
				}
				// Output only: what a client sends is passed over.
				sent.CreateTime, sent.DispatchCount, sent.ResponseCount, sent.View = timestamppb.New(time.Unix(1, 0)), 7, 7, cloudtaskspb.Task_BASIC
				sent.FirstAttempt, sent.LastAttempt = &cloudtaskspb.Attempt{ScheduleTime: at(0)}, &cloudtaskspb.Attempt{ScheduleTime: at(0)}
				full := func(got *cloudtaskspb.Task, err error) {
					t.Helper()
					b.must(err)
					if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
						t.Errorf("FULL (-want +got):\n%s", diff)
					}
				}
				basic := func(got *cloudtaskspb.Task, err error) {
					t.Helper()
					b.must(err)
					bare := proto.CloneOf(want)
					bare.View = cloudtaskspb.Task_BASIC
					if r := bare.GetHttpRequest(); r != nil {
						r.Body = nil
					} else {
						bare.GetAppEngineHttpRequest().Body = nil
					}
					if diff := cmp.Diff(bare, got, protocmp.Transform()); diff != "" {
						t.Errorf("BASIC (-want +got):\n%s", diff)
					}
				}
				list := func(view cloudtaskspb.Task_View) (*cloudtaskspb.Task, error) {
					r, err := b.ListTasks(b.ctx, &cloudtaskspb.ListTasksRequest{Parent: queueA, ResponseView: view})
					b.must(err)
					for _, task := range r.GetTasks() {
						if task.GetName() == want.GetName() {
							return task, nil
						}
					}
					return nil, nil
				}
				full(b.CreateTask(b.ctx, &cloudtaskspb.CreateTaskRequest{Parent: queueA, Task: sent, ResponseView: cloudtaskspb.Task_FULL}))
				basic(b.GetTask(b.ctx, &cloudtaskspb.GetTaskRequest{Name: want.GetName(), ResponseView: cloudtaskspb.Task_BASIC}))
				full(list(cloudtaskspb.Task_FULL))
				basic(list(cloudtaskspb.Task_VIEW_UNSPECIFIED))

				running, err := b.RunTask(b.ctx, &cloudtaskspb.RunTaskRequest{Name: want.GetName(), ResponseView: cloudtaskspb.Task_FULL})
				want.DispatchCount = 1
				want.FirstAttempt = &cloudtaskspb.Attempt{DispatchTime: at(now)}
				want.LastAttempt = &cloudtaskspb.Attempt{ScheduleTime: at(now + time.Minute), DispatchTime: at(now)}
				full(running, err)
				b.after(0)
				want.ResponseCount = 1
				want.LastAttempt.ResponseTime = at(now)
				want.LastAttempt.ResponseStatus = &status.Status{Code: 14, Message: "UNAVAILABLE(14): HTTP status code 503"}
				full(b.GetTask(b.ctx, &cloudtaskspb.GetTaskRequest{Name: want.GetName(), ResponseView: cloudtaskspb.Task_FULL}))
				unset(t, want.ProtoReflect(), append(c.unset, "schedule_time", "response_time", "response_status")...)
			})
		}
	})
}

func TestDefaultsOfATask(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(nil, nil)
		got := b.create(b.in(time.Hour))
		if r := got.GetHttpRequest(); r.GetHttpMethod() != cloudtaskspb.HttpMethod_POST || got.GetDispatchDeadline().AsDuration() != 10*time.Minute || got.GetRetryConfig() != nil {
			t.Errorf("%v", got)
		}
	})
}

func TestEveryMethod(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(nil, nil)
		for number, name := range cloudtaskspb.HttpMethod_name {
			if number == 0 {
				continue
			}
			b.create(request(func(r *cloudtaskspb.HttpRequest) {
				r.HttpMethod = cloudtaskspb.HttpMethod(number)
				if !mayHaveBody(r.HttpMethod) {
					r.Body = nil
				}
			}))
			b.after(0)
			if got := b.got(); got[len(got)-1].method != name {
				t.Errorf("%s arrived as %s", name, got[len(got)-1].method)
			}
		}
	})
}
