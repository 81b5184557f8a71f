package deploy_test

import (
	"strings"
	"testing"
	"time"

	cloudtasks "cloud.google.com/go/cloudtasks/apiv2"
	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	gpubsub "cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/deploy"
	"waybill.dev/emulator"
	"waybill.dev/pubsub"
	"waybill.dev/tasks"
)

func TestMain(m *testing.M) {
	// A dependency of Google's clients starts this one when the program is loaded, and offers no way to stop it.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

type message struct{ ID string }

// shop has a task, an ordered event with one subscription, and a call, which needs nothing.
func shop() *dispatch.App {
	app := dispatch.NewApp("shop")
	login, mailer, search := app.Service("login"), app.Service("mailer"), app.Service("search")
	dispatch.NewTask[message](mailer, "send-welcome", dispatch.From(login), dispatch.Retry{MaxAttempts: 8, MaxBackoff: 5 * time.Minute})
	event := dispatch.NewEvent(login, "user-signed-up", dispatch.OrderBy(func(m message) string { return m.ID }))
	event.To(search, "index-user", dispatch.Retry{MaxAttempts: 3}, dispatch.Deadline(2*time.Minute))
	dispatch.NewCall[message, message](search, "find", dispatch.From(login))
	return app
}

func TestCreateMakesExactlyWhatTheContractsNeed(t *testing.T) {
	emu, err := emulator.Start(t.Context(), emulator.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer emu.Close()
	env := &dispatch.Environment{Project: "p", Location: "europe-west1", Prefix: "staging", Emulator: emu.Addr()}
	plan, err := deploy.NewPlan(shop(), env)
	if err != nil {
		t.Fatal(err)
	}
	changes, err := deploy.Create(t.Context(), plan, deploy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const topics, subscriptions = "projects/p/topics/staging--shop--", "projects/p/subscriptions/staging--shop--"
	want := []deploy.Change{
		{"topic", topics + "send-welcome--dead", true, ""},
		{"topic", topics + "user-signed-up", true, ""},
		{"topic", topics + "index-user--dead", true, ""},
		{"dead-letter subscription", subscriptions + "send-welcome--dead", true, ""},
		{"dead-letter subscription", subscriptions + "index-user--dead", true, ""},
		{"push subscription", subscriptions + "index-user", true, ""},
		{"queue", "projects/p/locations/europe-west1/queues/staging--shop--send-welcome", true, ""},
	}
	if diff := cmp.Diff(want, changes); diff != "" {
		t.Errorf("the first time (-want +got):\n%s", diff)
	}
	changes, err = deploy.Create(t.Context(), plan, deploy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		want[i].Created = false
	}
	if diff := cmp.Diff(want, changes); diff != "" {
		t.Errorf("the second time (-want +got):\n%s", diff)
	}

	subs, err := gpubsub.NewClient(t.Context(), "p", pubsub.EmulatorOptions(emu.Addr())...)
	if err != nil {
		t.Fatal(err)
	}
	defer subs.Close()
	got, err := subs.SubscriptionAdminClient.GetSubscription(t.Context(), &pubsubpb.GetSubscriptionRequest{Subscription: subscriptions + "index-user"})
	if err != nil {
		t.Fatal(err)
	}
	same(t, &pubsubpb.Subscription{
		Name: subscriptions + "index-user", Topic: topics + "user-signed-up",
		AckDeadlineSeconds: 125, EnableMessageOrdering: true,
		PushConfig: &pubsubpb.PushConfig{
			PushEndpoint: "http://127.0.0.1:8103/_waybill/events/index-user",
			AuthenticationMethod: &pubsubpb.PushConfig_OidcToken_{OidcToken: &pubsubpb.PushConfig_OidcToken{
				ServiceAccountEmail: "shop-push@p.iam.gserviceaccount.com", Audience: "http://127.0.0.1:8103",
			}},
		},
		RetryPolicy:      &pubsubpb.RetryPolicy{MinimumBackoff: durationpb.New(time.Second), MaximumBackoff: durationpb.New(10 * time.Minute)},
		DeadLetterPolicy: &pubsubpb.DeadLetterPolicy{DeadLetterTopic: topics + "index-user--dead", MaxDeliveryAttempts: 8}, // ours acts at 3
	}, got, "state", "message_retention_duration", "expiration_policy")

	dead, err := subs.SubscriptionAdminClient.GetSubscription(t.Context(), &pubsubpb.GetSubscriptionRequest{Subscription: subscriptions + "send-welcome--dead"})
	if err != nil {
		t.Fatal(err)
	}
	same(t, &pubsubpb.Subscription{
		Name: subscriptions + "send-welcome--dead", Topic: topics + "send-welcome--dead", AckDeadlineSeconds: 60,
		Labels: map[string]string{
			"waybill-app": "shop", "waybill-kind": "task", "waybill-to": "mailer", "waybill-from-login": "yes", "waybill-deadline-ms": "35000",
		},
		MessageRetentionDuration: durationpb.New(7 * 24 * time.Hour), ExpirationPolicy: &pubsubpb.ExpirationPolicy{},
	}, dead, "state", "push_config")

	queues, err := cloudtasks.NewClient(t.Context(), tasks.EmulatorOptions(emu.Addr())...)
	if err != nil {
		t.Fatal(err)
	}
	defer queues.Close()
	queue, err := queues.GetQueue(t.Context(), &cloudtaskspb.GetQueueRequest{Name: "projects/p/locations/europe-west1/queues/staging--shop--send-welcome"})
	if err != nil {
		t.Fatal(err)
	}
	if r := queue.RetryConfig; r.MaxAttempts != -1 || r.MaxRetryDuration.AsDuration() != 0 {
		t.Errorf("the queue gives up after %d attempts or %v; a task that no handler saw would be gone", r.MaxAttempts, r.MaxRetryDuration.AsDuration())
	}
	if r := queue.RetryConfig; r.MinBackoff.AsDuration() != time.Second || r.MaxBackoff.AsDuration() != 5*time.Minute {
		t.Errorf("the queue waits %v to %v", r.MinBackoff.AsDuration(), r.MaxBackoff.AsDuration())
	}
}

// same compares two messages but for some fields of theirs.
func same(t *testing.T, want, got *pubsubpb.Subscription, but ...protoreflect.Name) {
	t.Helper()
	if diff := cmp.Diff(want, got, protocmp.Transform(), protocmp.IgnoreFields(want, but...)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", want.Name, diff)
	}
}

func TestNothingIsCreatedInACloudUnlessSaid(t *testing.T) {
	env := &dispatch.Environment{Project: "p", Location: "l", Services: map[string]dispatch.ServiceEnvironment{
		"mailer": {URL: "https://mailer.example.com"}, "search": {URL: "https://search.example.com"},
	}}
	for mend, emulated := range map[string]func(*dispatch.Environment){
		"set Options.Cloud":             func(*dispatch.Environment) {},
		"set both CLOUD_TASKS_EMULATOR": func(e *dispatch.Environment) { e.PubSubEmulator = "127.0.0.1:1" },
		"or neither":                    func(e *dispatch.Environment) { e.TasksEmulator = "127.0.0.1:1" },
	} {
		e := *env
		emulated(&e)
		plan, err := deploy.NewPlan(shop(), &e)
		if err != nil {
			t.Fatal(err)
		}
		if kept := plan.DeadLetterSubscriptions[0].Retention; kept != 31*24*time.Hour {
			t.Errorf("dead letters are kept for %v", kept)
		}
		changes, err := deploy.Create(t.Context(), plan, deploy.Options{Cloud: e.IsHalfEmulated()})
		if err == nil || !strings.Contains(err.Error(), mend) || len(changes) > 0 {
			t.Errorf("%v, %v; want an error with %q", changes, err, mend)
		}
	}
}

func TestASubscriptionThatPushesElsewhereIsFound(t *testing.T) {
	emu, err := emulator.Start(t.Context(), emulator.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer emu.Close()
	create := func(env dispatch.Environment) error {
		t.Helper()
		env.Project, env.Location, env.Emulator = "p", "l", emu.Addr()
		plan, err := deploy.NewPlan(shop(), &env)
		if err != nil {
			t.Fatal(err)
		}
		_, err = deploy.Create(t.Context(), plan, deploy.Options{})
		return err
	}
	if err := create(dispatch.Environment{}); err != nil {
		t.Fatal(err)
	}
	for mend, env := range map[string]dispatch.Environment{
		`it pushes to "http://127.0.0.1:8103/_waybill/events/index-user" and the plan says "http://127.0.0.1:9000`: {
			Services: map[string]dispatch.ServiceEnvironment{"search": {URL: "http://127.0.0.1:9000"}},
		},
		`its tokens are for "http://127.0.0.1:8103" and the plan says "custom"`: {
			Services: map[string]dispatch.ServiceEnvironment{"search": {Audience: "custom"}},
		},
		`it pushes as "shop-push@p.iam.gserviceaccount.com" and the plan says "other@`: {PushAccount: "other@p.iam.gserviceaccount.com"},
	} {
		if err := create(env); err == nil || !strings.Contains(err.Error(), mend) || !strings.Contains(err.Error(), "delete it, or reset") {
			t.Errorf("error %v, want one with %q", err, mend)
		}
	}
	if err := create(dispatch.Environment{}); err != nil {
		t.Errorf("the same again: %v", err)
	}
}

func TestAPlanNamesEverythingThatIsMissing(t *testing.T) {
	_, err := deploy.NewPlan(shop(), &dispatch.Environment{})
	for _, text := range []string{`add "project"`, `no location for the queue of task "send-welcome"`, `no URL for service "search"`} {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("the error lacks %q: %v", text, err)
		}
	}
	if _, err := deploy.NewPlan(shop(), nil); err == nil {
		t.Error("a plan without an environment")
	}
	bad := dispatch.NewApp("shop")
	dispatch.NewTask[message](bad.Service("mailer"), "send")
	if _, err := deploy.NewPlan(bad, &dispatch.Environment{Project: "p", Location: "l"}); err == nil || !strings.Contains(err.Error(), "nobody may send it") {
		t.Errorf("a plan of bad contracts: %v", err)
	}
}

// fast is an app with this rate, and with names that it had before, or that app before it had them.
func fast(rate dispatch.Rate, before bool) *dispatch.App {
	app := dispatch.NewApp("shop")
	login, mailer := app.Service("login"), app.Service("mailer")
	event := dispatch.NewEvent[message](login, "user-signed-up")
	if before {
		dispatch.NewTask[message](mailer, "old-fast", dispatch.From(login))
		event.To(mailer, "old-copy")
		return app
	}
	dispatch.NewTask[message](mailer, "fast", dispatch.From(login), rate, dispatch.Alias("old-fast"), dispatch.Alias("older-fast"))
	event.To(mailer, "copy", dispatch.Alias("old-copy"), dispatch.Alias("older-copy"))
	return app
}

func TestARateBeyondOneQueueTakesSeveral(t *testing.T) {
	emu, err := emulator.Start(t.Context(), emulator.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer emu.Close()
	env := &dispatch.Environment{Project: "p", Location: "europe-west1", Emulator: emu.Addr()}
	create := func(rate dispatch.Rate) map[string]deploy.Change {
		t.Helper()
		plan, err := deploy.NewPlan(fast(rate, false), env)
		if err != nil {
			t.Fatal(err)
		}
		changes, err := deploy.Create(t.Context(), plan, deploy.Options{})
		if err != nil {
			t.Fatal(err)
		}
		queues := map[string]deploy.Change{}
		for _, c := range changes {
			if c.Kind == "queue" {
				queues[c.Name] = c
			}
		}
		return queues
	}
	const first = "projects/p/locations/europe-west1/queues/shop--fast"
	if queues := create(dispatch.Rate{PerSecond: 1200, Concurrent: 10}); len(queues) != 3 || !queues[first].Created || !queues[first+"--2"].Created || !queues[first+"--3"].Created {
		t.Errorf("queues %v", queues)
	}
	client, err := cloudtasks.NewClient(t.Context(), tasks.EmulatorOptions(emu.Addr())...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for name, concurrent := range map[string]int32{first: 4, first + "--2": 3, first + "--3": 3} {
		queue, err := client.GetQueue(t.Context(), &cloudtaskspb.GetQueueRequest{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		if l := queue.GetRateLimits(); l.GetMaxDispatchesPerSecond() != 400 || l.GetMaxConcurrentDispatches() != concurrent {
			t.Errorf("%s: %v", name, l)
		}
	}
	// A changed number: what is there stays as it is, and the change says how to make it right.
	queues := create(dispatch.Rate{PerSecond: 900, Concurrent: 8})
	want := "it dispatches 400 a second where the plan says 450 and 3 at once where the plan says 4; change it with: gcloud tasks queues update " + first +
		"--2 --max-dispatches-per-second=450 --max-concurrent-dispatches=4"
	if note := queues[first+"--2"].Note; note != want {
		t.Errorf("%q, want %q", note, want)
	}
	if len(queues) != 2 {
		t.Errorf("queues %v", queues)
	}
	// Without a rate nothing is said about one.
	if queues := create(dispatch.Rate{}); queues[first].Note != "" || queues[first].Created {
		t.Errorf("queues %v", queues)
	}
}

func TestAnOldNameStaysUntilAPersonDeletesIt(t *testing.T) {
	emu, err := emulator.Start(t.Context(), emulator.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer emu.Close()
	env := &dispatch.Environment{Project: "p", Location: "europe-west1", Emulator: emu.Addr()}
	create := func(app *dispatch.App) (aliases []deploy.Change) {
		t.Helper()
		plan, err := deploy.NewPlan(app, env)
		if err != nil {
			t.Fatal(err)
		}
		changes, err := deploy.Create(t.Context(), plan, deploy.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			if c.Note != "" {
				aliases = append(aliases, c)
			}
		}
		return aliases
	}
	create(fast(dispatch.Rate{}, true))
	const queue, subscription = "projects/p/locations/europe-west1/queues/shop--old-fast", "projects/p/subscriptions/shop--old-copy"
	got := create(fast(dispatch.Rate{}, false))
	if len(got) != 2 {
		t.Fatalf("aliases %v, want those that are there", got)
	}
	for i, want := range []struct{ kind, name, route, command string }{
		{"push subscription", subscription, "subscription copy", "gcloud pubsub subscriptions delete " + subscription},
		{"queue", queue, "task fast", "gcloud tasks queues delete " + queue},
	} {
		if c := got[i]; c.Kind != want.kind || c.Name != want.name || c.Created || !strings.Contains(c.Note, "an old name of "+want.route) || !strings.Contains(c.Note, want.command) {
			t.Errorf("%+v", c)
		}
	}
	client, err := cloudtasks.NewClient(t.Context(), tasks.EmulatorOptions(emu.Addr())...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.DeleteQueue(t.Context(), &cloudtaskspb.DeleteQueueRequest{Name: queue}); err != nil {
		t.Fatal(err)
	}
	if got := create(fast(dispatch.Rate{}, false)); len(got) != 1 || got[0].Name != subscription {
		t.Errorf("after the queue was deleted: %v; it must not be made again", got)
	}
}
