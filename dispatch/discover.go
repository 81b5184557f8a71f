package dispatch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"
	"time"

	"cloud.google.com/go/compute/metadata"
)

// The variables that say where a process runs.
const (
	envWaybill     = "WAYBILL_ENV"
	envTasks       = "CLOUD_TASKS_EMULATOR_HOST"
	envPubSub      = "PUBSUB_EMULATOR_HOST"
	envProject     = "GOOGLE_CLOUD_PROJECT"
	envCredentials = "GOOGLE_APPLICATION_CREDENTIALS"
	envCloudRun    = "K_SERVICE" // Cloud Run sets it in every container
	envPort        = "PORT"
)

const (
	localProject    = "waybill-local"
	localLocation   = "us-central1"
	metadataTimeout = 5 * time.Second
	maxEnvironment  = 1 << 20 // bytes of an environment file; a real one has a few hundred
)

// Discover finds the environment of this process. In this order:
//
//  1. WAYBILL_ENV: a path, or the JSON itself. On Cloud Run what it leaves out is filled in as under 3.
//  2. The emulators' variables, CLOUD_TASKS_EMULATOR_HOST and PUBSUB_EMULATOR_HOST: the project is
//     GOOGLE_CLOUD_PROJECT or "waybill-local", and the services listen on 127.0.0.1:8101, 8102, ... in the order of
//     their declaration.
//  3. Cloud Run: the project and region are the metadata server's, and each service has the deterministic URL
//     https://SERVICE-PROJECTNUMBER.REGION.run.app.
//
// The environment's String says which it was. Only on Cloud Run does it ask the network: the metadata server.
func Discover(ctx context.Context, app *App) (*Environment, error) {
	return discover(ctx, app, os.Getenv, metadataServer{})
}

// platform is what Cloud Run knows about the project; a test plays it.
type platform interface {
	facts(ctx context.Context) (platformFacts, error)
}

type platformFacts struct{ project, number, region string }

func discover(ctx context.Context, app *App, getenv func(string) string, p platform) (*Environment, error) {
	e, err := readEnvironment(getenv)
	if err != nil {
		return nil, err
	}
	tasksHost, pubsubHost := getenv(envTasks), getenv(envPubSub)
	switch {
	case e != nil:
		// The file has the word. Beside it the emulators' variables are not looked at: two sources would be one too many.
	case tasksHost != "" || pubsubHost != "":
		e = emulated(tasksHost, pubsubHost, getenv)
	case getenv(envCloudRun) != "":
		e = &Environment{source: "Cloud Run"}
	default:
		return nil, fmt.Errorf("dispatch: nothing says where this process runs; locally start `waybill emulator` and paste the export "+
			"lines that it prints, elsewhere set %s to a file or to JSON, such as {\"project\":\"my-project\"}", envWaybill)
	}
	if getenv(envCloudRun) != "" && !e.local() {
		if err := e.fillFromCloudRun(ctx, app, p); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// emulated is the environment that the emulators' own variables stand for.
func emulated(tasksHost, pubsubHost string, getenv func(string) string) *Environment {
	e := &Environment{
		Project:        firstOf(getenv(envProject), localProject),
		Location:       localLocation,
		TasksEmulator:  tasksHost,
		PubSubEmulator: pubsubHost,
	}
	var from []string
	if tasksHost != "" {
		from = append(from, envTasks+"="+tasksHost)
	}
	if pubsubHost != "" {
		from = append(from, envPubSub+"="+pubsubHost)
	}
	e.source = "emulators by " + strings.Join(from, ", ")
	return e
}

// readEnvironment reads WAYBILL_ENV, or returns nil if it is not set.
func readEnvironment(getenv func(string) string) (*Environment, error) {
	value := strings.TrimSpace(getenv(envWaybill))
	if value == "" {
		return nil, nil
	}
	if strings.HasPrefix(value, "{") {
		return parseEnvironment([]byte(value), "the JSON in "+envWaybill)
	}
	f, err := os.Open(value)
	if err != nil {
		return nil, fmt.Errorf("dispatch: %s names a file that cannot be opened; give a path, or the JSON itself: %w", envWaybill, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxEnvironment+1))
	if err != nil {
		return nil, fmt.Errorf("dispatch: %s: reading %s: %w", envWaybill, value, err)
	}
	if len(data) > maxEnvironment {
		return nil, fmt.Errorf("dispatch: %s: %s has over %d bytes; that is no environment", envWaybill, value, maxEnvironment)
	}
	return parseEnvironment(data, "the file "+value)
}

// ParseEnvironment reads an environment's JSON form. An unknown field is an error, since a misspelt one would
// otherwise be silently ignored.
func ParseEnvironment(data []byte) (*Environment, error) { return parseEnvironment(data, "") }

func parseEnvironment(data []byte, source string) (*Environment, error) {
	in := firstOf(source, "the environment")
	e := &Environment{source: source}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(e); err != nil {
		return nil, fmt.Errorf("dispatch: %s is no environment; the fields are those of dispatch.Environment: %w", in, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("dispatch: %s has something after its JSON object; remove it", in)
	}
	return e, nil
}

// fillFromCloudRun fills in what the platform knows: project, region and the deterministic URLs.
func (e *Environment) fillFromCloudRun(ctx context.Context, app *App, p platform) error {
	e.onCloudRun = true
	if e.isComplete(app) {
		return nil
	}
	facts, err := p.facts(ctx)
	if err != nil {
		return fmt.Errorf("dispatch: asking Cloud Run's metadata server for the project and region: %w; try again, or name project, "+
			"location and each service's url in %s", err, envWaybill)
	}
	e.Project = firstOf(e.Project, facts.project)
	e.Location = firstOf(e.Location, facts.region)
	services := maps.Clone(e.Services)
	if services == nil {
		services = map[string]ServiceEnvironment{}
	}
	for _, name := range app.Services() {
		s := services[name]
		s.URL = firstOf(s.URL, fmt.Sprintf("https://%s-%s.%s.run.app", name, facts.number, facts.region))
		services[name] = s
	}
	e.Services = services
	return nil
}

// isComplete reports whether there is nothing left that the platform could tell.
func (e *Environment) isComplete(app *App) bool {
	for _, name := range app.Services() {
		if e.Services[name].URL == "" {
			return false
		}
	}
	return e.Project != "" && e.Location != ""
}

// metadataServer asks the real metadata server, or the one that GCE_METADATA_HOST names.
type metadataServer struct{}

func (metadataServer) facts(ctx context.Context) (platformFacts, error) {
	ctx, cancel := context.WithTimeout(ctx, metadataTimeout)
	defer cancel()
	client := metadata.NewClient(nil)
	project, err := client.ProjectIDWithContext(ctx)
	if err != nil {
		return platformFacts{}, err
	}
	number, err := client.NumericProjectIDWithContext(ctx)
	if err != nil {
		return platformFacts{}, err
	}
	region, err := client.GetWithContext(ctx, "instance/region") // projects/NUMBER/regions/REGION
	if err != nil {
		return platformFacts{}, err
	}
	return platformFacts{project: project, number: number, region: region[strings.LastIndexByte(region, '/')+1:]}, nil
}
