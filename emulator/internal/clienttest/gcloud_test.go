package clienttest

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"waybill.dev/emulator"
	"waybill.dev/internal/testenv"
)

// gcloud runs Google's command-line tool against an emulator. A command takes half a second, most of it Python's start.
type gcloud struct {
	path string
	url  string
}

func newGcloud(t *testing.T, e *emulator.Emulator) *gcloud {
	t.Helper()
	if testing.Short() {
		t.Skip("-short runs no other programs")
	}
	path, err := exec.LookPath("gcloud")
	if err != nil {
		testenv.Missing(t, "gcloud is not on the PATH")
	}
	return &gcloud{path: path, url: e.URL()}
}

// command runs one command that is not to ask, report, look for updates or keep anything.
func (g *gcloud) command(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, g.path, args...) // a shell script that becomes Python: to end it ends all of it
	cmd.WaitDelay = 5 * time.Second
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	cmd.Env = append(os.Environ(),
		"CLOUDSDK_CONFIG="+t.TempDir(),
		"CLOUDSDK_CORE_PROJECT="+project,
		"CLOUDSDK_AUTH_DISABLE_CREDENTIALS=true",
		"CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDTASKS="+g.url+"/",
		"CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB="+g.url+"/",
		"CLOUDSDK_CORE_DISABLE_PROMPTS=true",
		"CLOUDSDK_CORE_DISABLE_FILE_LOGGING=true",
		"CLOUDSDK_CORE_DISABLE_USAGE_REPORTING=true",
		"CLOUDSDK_CORE_CHECK_GCE_METADATA=false",
		"CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK=true",
		"CLOUDSDK_SURVEY_DISABLE_PROMPTS=true",
	)
	err = cmd.Run()
	return out.String(), problems.String(), err
}

// run runs a command that has to succeed, and returns what it prints.
func (g *gcloud) run(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, err := g.command(t, args...)
	if err != nil {
		t.Fatalf("gcloud %s: %v\n%s", strings.Join(args, " "), err, stderr)
	}
	return stdout
}

// refused runs a command that has to fail, and returns why it says it did.
func (g *gcloud) refused(t *testing.T, args ...string) string {
	t.Helper()
	_, stderr, err := g.command(t, args...)
	if err == nil {
		t.Fatalf("gcloud %s succeeded", strings.Join(args, " "))
	}
	return stderr
}

// read runs a command and reads the resource that it prints.
func (g *gcloud) read(t *testing.T, into proto.Message, args ...string) {
	t.Helper()
	out := g.run(t, append(args, "--format=json")...)
	if err := protojson.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("gcloud %s printed %s: %v", strings.Join(args, " "), out, err)
	}
}

// names runs a command and returns one field of each resource that it prints.
func (g *gcloud) names(t *testing.T, field string, args ...string) []string {
	t.Helper()
	out := g.run(t, append(args, "--format=json")...)
	var resources []map[string]any
	if err := json.Unmarshal([]byte(out), &resources); err != nil {
		t.Fatalf("gcloud %s printed %s: %v", strings.Join(args, " "), out, err)
	}
	names := []string{}
	for _, r := range resources {
		name, _ := r[field].(string)
		names = append(names, name)
	}
	return names
}
