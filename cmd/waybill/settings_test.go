package main

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const files = `{
  "queues": [{"name": "from-file", "rateLimits": {"maxDispatchesPerSecond": 2}}],
  "topics": [{"name": "events"}]
}`

// What the flags and a file name is there from the start and after a reset.
func TestEmulatorResources(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resources.json")
	if err := os.WriteFile(file, []byte(files), 0o600); err != nil {
		t.Fatal(err)
	}
	url, _, _, _ := start(t, "--project", "shop", "--location", "europe-west1", "--resources", file,
		"--queue", "mails,rate=0.5,concurrency=7,attempts=-1,min-backoff=1.5s,max-backoff=10s,doublings=3",
		"--queue", "projects/other/locations/us-central1/queues/plain",
		"--topic", "more",
		"--subscription", `index,topic=events,push=http://127.0.0.1:1/x?a=b,account=push@shop.iam.gserviceaccount.com,audience=https://a.test,ack-deadline=20s,ordered,filter=attributes.kind = "a,b=c"`,
		"--subscription", "pulled,topic=more")
	for range 2 {
		for path, want := range map[string]string{
			"/v2/projects/shop/locations/europe-west1/queues/mails":     `"maxDispatchesPerSecond": 0.5 "maxConcurrentDispatches": 7 "maxAttempts": -1 "minBackoff": "1.500s" "maxBackoff": "10s" "maxDoublings": 3`,
			"/v2/projects/shop/locations/europe-west1/queues/from-file": `"maxDispatchesPerSecond": 2`,
			"/v2/projects/other/locations/us-central1/queues/plain":     `"maxDispatchesPerSecond": 500`,
			"/v1/projects/shop/topics/more":                             `"name": "projects/shop/topics/more"`,
			"/v1/projects/shop/subscriptions/index":                     `"topic": "projects/shop/topics/events" "pushEndpoint": "http://127.0.0.1:1/x?a=b" "serviceAccountEmail": "push@shop.iam.gserviceaccount.com" "audience": "https://a.test" "ackDeadlineSeconds": 20 "enableMessageOrdering": true "filter": "attributes.kind = \"a,b=c\""`,
			"/v1/projects/shop/subscriptions/pulled":                    `"topic": "projects/shop/topics/more"`,
		} {
			var got any
			if err := json.Unmarshal([]byte(get(t, url+path)), &got); err != nil {
				t.Fatal(err)
			}
			text, err := json.MarshalIndent(got, "", "")
			if err != nil {
				t.Fatal(err)
			}
			for _, field := range regexp.MustCompile(`"\w+": (?:"(?:\\.|[^"])*"|\S+)`).FindAllString(want, -1) {
				if !strings.Contains(string(text), field) {
					t.Errorf("%s lacks %s:\n%s", path, field, text)
				}
			}
		}
		post(t, url+"/_emulator/reset", "")
	}
}

