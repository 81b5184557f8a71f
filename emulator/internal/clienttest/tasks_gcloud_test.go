package clienttest

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"cloud.google.com/go/iam/apiv1/iampb"
	"github.com/google/go-cmp/cmp"
	locationpb "google.golang.org/genproto/googleapis/cloud/location"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"waybill.dev/emulator"
)

const at = "--location=us-central1"

func TestTasksGcloudQueues(t *testing.T) {
	t.Parallel()
	g := newGcloud(t, start(t))
	slow(t)
	created := &cloudtaskspb.Queue{}
	g.read(t, created, "tasks", "queues", "create", "mails", at,
		"--max-dispatches-per-second=0.5", "--max-concurrent-dispatches=7", "--max-attempts=-1", "--min-backoff=1.5s", "--max-doublings=3")
	want := &cloudtaskspb.Queue{
		Name:       queue,
		State:      cloudtaskspb.Queue_RUNNING,
		RateLimits: &cloudtaskspb.RateLimits{MaxDispatchesPerSecond: 0.5, MaxConcurrentDispatches: 7, MaxBurstSize: created.GetRateLimits().GetMaxBurstSize()},
		RetryConfig: &cloudtaskspb.RetryConfig{
			MaxAttempts: -1, MaxRetryDuration: durationpb.New(0), MaxDoublings: 3,
			MinBackoff: durationpb.New(1500 * time.Millisecond), MaxBackoff: durationpb.New(time.Hour),
		},
	}
	if diff := cmp.Diff(want, created, protocmp.Transform()); diff != "" {
		t.Errorf("created (-want +got):\n%s", diff)
	}
	if got := g.refused(t, "tasks", "queues", "create", "mails", at); !strings.Contains(got, "already exists") {
		t.Errorf("a second one: %s", got)
	}
	g.run(t, "tasks", "queues", "update", "mails", at, "--max-attempts=3")
	want.RetryConfig.MaxAttempts = 3
	described := &cloudtaskspb.Queue{}
	g.read(t, described, "tasks", "queues", "describe", "mails", at)
	if diff := cmp.Diff(want, described, protocmp.Transform()); diff != "" {
		t.Errorf("updated (-want +got):\n%s", diff)
	}
	for command, state := range map[string]cloudtaskspb.Queue_State{"pause": cloudtaskspb.Queue_PAUSED, "resume": cloudtaskspb.Queue_RUNNING} {
		g.run(t, "tasks", "queues", command, "mails", at)
		described := &cloudtaskspb.Queue{}
		g.read(t, described, "tasks", "queues", "describe", "mails", at)
		if described.GetState() != state {
			t.Errorf("after %s: %v", command, described.GetState())
		}
	}
	g.run(t, "tasks", "queues", "purge", "mails", at)
	if got := g.names(t, "name", "tasks", "queues", "list", at); !slices.Equal(got, []string{queue}) {
		t.Errorf("listed: %v", got)
	}
	g.run(t, "tasks", "queues", "delete", "mails", at)
	if got := g.refused(t, "tasks", "queues", "describe", "mails", at); !strings.Contains(got, "NOT_FOUND") && !strings.Contains(got, "not found") && !strings.Contains(got, "does not exist") {
		t.Errorf("after its deletion: %s", got)
	}
}

func TestTasksGcloudTasks(t *testing.T) {
	t.Parallel()
	g := newGcloud(t, start(t))
	target, arrivals := receiver(t)
	due := time.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339)
	g.run(t, "tasks", "queues", "create", "mails", at)
	created := &cloudtaskspb.Task{}
	g.read(t, created, "tasks", "create-http-task", "one", "--queue=mails", at, "--url="+target+"/send?x=1", "--method=put",
		"--header=Content-Type: text/plain", "--body-content=hi", "--schedule-time="+due, "--oidc-service-account-email="+account, "--oidc-token-audience=https://mailer.test")
	described := &cloudtaskspb.Task{}
	g.read(t, described, "tasks", "describe", "one", "--queue=mails", at, "--response-view=full")
	if got := described.GetHttpRequest(); string(got.GetBody()) != "hi" || got.GetHeaders()["Content-Type"] != "text/plain" ||
		got.GetOidcToken().GetAudience() != "https://mailer.test" || described.GetScheduleTime().AsTime().Format(time.RFC3339) != due {
		t.Errorf("described: %v", described)
	}
	g.run(t, "tasks", "run", "one", "--queue=mails", at)
	if got := next(t, arrivals); got.method != "PUT" || got.path != "/send?x=1" || got.body != "hi" || got.header.Get("X-Cloudtasks-Taskname") != "one" || got.header.Get("Authorization") == "" {
		t.Errorf("arrived: %+v", got)
	}
	g.run(t, "tasks", "create-http-task", "two", "--queue=mails", at, "--url="+target, "--schedule-time="+due)
	if got := g.names(t, "name", "tasks", "list", "--queue=mails", at); !slices.Contains(got, queue+"/tasks/two") {
		t.Errorf("listed: %v", got)
	}
	g.run(t, "tasks", "delete", "two", "--queue=mails", at)
	if got := g.refused(t, "tasks", "delete", "two", "--queue=mails", at); !strings.Contains(got, "NOT_FOUND") && !strings.Contains(got, "not found") && !strings.Contains(got, "no longer exists") {
		t.Errorf("a second deletion: %s", got)
	}
	if got := g.refused(t, "tasks", "create-http-task", "--queue=none", at, "--url="+target); !strings.Contains(got, "Queue does not exist") {
		t.Errorf("no such queue: %s", got)
	}
}

