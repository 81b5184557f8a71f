package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	gpubsub "cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/deploy"
	"waybill.dev/emulator"
	"waybill.dev/emulator/emulatortest"
	"waybill.dev/pubsub"
)

// deadWorld is an emulator with a task whose receiver is at the returned server, and what puts letters there.
func deadWorld(t *testing.T) (received chan *http.Request, publish func(id, body string, attributes ...string)) {
	t.Helper()
	e := emulatortest.Start(t, emulator.Config{Logger: slog.New(slog.DiscardHandler)})
	emulatortest.Setenv(t, e)
	t.Setenv("WAYBILL_ENV", "")
	t.Setenv("CLOUD_TASKS_EMULATOR_HOST", e.Addr())
	t.Setenv("GOOGLE_CLOUD_PROJECT", "shop")
	app := dispatch.NewApp("shop")
	dispatch.NewTask[string](app.Service("mailer"), "send-welcome", dispatch.From(app.Service("login")))
	env, err := dispatch.Discover(t.Context(), app)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := deploy.NewPlan(app, env)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := deploy.Create(t.Context(), plan, deploy.Options{}); err != nil {
		t.Fatal(err)
	}
	client, err := gpubsub.NewClient(t.Context(), "shop", pubsub.EmulatorOptions(e.Addr())...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	received = make(chan *http.Request, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNoContent)
		received <- r
	}))
	t.Cleanup(server.Close)
	return received, func(id, body string, attributes ...string) {
		t.Helper()
		a := map[string]string{
			"ce-id": id, "ce-source": "/shop/login", "content-type": "application/json", "waybill-dead-route": "send-welcome",
			"waybill-dead-cause": "the mail server\n\x1b[31mis broken", "waybill-dead-attempts": "8", "waybill-dead-caller": "login@shop.iam.gserviceaccount.com",
			"waybill-dead-time": "2026-03-01T02:03:04Z", "waybill-dead-url": server.URL + "/_waybill/tasks/send-welcome",
		}
		for i := 0; i+1 < len(attributes); i += 2 {
			a[attributes[i]] = attributes[i+1]
		}
		if _, err := client.TopicAdminClient.Publish(t.Context(), &pubsubpb.PublishRequest{
			Topic: "projects/shop/topics/shop--send-welcome--dead", Messages: []*pubsubpb.PubsubMessage{{Data: []byte(body), Attributes: a}},
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// runs runs a command line whose exit status must be code.
func runs(t *testing.T, code int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	if got := run(t.Context(), args, &out, &errs); got != code {
		t.Errorf("%v: exit status %d, want %d; %s%s", args, got, code, &out, &errs)
	}
	return out.String(), errs.String()
}

func contains(t *testing.T, what, text string, all ...string) {
	t.Helper()
	for _, want := range all {
		if !strings.Contains(text, want) {
			t.Errorf("%s lacks %q:\n%s", what, want, text)
		}
	}
}

func TestDead(t *testing.T) {
	received, publish := deadWorld(t)
	if _, stderr := runs(t, exitOK, "dead", "list"); stderr != "app shop has no dead letters\n" {
		t.Errorf("an empty list: %q", stderr)
	}
	publish("id-1", `{"secret":"hunter2"}`)
	publish("id-2", "\x1b]0;title\x07")

	stdout, _ := runs(t, exitOK, "dead", "list", "--route", "send-welcome")
	contains(t, "the list", stdout, "2026-03-01T02:03:04Z  send-welcome  8         0        id-1  the mail server  [31mis broken\n", "id-2")
	shown, _ := runs(t, exitOK, "dead", "show", "id-1")
	contains(t, "the letter", shown, "id            id-1\n", "route         send-welcome (task)\n", "attempts      8\n", "caller        login@shop.iam", "body          20 bytes\n", "  ce-source: /shop/login\n")
	asJSON, _ := runs(t, exitOK, "dead", "list", "--json")
	var letters []struct {
		ID, Route, Cause string
		Body             []byte
	}
	if err := json.Unmarshal([]byte(asJSON), &letters); err != nil || len(letters) != 2 || letters[0].Cause != "the mail server\n\x1b[31mis broken" {
		t.Errorf("the JSON: %+v, %v", letters, err)
	}
	preview, _ := runs(t, exitOK, "dead", "replay", "--all", "--dry-run")
	contains(t, "the preview", preview, "would replay send-welcome id-1 (replay 1) to projects/shop/locations/us-central1/queues/shop--send-welcome as login@shop.iam.gserviceaccount.com\n", "id-2")
	for what, text := range map[string]string{"the list": stdout, "the letter": shown, "the JSON": asJSON, "the preview": preview} {
		if strings.Contains(text, "hunter2") || strings.Contains(text, "aHVudGVyMg") || strings.Contains(text, "c2VjcmV0") || what != "the JSON" && strings.Contains(text, "\x1b") {
			t.Errorf("%s shows a payload, or an escape sequence:\n%s", what, text)
		}
	}
	body, _ := runs(t, exitOK, "dead", "show", "id-1", "--body")
	contains(t, "the body", body, "\n\n{\"secret\":\"hunter2\"}\n")
	body, _ = runs(t, exitOK, "dead", "show", "id-2", "--body")
	contains(t, "a body that is no text", body, `"\x1b]0;title\a"`)

	replayed, _ := runs(t, exitOK, "dead", "replay", "id-1", "--app", "shop")
	contains(t, "the replay", replayed, "replayed send-welcome id-1 (replay 1)")
	if r := <-received; r.Header.Get("Ce-Id") != "id-1" || r.Header.Get("Waybill-Replay") != "1" || r.URL.Path != "/_waybill/tasks/send-welcome" {
		t.Errorf("received %s %v", r.URL, r.Header)
	}
	_, stderr := runs(t, exitFailed, "dead", "replay", "id-1")
	contains(t, "replaying what is gone", stderr, "waybill dead replay: no such dead letter id-1")
	discarded, _ := runs(t, exitOK, "dead", "discard", "id-2")
	contains(t, "the discarding", discarded, "discarded send-welcome id-2\n")
	_, stderr = runs(t, exitFailed, "dead", "show", "id-2")
	contains(t, "showing what is gone", stderr, "no such dead letter")
	if empty, _ := runs(t, exitOK, "dead", "list", "--json"); empty != "[]\n" {
		t.Errorf("an empty list is %q", empty)
	}
}

// One that cannot go does not keep the others, and is told on standard error.
func TestDeadReplayAllSaysWhatStays(t *testing.T) {
	received, publish := deadWorld(t)
	publish("forged", "{}", "waybill-dead-caller", "billing@shop.iam.gserviceaccount.com")
	publish("good", "{}")
	stdout, stderr := runs(t, exitFailed, "dead", "replay", "--all")
	contains(t, "the output", stdout, "replayed send-welcome good")
	contains(t, "the errors", stderr, "waybill dead replay: letter forged of send-welcome stays: it cannot be replayed: ")
	<-received
	asJSON, _ := runs(t, exitFailed, "dead", "replay", "--all", "--json")
	contains(t, "the JSON", asJSON, `"id": "forged"`, `"error": "it cannot be replayed: `)
}

func TestDeadUsage(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"dead", "say what to do: list, show, replay or discard"},
		{"dead bury", `there is no "bury"`},
		{"dead list id-1", `unexpected argument "id-1"`},
		{"dead list --body", "--body is not for list"},
		{"dead show", "say which: waybill dead show ID"},
		{"dead show id-1 --all", "--all is not for show"},
		{"dead show id-1 id-2", `unexpected argument "id-2"`},
		{"dead replay", "an ID or --all, and not both"},
		{"dead replay --route send-welcome", "an ID or --all, and not both"},
		{"dead replay id-1 --all", "an ID or --all, and not both"},
		{"dead discard --all", "--all is not for discard"},
		{"dead list --limit -1", "0 at least"},
	} {
		_, stderr := runs(t, exitUsage, strings.Fields(tt.args)...)
		contains(t, tt.args, stderr, tt.want, "run: waybill help dead")
	}
	stdout, _ := runs(t, exitOK, "help", "dead")
	contains(t, "the help", stdout, "waybill dead replay ID|--all", "--dry-run\n")
	for _, name := range []string{"WAYBILL_ENV", "CLOUD_TASKS_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST", "K_SERVICE"} {
		t.Setenv(name, "")
	}
	_, stderr := runs(t, exitFailed, "dead", "list")
	contains(t, "without an environment", stderr, "nothing says where this process runs")
}
