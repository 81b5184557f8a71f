package dispatch

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"waybill.dev/internal/endpoint"
	"waybill.dev/internal/names"
)

// Environment is what differs between deployments of one app: where its services are and who they are.
//
// [Open] finds it by itself: see [Discover] for where. Its JSON form, in the file or variable that WAYBILL_ENV
// names, has the field names given here; a field that is missing keeps its default, an unknown one is an error.
type Environment struct {
	// Project is the Google Cloud project. Everything that is asynchronous needs it, and so do default account names.
	Project string `json:"project,omitempty"`
	// Location is the region of the queues, such as us-central1. Only senders of tasks need it.
	Location string `json:"location,omitempty"`
	// Prefix sets this deployment's queues, topics and subscriptions apart from others in the same project.
	Prefix string `json:"prefix,omitempty"`
	// PushAccount signs the pushes of all subscriptions. Default: APP-push@PROJECT.iam.gserviceaccount.com.
	PushAccount string `json:"push_account,omitempty"`
	// Services says where each service is, by name. Only those that the opened service has to do with are needed.
	Services map[string]ServiceEnvironment `json:"services,omitempty"`

	// Emulator is the HOST:PORT of a Waybill emulator. It is the default of the three fields below it.
	Emulator string `json:"emulator,omitempty"`
	// TasksEmulator is the HOST:PORT of a Cloud Tasks emulator; connections to it are neither encrypted nor authenticated.
	TasksEmulator string `json:"tasks_emulator,omitempty"`
	// PubSubEmulator is the HOST:PORT of a Pub/Sub emulator; connections to it are neither encrypted nor authenticated.
	PubSubEmulator string `json:"pubsub_emulator,omitempty"`
	// KeysURL serves the public keys of the ID tokens' issuer. Default: Google's, or the emulator's.
	KeysURL string `json:"keys_url,omitempty"`

	// source says how the environment was found, for the log.
	source string
	// onCloudRun is set where the platform itself told about this environment.
	onCloudRun bool
}

// ServiceEnvironment is where one service is and who it is.
type ServiceEnvironment struct {
	// URL is the service's base URL: https, or http on loopback.
	URL string `json:"url,omitempty"`
	// Audience is what ID tokens for this service must name. Default: the URL without a path.
	Audience string `json:"audience,omitempty"`
	// ServiceAccount is the account that the service runs as. Default: SERVICE@PROJECT.iam.gserviceaccount.com.
	ServiceAccount string `json:"service_account,omitempty"`
	// PlatformAsserts says whether the platform checks ID tokens before the service sees them, and removes their
	// signatures: true for a private Cloud Run service, false for one that everybody may reach. There is no default in
	// production: on a public service true would let anybody in.
	PlatformAsserts *bool `json:"platform_asserts,omitempty"`
	// Listen is the address that ListenAndServe listens on. Default: the port of PORT on every interface on Cloud Run;
	// elsewhere the URL's host and port if that is loopback.
	Listen string `json:"listen,omitempty"`
	// Credentials is the path of the service's own credentials file. Default: the application default credentials.
	Credentials string `json:"credentials,omitempty"`
	// CredentialsJSON is the content of a credentials file, for several services in one process. It has no JSON form.
	CredentialsJSON []byte `json:"-"`
}

// String says how the environment was found, without secrets.
func (e *Environment) String() string {
	if e.source == "" {
		return "an environment given in Go"
	}
	return e.source
}

// TasksEndpoint is the HOST:PORT of the Cloud Tasks emulator, or empty for Google Cloud.
func (e *Environment) TasksEndpoint() string { return firstOf(e.TasksEmulator, e.Emulator) }

// PubSubEndpoint is the HOST:PORT of the Pub/Sub emulator, or empty for Google Cloud.
func (e *Environment) PubSubEndpoint() string { return firstOf(e.PubSubEmulator, e.Emulator) }

// IsEmulated reports whether both Cloud Tasks and Pub/Sub are emulators, so that nothing in a cloud can change.
func (e *Environment) IsEmulated() bool { return e.TasksEndpoint() != "" && e.PubSubEndpoint() != "" }