func TestTasksGcloudAppEngineTask(t *testing.T) {
	t.Parallel()
	target, arrivals := receiver(t)
	g := newGcloud(t, startWith(t, emulator.Config{AppEngine: target}))
	slow(t)
	g.run(t, "tasks", "queues", "create", "mails", at, "--routing-override=service:mailer,version:v2")
	created := &cloudtaskspb.Task{}
	g.read(t, created, "tasks", "create-app-engine-task", "one", "--queue=mails", at, "--relative-uri=/work", "--body-content=hi", "--routing=service:overridden")
	if got := created.GetAppEngineHttpRequest(); got.GetRelativeUri() != "/work" || got.GetAppEngineRouting().GetService() != "overridden" {
		t.Errorf("created: %v", created)
	}
	if got := next(t, arrivals); got.method != "POST" || got.path != "/work" || got.body != "hi" || !strings.HasPrefix(got.host, "v2.mailer.shop.") {
		t.Errorf("arrived: %+v", got)
	}
}

func TestTasksGcloudBuffersTasks(t *testing.T) {
	t.Parallel()
	g := newGcloud(t, start(t))
	slow(t)
	target, arrivals := receiver(t)
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	g.run(t, "tasks", "queues", "create", "mails", at, "--http-method-override=PUT", "--http-header-override=X-Over: yes",
		"--http-uri-override=scheme:http,host:"+u.Hostname()+",port:"+u.Port()+",path:/over,query:x=1,mode:ALWAYS")
	g.run(t, "tasks", "buffer", "--queue=mails", at)
	if got := next(t, arrivals); got.method != "PUT" || got.path != "/over?x=1" || got.header.Get("X-Over") != "yes" {
		t.Errorf("arrived: %+v", got)
	}
	g.run(t, "tasks", "buffer", "--queue=mails", at, "--task-id=mine")
	if got := next(t, arrivals); got.header.Get("X-Cloudtasks-Taskname") != "mine" {
		t.Errorf("arrived: %+v", got)
	}
	g.run(t, "tasks", "queues", "update", "mails", at, "--clear-http-uri-override", "--clear-http-method-override")
	described := &cloudtaskspb.Queue{}
	g.read(t, described, "tasks", "queues", "describe", "mails", at)
	if got := described.GetHttpTarget(); got.GetHttpMethod() != 0 || got.GetUriOverride().GetHost() != "" || len(got.GetHeaderOverrides()) != 1 {
		t.Errorf("cleared: %v", got)
	}
}

func TestTasksGcloudLocationsAndKeys(t *testing.T) {
	t.Parallel()
	g := newGcloud(t, start(t))
	slow(t)
	if got := g.names(t, "locationId", "tasks", "locations", "list"); !slices.Contains(got, "us-central1") {
		t.Errorf("locations: %v", got)
	}
	described := &locationpb.Location{}
	g.read(t, described, "tasks", "locations", "describe", "us-central1")
	if described.GetName() != location {
		t.Errorf("location: %v", described)
	}
	const key = location + "/keyRings/r/cryptoKeys/k"
	config := &cloudtaskspb.CmekConfig{}
	g.read(t, config, "tasks", "cmek-config", "update", "--kms-key-name="+key)
	if config.GetKmsKey() != key {
		t.Errorf("set the key: %v", config)
	}
	config = &cloudtaskspb.CmekConfig{}
	g.read(t, config, "tasks", "cmek-config", "describe", at)
	if config.GetKmsKey() != key {
		t.Errorf("the key: %v", config)
	}
	g.run(t, "tasks", "cmek-config", "update", at, "--clear-kms-key")
}

func TestTasksGcloudPolicies(t *testing.T) {
	t.Parallel()
	g := newGcloud(t, start(t))
	slow(t)
	g.run(t, "tasks", "queues", "create", "mails", at)
	policies(t, g, "roles/cloudtasks.enqueuer", func(command string, args ...string) []string {
		return append([]string{"tasks", "queues", command, "mails", at}, args...)
	})
}

// policies adds a binding to the policy of a new resource, reads it, sets it by a file, and takes the binding out.
func policies(t *testing.T, g *gcloud, role string, on func(command string, args ...string) []string) {
	t.Helper()
	member := "serviceAccount:" + account
	added := &iampb.Policy{}
	g.read(t, added, on("add-iam-policy-binding", "--member="+member, "--role="+role)...)
	got := &iampb.Policy{}
	g.read(t, got, on("get-iam-policy")...)
	want := []*iampb.Binding{{Role: role, Members: []string{member}}}
	if diff := cmp.Diff(want, got.GetBindings(), protocmp.Transform()); diff != "" {
		t.Errorf("with a binding (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(added, got, protocmp.Transform()); diff != "" {
		t.Errorf("added and got (-added +got):\n%s", diff)
	}
	file := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(file, []byte(`{"bindings":[{"role":"`+role+`","members":["`+member+`","user:ada@shop.test"]}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	g.run(t, on("set-iam-policy", file)...)
	g.run(t, on("remove-iam-policy-binding", "--member="+member, "--role="+role)...)
	got = &iampb.Policy{}
	g.read(t, got, on("get-iam-policy")...)
	want[0].Members = []string{"user:ada@shop.test"}
	if diff := cmp.Diff(want, got.GetBindings(), protocmp.Transform()); diff != "" {
		t.Errorf("without the binding (-want +got):\n%s", diff)
	}
}
