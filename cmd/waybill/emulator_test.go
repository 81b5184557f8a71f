package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"waybill.dev/dispatch"
)

// start runs the command on a free port until stop, which returns its exit status.
func start(t *testing.T, args ...string) (url string, stdout, stderr *output, stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	stdout, stderr = newOutput(), newOutput()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, append([]string{"emulator", "--listen", "127.0.0.1:0", "--keys", ""}, args...), stdout, stderr)
	}()
	stopped := false
	stop = func() int {
		stopped = true
		cancel()
		return <-ended
	}
	t.Cleanup(func() {
		if !stopped {
			stop()
		}
	})
	stdout.until(t, "Ctrl-C")
	address := regexp.MustCompile(`listen on (\S+),`).FindStringSubmatch(stdout.String())
	if address == nil {
		t.Fatalf("no address in:\n%s", stdout)
	}
	return "http://" + address[1], stdout, stderr, stop
}

func TestEmulator(t *testing.T) {
	url, stdout, stderr, stop := start(t, "--project", "shop")
	address := strings.TrimPrefix(url, "http://")
	for _, want := range []string{
		"  export PUBSUB_EMULATOR_HOST=" + address + "\n",
		"  export CLOUD_TASKS_EMULATOR_HOST=" + address + "\n",
		"  export GCE_METADATA_HOST=" + address + "\n",
		"  export GOOGLE_CLOUD_PROJECT=shop\n",
		"  export CLOUDSDK_AUTH_DISABLE_CREDENTIALS=true\n",
		"  export CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB=" + url + "/\n",
		"  export CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDTASKS=" + url + "/\n",
		"\nForget every queue, task, topic and subscription:\n\n  curl -fsS -X POST " + url + "/_emulator/reset\n",
		"  curl -fsS -o login.json " + url + "/_emulator/keys/login@shop.iam.gserviceaccount.com\n",
	} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, stdout)
		}
	}
	if strings.Contains(stdout.String(), "WAYBILL_ENV") {
		t.Errorf("WAYBILL_ENV without services:\n%s", stdout)
	}

	if strings.Contains(stdout.String(), "passed on") {
		t.Errorf("Pub/Sub is passed on to nobody:\n%s", stdout)
	}
	post(t, url+"/_emulator/reset", "")

	var key struct {
		Email    string `json:"client_email"`
		TokenURI string `json:"token_uri"`
	}
	if err := json.Unmarshal([]byte(get(t, url+"/_emulator/keys/login@shop.iam.gserviceaccount.com")), &key); err != nil {
		t.Fatal(err)
	}
	if key.Email != "login@shop.iam.gserviceaccount.com" || !strings.HasPrefix(key.TokenURI, url) {
		t.Errorf("the printed curl fetches %+v", key)
	}

	if code := stop(); code != exitOK || stderr.String() != "" {
		t.Errorf("exit status %d, stderr %s", code, stderr)
	}
	if connection, err := net.Dial("tcp", address); err == nil {
		connection.Close()
		t.Error("it still listens after it has stopped")
	}
}

func TestEmulatorServices(t *testing.T) {
	url, stdout, _, _ := start(t, "--project", "shop", "--location", "europe-west1",
		"--service", "login=http://127.0.0.1:8101/", "--service", "mailer=https://mailer.example/base")
	found := regexp.MustCompile(`export WAYBILL_ENV='(.*)'`).FindStringSubmatch(stdout.String())
	if found == nil {
		t.Fatalf("no WAYBILL_ENV in:\n%s", stdout)
	}
	var got dispatch.Environment
	decoder := json.NewDecoder(strings.NewReader(found[1]))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&got); err != nil {
		t.Fatal(err)
	}
	want := dispatch.Environment{
		Project: "shop", Location: "europe-west1", Emulator: strings.TrimPrefix(url, "http://"),
		Services: map[string]dispatch.ServiceEnvironment{
			"login":  {URL: "http://127.0.0.1:8101"},
			"mailer": {URL: "https://mailer.example/base"},
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(dispatch.Environment{})); diff != "" {
		t.Errorf("WAYBILL_ENV (-want +got):\n%s", diff)
	}
	for _, name := range []string{"login", "mailer"} {
		if want := "/_emulator/keys/" + name + "@shop.iam.gserviceaccount.com"; !strings.Contains(stdout.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, stdout)
		}
	}
}

func TestEmulatorPortInUse(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"emulator", "--listen", listener.Addr().String()}, &stdout, &stderr)
	if code != exitFailed || stdout.Len() != 0 || !strings.Contains(stderr.String(), listener.Addr().String()+" is in use") {
		t.Errorf("exit status %d, stdout %q, stderr %q", code, &stdout, &stderr)
	}
}

func TestEmulatorUpstream(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	address := listener.Addr().String()
	_, stdout, _, stop := start(t, "--pubsub-upstream", address)
	if want := "\nPub/Sub is passed on to " + address + ": it answers.\n"; !strings.Contains(stdout.String(), want) {
		t.Errorf("the output lacks %q:\n%s", want, stdout)
	}
	stop()
	listener.Close()
	_, stdout, _, _ = start(t, "--pubsub-upstream", address)
	for _, want := range []string{
		"\nPub/Sub is passed on to " + address + ": nothing listens there yet.\n",
		"\nForget every queue and task; Google's emulator keeps its topics and subscriptions:\n",
	} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, stdout)
		}
	}
}

// A task for a receiver that is not there: created over REST, seen on stderr.
func TestEmulatorShowsFailedDeliveries(t *testing.T) {
	url, _, stderr, _ := start(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := listener.Addr().String()
	listener.Close()

	const location = "/v2/projects/shop/locations/us-central1/queues"
	post(t, url+location, `{"name": "projects/shop/locations/us-central1/queues/mails"}`)
	post(t, url+location+"/mails/tasks", `{"task": {"httpRequest": {"url": "http://`+nobody+`/welcome?token=secret"}}}`)
	stderr.until(t, nobody)
	stderr.until(t, `msg="delivery failed" target=http://`+nobody+"/welcome reason=")
	stderr.until(t, "connection refused")
	if strings.Contains(stderr.String(), "secret") {
		t.Errorf("the query is shown:\n%s", stderr)
	}
}

func post(t *testing.T, url, body string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("POST %s: status %d", url, answer.StatusCode)
	}
}