func TestEmulatorGatesAndMetadataServers(t *testing.T) {
	container := httptest.NewServer(http.NotFoundHandler())
	defer container.Close()
	_, stdout, _, _ := start(t, "--metadata", "login@shop.iam.gserviceaccount.com",
		"--gate", "service=search,target="+container.URL+",invoker=login@shop.iam.gserviceaccount.com,invoker=user:ada@shop.test,audience=https://search.test,signature=kept")
	metadata := regexp.MustCompile(`export GCE_METADATA_HOST=(\S+) # login@shop`).FindStringSubmatch(stdout.String())
	gate := regexp.MustCompile(`\n  (http://\S+) # search\n`).FindStringSubmatch(stdout.String())
	if metadata == nil || gate == nil {
		t.Fatalf("no addresses in:\n%s", stdout)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	call := func(url string, header http.Header) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = header
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	_, token := call("http://"+metadata[1]+"/computeMetadata/v1/instance/service-accounts/default/identity?audience=https://search.test", http.Header{"Metadata-Flavor": {"Google"}})
	if status, _ := call(gate[1], http.Header{"Authorization": {"Bearer " + token}}); status != http.StatusNotFound { // the container's answer
		t.Errorf("an invoker: %d", status)
	}
	if status, _ := call(gate[1], nil); status != http.StatusForbidden {
		t.Errorf("nobody: %d", status)
	}
}

func TestEmulatorReportsBadSettings(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(bad, []byte("{\"queues\": [\n{\"rate\": 1}], \"topics\": [{\"size\": 1}]}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--queue", "mails,rate=fast"}, exitUsage, `for flag --queue: rate is "fast": want a number, as in 0.5;`},
		{[]string{"--queue", "mails,rates=5"}, exitUsage, `there is no setting "rates"`},
		{[]string{"--queue", "mails,attempts=1.5"}, exitUsage, `attempts is "1.5": want a whole number`},
		{[]string{"--queue", "mails,min-backoff=1"}, exitUsage, `min-backoff is "1": want a duration, as in 1.5s`},
		{[]string{"--queue", "mails,rate"}, exitUsage, `rate needs a value, as in rate=...`},
		{[]string{"--subscription", "index"}, exitUsage, `say of which topic, as in index,topic=T`},
		{[]string{"--subscription", "index,topic=t,ordered=yes"}, exitUsage, `ordered takes no value`},
		{[]string{"--subscription", "index,topic=t,ack-deadline=1.5s"}, exitUsage, `want whole seconds`},
		{[]string{"--subscription", "index,topic=t,account=a@b"}, exitUsage, `say where to, as in push=`},
		{[]string{"--subscription", "index,topic=t,push=http://a.test,audience=x"}, exitUsage, `say whose, as in account=`},
		{[]string{"--gate", "service=search,signature=x"}, exitUsage, `want removed, removed-from-serverless or kept`},
		{[]string{"--metadata", "login"}, exitUsage, `want an account's email address`},
		{[]string{"--resources", bad}, exitFailed, "waybill emulator: " + bad + ": queues[0]: (line 2:2): unknown field \"rate\"\nwaybill emulator: " + bad + ": topics[0]: (line 2:27): unknown field"},
		{[]string{"--resources", bad + "x"}, exitFailed, "no such file"},
		{[]string{"--queue", "a_b", "--subscription", "index,topic=missing"}, exitFailed, "waybill emulator: subscription \"projects/waybill-local/subscriptions/index\": Resource not found (resource=missing).\nwaybill emulator: queue \"projects/waybill-local/locations/us-central1/queues/a_b\": "},
		{[]string{"--gate", "service=S,target=x"}, exitFailed, "waybill emulator: --gate service \"S\" is not the name of a Cloud Run service"},
		{[]string{"--topic", "events", "--pubsub-upstream", "127.0.0.1:1"}, exitFailed, "waybill emulator: schemas, topics and subscriptions cannot be created beside --pubsub-upstream: create them in Google's emulator"},
	} {
		stdout, stderr := newOutput(), newOutput()
		args := append([]string{"emulator", "--listen", "127.0.0.1:0", "--keys", ""}, tt.args...)
		if code := run(t.Context(), args, stdout, stderr); code != tt.code || !strings.Contains(stderr.String(), tt.want) {
			t.Errorf("%q: exit status %d, stderr:\n%s\nwant %s", tt.args, code, stderr, tt.want)
		}
	}
}

func TestEveryFlagHasASection(t *testing.T) {
	var inSections, all []string
	for _, s := range emulatorSections() {
		inSections = append(inSections, s.flags...)
	}
	flags, _ := emulatorFlags()
	flags.VisitAll(func(f *flag.Flag) { all = append(all, f.Name) })
	slices.Sort(inSections)
	if !slices.Equal(inSections, all) {
		t.Errorf("in sections %q\nall %q", inSections, all)
	}
}

func FuzzSettings(f *testing.F) {
	f.Add("mails,rate=0.5,concurrency=7")
	f.Add(`index,topic=events,ordered,filter=attributes.kind = "a,b=c"`)
	f.Add("service=search,target=http://127.0.0.1:1,invoker=a@b,invoker=user:c@d")
	f.Add(",=,ordered=,,filter")
	f.Fuzz(func(t *testing.T, text string) {
		if q, err := queueFlag(text); err == nil && strings.Contains(q.GetName(), ",") {
			t.Errorf("a name with a comma: %q", q.GetName())
		}
		if s, err := subscriptionFlag(text); err == nil && s.GetTopic() == "" {
			t.Errorf("a subscription without a topic: %v", s)
		}
		_, _ = gateFlag(text) // must not panic
	})
}