// IsHalfEmulated reports whether one of Cloud Tasks and Pub/Sub is an emulator and the other is not.
func (e *Environment) IsHalfEmulated() bool { return e.local() && !e.IsEmulated() }

// local reports whether an emulator stands in for at least one of the two.
func (e *Environment) local() bool { return e.TasksEndpoint() != "" || e.PubSubEndpoint() != "" }

// keysURL is where the issuer's keys are; empty: Google's own.
func (e *Environment) keysURL() string {
	if e.KeysURL != "" {
		return e.KeysURL
	}
	if issuer := firstOf(e.Emulator, e.TasksEmulator, e.PubSubEmulator); issuer != "" {
		return "http://" + issuer + "/oauth2/v3/certs"
	}
	return ""
}

// Resource is the short name of a route's queue, topic or subscription: [PREFIX--]APP--NAME.
func (e *Environment) Resource(app *App, route string) string {
	return names.Resource(e.Prefix, app.name, route)
}

// PushAccountOf is the account that signs the app's pushes.
func (e *Environment) PushAccountOf(app *App) string {
	if e.PushAccount != "" {
		return e.PushAccount
	}
	if e.Project == "" {
		return ""
	}
	return names.Account(names.PushAccount(app.name), e.Project)
}

// Service is what the environment says of a service, with the defaults filled in. A field stays empty where neither
// the environment nor a default gives it.
func (e *Environment) Service(app *App, name string) ServiceEnvironment {
	s := e.Services[name]
	if s.URL == "" && e.local() && !e.onCloudRun {
		if declared := app.serviceNamed(name); declared != nil {
			s.URL = localURL(declared)
		}
	}
	s.URL = strings.TrimSuffix(s.URL, "/")
	if s.Audience == "" {
		s.Audience = origin(s.URL)
	}
	if s.ServiceAccount == "" && e.Project != "" {
		s.ServiceAccount = names.Account(name, e.Project)
	}
	if s.PlatformAsserts == nil && e.local() {
		asserts := false
		s.PlatformAsserts = &asserts
	}
	return s
}

// firstLocalPort is the port of an app's first service in a local run that configures nothing else;
// the second has the next one, and so on. Every service knows the contracts, so all of them agree.
const firstLocalPort = 8101

func localURL(s *Service) string {
	return "http://127.0.0.1:" + strconv.Itoa(firstLocalPort+s.index)
}

// origin is a URL without its path: what Cloud Run accepts as an audience.
func origin(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// Validate reports every field that is wrong by itself. What one service needs of the environment, [Open] checks.
func (e *Environment) Validate(app *App) error {
	return joinProblems("the environment", e.validate(app))
}

func (e *Environment) validate(app *App) []error {
	var problems []error
	p := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if e.Prefix != "" {
		if err := names.Check("prefix", e.Prefix, names.MaxPrefix); err != nil {
			problems = append(problems, err)
		}
	}
	for _, endpoint := range []struct{ field, value string }{
		{"emulator", e.Emulator}, {"tasks_emulator", e.TasksEmulator}, {"pubsub_emulator", e.PubSubEmulator},
	} {
		if _, _, err := net.SplitHostPort(endpoint.value); endpoint.value != "" && err != nil {
			p("%s %q is no HOST:PORT, such as 127.0.0.1:8085", endpoint.field, endpoint.value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.Services)) {
		if app.serviceNamed(name) == nil {
			p("the environment has a service %q that app %q does not declare; its services are %s",
				name, app.name, strings.Join(app.Services(), ", "))
			continue
		}
		if raw := e.Services[name].URL; raw != "" {
			if err := checkURL(raw); err != nil {
				p("service %q: %w", name, err)
			}
		}
	}
	return problems
}

// ValidateVariables reports what the process's own variables have against the environment: Google's Pub/Sub client follows
// PUBSUB_EMULATOR_HOST by itself, also where the environment names no emulator.
func (e *Environment) ValidateVariables() error {
	return joinProblems("the environment", e.pubsubVariable())
}

// checkURL says why a URL cannot be a service's, or nil.
func checkURL(raw string) error {
	u, err := endpoint.Parse(raw)
	if err != nil {
		return err
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return errors.New("the URL has a query or a fragment; give a base URL, such as https://mailer.example.com")
	}
	return nil
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
