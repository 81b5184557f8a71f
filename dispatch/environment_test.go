package dispatch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// shop is a small app for tests: login sends a task and makes a call, and owns an event that search receives.
func shop() (app *App, login, mailer, search, loner *Service) {
	app = NewApp("shop")
	login, mailer, search, loner = app.Service("login"), app.Service("mailer"), app.Service("search"), app.Service("loner")
	NewTask[welcome](mailer, "send-welcome", From(login))
	NewEvent[welcome](login, "signed-up").To(search, "index-user")
	NewCall[welcome, welcome](search, "find", From(login))
	NewEvent[welcome](loner, "noticed")
	return app, login, mailer, search, loner
}

// variables is a getenv of a map.
func variables(m map[string]string) func(string) string { return func(k string) string { return m[k] } }

// fakePlatform plays Cloud Run's metadata server.
type fakePlatform struct {
	known platformFacts
	err   error
}

func (p fakePlatform) facts(context.Context) (platformFacts, error) { return p.known, p.err }

func TestDiscover(t *testing.T) {
	app, _, _, _, _ := shop()
	file := filepath.Join(t.TempDir(), "env.json")
	if err := os.WriteFile(file, []byte(`{"project": "from-file"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	onRun := fakePlatform{known: platformFacts{project: "shop-prod", number: "123456", region: "europe-west1"}}
	for _, tt := range []struct {
		name     string
		vars     map[string]string
		platform fakePlatform
		want     Environment
		source   string
		problem  string
	}{
		{
			name: "inline JSON", vars: map[string]string{"WAYBILL_ENV": ` {"project": "p", "location": "l", "prefix": "staging"}`},
			want: Environment{Project: "p", Location: "l", Prefix: "staging"}, source: "the JSON in WAYBILL_ENV",
		},
		{
			name: "a file wins over the emulators' variables", vars: map[string]string{"WAYBILL_ENV": file, "PUBSUB_EMULATOR_HOST": "127.0.0.1:1"},
			want: Environment{Project: "from-file"}, source: "the file " + file,
		},
		{
			name: "emulators", vars: map[string]string{"CLOUD_TASKS_EMULATOR_HOST": "127.0.0.1:8085", "PUBSUB_EMULATOR_HOST": "127.0.0.1:8086"},
			want:   Environment{Project: "waybill-local", Location: "us-central1", TasksEmulator: "127.0.0.1:8085", PubSubEmulator: "127.0.0.1:8086"},
			source: "emulators by CLOUD_TASKS_EMULATOR_HOST=127.0.0.1:8085, PUBSUB_EMULATOR_HOST=127.0.0.1:8086",
		},
		{
			name: "Cloud Run", vars: map[string]string{"K_SERVICE": "login"}, platform: onRun,
			want: Environment{Project: "shop-prod", Location: "europe-west1", Services: map[string]ServiceEnvironment{
				"login":  {URL: "https://login-123456.europe-west1.run.app"},
				"mailer": {URL: "https://mailer-123456.europe-west1.run.app"},
				"search": {URL: "https://search-123456.europe-west1.run.app"},
				"loner":  {URL: "https://loner-123456.europe-west1.run.app"},
			}}, source: "Cloud Run",
		},
		{
			name: "on Cloud Run WAYBILL_ENV says the rest", platform: onRun,
			vars: map[string]string{"K_SERVICE": "login", "WAYBILL_ENV": `{"location": "us-east1", "services": {"mailer": {"url": "https://mail.example.com"}}}`},
			want: Environment{Project: "shop-prod", Location: "us-east1", Services: map[string]ServiceEnvironment{
				"login":  {URL: "https://login-123456.europe-west1.run.app"},
				"mailer": {URL: "https://mail.example.com"},
				"search": {URL: "https://search-123456.europe-west1.run.app"},
				"loner":  {URL: "https://loner-123456.europe-west1.run.app"},
			}}, source: "the JSON in WAYBILL_ENV",
		},
		{
			name: "on Cloud Run with everything given nobody is asked", platform: fakePlatform{err: errors.New("refused")},
			vars: map[string]string{"K_SERVICE": "login", "WAYBILL_ENV": `{"project": "p", "location": "l", "services": {"login": {"url": "https://a.example.com"},
				"mailer": {"url": "https://b.example.com"}, "search": {"url": "https://c.example.com"}, "loner": {"url": "https://d.example.com"}}}`},
			want: Environment{Project: "p", Location: "l", Services: map[string]ServiceEnvironment{
				"login": {URL: "https://a.example.com"}, "mailer": {URL: "https://b.example.com"}, "search": {URL: "https://c.example.com"}, "loner": {URL: "https://d.example.com"},
			}}, source: "the JSON in WAYBILL_ENV",
		},
		{name: "nothing", problem: "start `waybill emulator`"},
		{name: "a file that is not there", vars: map[string]string{"WAYBILL_ENV": file + "x"}, problem: "cannot be opened"},
		{name: "a misspelt field", vars: map[string]string{"WAYBILL_ENV": `{"projekt": "p"}`}, problem: `unknown field "projekt"`},
		{name: "two objects", vars: map[string]string{"WAYBILL_ENV": `{} {}`}, problem: "after its JSON object"},
		{
			name: "the metadata server is gone", vars: map[string]string{"K_SERVICE": "login"}, platform: fakePlatform{err: errors.New("refused")},
			problem: "metadata server",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := discover(t.Context(), app, variables(tt.vars), tt.platform)
			if tt.problem != "" {
				wantProblems(t, err, tt.problem)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, *got, cmpopts.IgnoreUnexported(Environment{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got.String() != tt.source {
				t.Errorf("source %q, want %q", got, tt.source)
			}
		})
	}
}

func TestServiceDefaults(t *testing.T) {
	app, _, _, _, _ := shop()
	no := false
	for _, tt := range []struct {
		name, service string
		env           Environment
		want          ServiceEnvironment
	}{
		{"local: a port by order of declaration", "search", Environment{Project: "p", Emulator: "127.0.0.1:8085"}, ServiceEnvironment{
			URL: "http://127.0.0.1:8103", Audience: "http://127.0.0.1:8103", ServiceAccount: "search@p.iam.gserviceaccount.com", PlatformAsserts: &no,
		}},
		{
			"the audience is the URL without a path", "search",
			Environment{Services: map[string]ServiceEnvironment{"search": {URL: "https://s.example.com/v1/"}}},
			ServiceEnvironment{URL: "https://s.example.com/v1", Audience: "https://s.example.com"},
		},
		{"what is given stays", "search", Environment{Project: "p", Services: map[string]ServiceEnvironment{
			"search": {URL: "https://s.example.com", Audience: "custom", ServiceAccount: "finder@p.iam.gserviceaccount.com"},
		}}, ServiceEnvironment{URL: "https://s.example.com", Audience: "custom", ServiceAccount: "finder@p.iam.gserviceaccount.com"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.env.Service(app, tt.service)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRequirementsAreTheServicesOwn(t *testing.T) {
	app, login, mailer, search, loner := shop()
	yes := true
	complete := func() *Environment {
		return &Environment{Project: "p", Location: "l", Services: map[string]ServiceEnvironment{
			"login":  {URL: "https://login.example.com", ServiceAccount: "shop-login@p.iam.gserviceaccount.com"},
			"mailer": {URL: "https://mailer.example.com", PlatformAsserts: &yes},
			"search": {URL: "https://search.example.com", PlatformAsserts: &yes},
		}}
	}
	for _, tt := range []struct {
		name    string
		service *Service
		env     *Environment
		want    []string
	}{
		{"login with everything", login, complete(), nil},
		{"who only publishes needs a project and nothing else", loner, &Environment{Project: "p"}, nil},
		{"a publisher without a project", loner, &Environment{}, []string{`add "project"`}},
		{"a sender without anything", login, &Environment{}, []string{
			`add "project"`, `add "location"`, `no URL for service "mailer"`, `no URL for service "search"`, `service_account for service "login"`,
		}},
		{"a receiver without anything", search, &Environment{}, []string{
			`no URL for service "search" itself`, "whether the platform checks who calls", "push_account", `service_account for service "login"`,
		}},
		{"a receiver does not guess whether the platform asserts", mailer, &Environment{Project: "p", Services: map[string]ServiceEnvironment{
			"mailer": {URL: "https://mailer.example.com"},
		}}, []string{`{"mailer": {"platform_asserts": true}}`}},
		{"an account whose name Google does not take", login, &Environment{Project: "p", Location: "l", Services: map[string]ServiceEnvironment{
			"mailer": {URL: "https://mailer.example.com"}, "search": {URL: "https://search.example.com"},
		}}, []string{`service "login" would be login@p.iam.gserviceaccount.com, but the name of an account has 6 to 30 characters`}},
		{
			"tasks would leave for the cloud", login, &Environment{Project: "p", Location: "l", PubSubEmulator: "127.0.0.1:1", Services: complete().Services},
			[]string{"would send its tasks to Google Cloud; set CLOUD_TASKS_EMULATOR_HOST"},
		},
		{
			"events would leave for the cloud", loner, &Environment{Project: "p", TasksEmulator: "127.0.0.1:1"},
			[]string{"would publish to Google Cloud; set PUBSUB_EMULATOR_HOST"},
		},
		{
			"a local caller without credentials", login, &Environment{Project: "p", Location: "l", Emulator: "127.0.0.1:8085"},
			[]string{"curl -fsS -o login.json http://127.0.0.1:8085/_emulator/keys/login@p.iam.gserviceaccount.com"},
		},
		{"a local caller with another's credentials", login, &Environment{Project: "p", Location: "l", Emulator: "127.0.0.1:8085", Services: map[string]ServiceEnvironment{
			"login": {CredentialsJSON: []byte(`{"client_email": "search@p.iam.gserviceaccount.com"}`)},
		}}, []string{`search@p.iam.gserviceaccount.com, but in project "p" service "login" is login@p`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(envCredentials, "")
			t.Setenv(envPubSub, "")
			wantProblems(t, errors.Join(requirements(tt.service, tt.env, edgesOf(tt.service))...), tt.want...)
		})
	}
	_ = app
}

func TestAnEmulatorThatGooglesClientWouldFollowByItself(t *testing.T) {
	_, _, _, _, loner := shop()
	t.Setenv(envPubSub, "127.0.0.1:8085")
	production := &Environment{Project: "p"}
	wantProblems(t, errors.Join(requirements(loner, production, edgesOf(loner))...), "PUBSUB_EMULATOR_HOST=127.0.0.1:8085 is set", "unset the variable")
	wantProblems(t, production.ValidateVariables(), "unset the variable")
	local := &Environment{Project: "p", Emulator: "127.0.0.1:8085"}
	wantProblems(t, errors.Join(requirements(loner, local, edgesOf(loner))...))
	wantProblems(t, local.ValidateVariables())
}

func TestEnvironmentValidate(t *testing.T) {
	app, _, _, _, _ := shop()
	for _, tt := range []struct {
		json string
		want []string
	}{
		{`{"services": {"search": {"url": "https://search.example.com/base"}}}`, nil},
		{`{"services": {"search": {"url": "http://localhost:8080"}}}`, nil},
		{`{"services": {"search": {"url": "http://[::1]:8080"}}}`, nil},
		{`{"services": {"serach": {"url": "https://a.example.com"}}}`, []string{`a service "serach" that app "shop" does not declare; its services are login, mailer`}},
		{`{"services": {"search": {"url": "http://search.example.com"}}}`, []string{"plain http to"}},
		{`{"services": {"search": {"url": "http://127.0.0.1.example.com"}}}`, []string{"plain http to"}},
		{`{"services": {"search": {"url": "https://u:secret@search.example.com"}}}`, []string{"no user information"}},
		{`{"services": {"search": {"url": "search.example.com"}}}`, []string{"absolute"}},
		{`{"services": {"search": {"url": "ftp://search.example.com"}}}`, []string{"scheme is"}},
		{`{"emulator": "127.0.0.1"}`, []string{`emulator "127.0.0.1" is no HOST:PORT`}},
		{`{"prefix": "a--b"}`, []string{"two hyphens"}},
	} {
		env, err := ParseEnvironment([]byte(tt.json))
		if err != nil {
			t.Fatal(err)
		}
		err = env.Validate(app)
		wantProblems(t, err, tt.want...)
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows a password: %v", err)
		}
	}
}

func FuzzParseEnvironment(f *testing.F) {
	for _, s := range []string{`{}`, `{"project":"p"}`, `{"services":{"search":{"url":"https://x"}}}`, `{"services":{"search":{"url":"http://[::1"}}}`, `[`, `null`} {
		f.Add([]byte(s))
	}
	app, login, _, _, _ := shop()
	f.Fuzz(func(t *testing.T, data []byte) {
		env, err := ParseEnvironment(data)
		if err != nil {
			return
		}
		if env.Validate(app) != nil {
			return
		}
		_ = requirements(login, env, edgesOf(login)) // whatever was accepted must not make it panic
	})
}
