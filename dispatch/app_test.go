package dispatch

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type welcome struct{ To string }

// wantProblems checks that an error has every one of the texts, and none at all if there are no texts.
func wantProblems(t *testing.T, err error, texts ...string) {
	t.Helper()
	if len(texts) == 0 {
		if err != nil {
			t.Errorf("unexpected error: %v", err)
		}
		return
	}
	if err == nil {
		t.Errorf("no error; want one with %q", texts)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the error lacks %q:\n%v", text, err)
		}
	}
}

func TestValidateFindsEachMistake(t *testing.T) {
	for _, tt := range []struct {
		name    string
		declare func(*App)
		want    []string
	}{
		{"nothing wrong", func(a *App) {
			s := a.Service("mailer")
			NewTask[welcome](s, "send-welcome", From(s))
		}, nil},
		{
			"a service declared twice", func(a *App) { a.Service("mailer"); a.Service("mailer") },
			[]string{`service "mailer" is declared twice`},
		},
		{"a bad service name", func(a *App) { a.Service("Mailer") }, []string{"lower-case"}},
		{"two hyphens", func(a *App) { a.Service("mail--er") }, []string{"two hyphens"}},
		{"two routes with one name", func(a *App) {
			s := a.Service("mailer")
			NewTask[welcome](s, "send", From(s))
			NewEvent[welcome](s, "send")
		}, []string{`task "send" and event "send" have the same name`}},
		{"two routes on one path", func(a *App) {
			s := a.Service("mailer")
			NewTask[welcome](s, "one", From(s), Path("/hook"))
			NewTask[welcome](s, "two", From(s), Path("/hook"))
		}, []string{`task "one" and task "two" are both at /hook of service "mailer"`}},
		{
			"nobody may send", func(a *App) { NewTask[welcome](a.Service("mailer"), "send") },
			[]string{`task "send": nobody may send it; name the senders with dispatch.From`},
		},
		{
			"a task without a service", func(a *App) { NewTask[welcome](nil, "send", From(a.Service("login"))) },
			[]string{`task "send": it has no service`},
		},
		{
			"a call without a service", func(a *App) { NewCall[welcome, welcome](nil, "ask", From(a.Service("login"))) },
			[]string{`call "ask": it has no service`},
		},
		{"no service", func(a *App) {
			NewEvent[welcome](a.Service("login"), "signed-up").To(nil, "index")
		}, []string{`subscription "index": it has no service`}},
		{
			"From without a service", func(a *App) { NewTask[welcome](a.Service("mailer"), "send", From(nil)) },
			[]string{`task "send": dispatch.From got no service`},
		},
		{"a sender of another app", func(a *App) {
			NewTask[welcome](a.Service("mailer"), "send", From(NewApp("other").Service("login")))
		}, []string{"other/login is a service of another app"}},
		{"a receiver of another app", func(a *App) {
			NewEvent[welcome](a.Service("login"), "signed-up").To(NewApp("other").Service("search"), "index")
		}, []string{`subscription "index": other/search is a service of another app`}},
		{"an empty path", func(a *App) {
			s := a.Service("mailer")
			NewTask[welcome](s, "send", From(s), Path(""))
		}, []string{`dispatch.Path("")`}},
		{"a path without a slash", func(a *App) {
			s := a.Service("mailer")
			NewTask[welcome](s, "send", From(s), Path("hook"))
		}, []string{`dispatch.Path("hook")`}},
		{"a task's deadline beyond Cloud Tasks'", func(a *App) {
			s := a.Service("mailer")
			NewTask[welcome](s, "send", From(s), Deadline(30*time.Minute))
		}, []string{"between 0 and 29m55s"}},
		{"a subscription's deadline beyond Pub/Sub's", func(a *App) {
			NewEvent[welcome](a.Service("login"), "signed-up").To(a.Service("search"), "index", Deadline(10*time.Minute))
		}, []string{"between 0 and 9m55s"}},
		{"more attempts than Pub/Sub counts", func(a *App) {
			NewEvent[welcome](a.Service("login"), "signed-up").To(a.Service("search"), "index", Retry{MaxAttempts: 96})
		}, []string{"so 95 at most"}},
		{"negative attempts", func(a *App) {
			s := a.Service("mailer")
			NewTask[welcome](s, "send", From(s), Retry{MaxAttempts: -1})
		}, []string{"Retry.MaxAttempts is -1"}},
		{"a backoff that shrinks", func(a *App) {
			s := a.Service("mailer")
			NewTask[welcome](s, "send", From(s), Retry{MinBackoff: time.Minute, MaxBackoff: time.Second})
		}, []string{"from 1m0s to 1s"}},
		{"OrderBy without a function", func(a *App) {
			NewEvent(a.Service("login"), "signed-up", OrderBy[welcome](nil))
		}, []string{"dispatch.OrderBy got no function"}},
		{"an Expires that drops everything", func(a *App) {
			s := a.Service("mailer")
			NewTask[welcome](s, "send", From(s), Expires(0))
			NewEvent[welcome](s, "sent").To(s, "copy", Expires(-time.Second))
		}, []string{`task "send": Expires(0s) drops every message`, `subscription "copy": Expires(-1s)`}},
		{"rates that no number of queues has", func(a *App) {
			s := a.Service("mailer")
			NewTask[welcome](s, "one", From(s), Rate{PerSecond: -1})
			NewTask[welcome](s, "two", From(s), Rate{PerSecond: 50_001})
			NewTask[welcome](s, "three", From(s), Rate{PerSecond: math.NaN()})
			NewTask[welcome](s, "four", From(s), Rate{Concurrent: -1})
			NewTask[welcome](s, "five", From(s), Rate{Concurrent: 500_001})
		}, []string{
			`task "one": Rate.PerSecond is -1`, `task "two": Rate.PerSecond is 50001; it is between 0 and 50000`, `task "three": Rate.PerSecond is NaN`,
			`task "four": Rate.Concurrent is -1`, `task "five": Rate.Concurrent is 500001`,
		}},
		{"a queue without a dispatch", func(a *App) {
			s := a.Service("mailer")
			NewTask[welcome](s, "send", From(s), Rate{PerSecond: 1500, Concurrent: 2})
		}, []string{`Rate{PerSecond: 1500} takes 3 queues, and Rate.Concurrent 2 leaves some of them without a dispatch; raise Concurrent to 3 at least`}},
		{"aliases that are other routes' names", func(a *App) {
			s := a.Service("mailer")
			NewTask[welcome](s, "send", From(s), Alias("deliver"), Alias("Send"))
			NewTask[welcome](s, "deliver", From(s))
			NewTask[welcome](s, "post", From(s), Alias("post"))
			NewCall[welcome, welcome](s, "ask", From(s), Alias("query"))
			NewCall[welcome, welcome](s, "find", From(s), Alias("query"))
		}, []string{
			`task "send" has the alias "deliver", which is task "deliver"'s name or alias`, `dispatch.Alias "Send"`, `task "post" has the alias "post"`,
			`call "find" has the alias "query", which is call "ask"'s name or alias`,
		}},
		{"an alias on another route's path", func(a *App) {
			s := a.Service("mailer")
			NewTask[welcome](s, "send", From(s), Alias("old"))
			NewTask[welcome](s, "other", From(s), Path("/_waybill/tasks/old"))
		}, []string{`task "send" has the alias "old", whose path /_waybill/tasks/old is task "other"'s`}},
		{"a path of the process's own", func(a *App) {
			s := a.Service("mailer")
			NewTask[welcome](s, "send", From(s), Path("/_waybill/ready"))
		}, []string{`dispatch.Path("/_waybill/ready") is where the process says how it is`}},
		{"several at once", func(a *App) {
			NewTask[welcome](a.Service("mailer"), "Send")
		}, []string{"lower-case", "nobody may send it"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			app := NewApp("shop")
			tt.declare(app)
			wantProblems(t, app.Validate(), tt.want...)
		})
	}
}

func TestVersionsAreChecked(t *testing.T) {
	type old struct{}
	upgrade := func(old) (welcome, error) { return welcome{}, nil }
	for _, tt := range []struct {
		name    string
		version AppOption
		want    []string
	}{
		{"nothing wrong", Version(3, Accept(1, upgrade), Accept(2, upgrade)), nil},
		{"the first", Version[welcome](1), nil},
		{"none", Version[welcome](0), []string{"dispatch.Version of dispatch.welcome: the version is 0; versions count from 1"}},
		{"the current one", Version(2, Accept(2, upgrade)), []string{"dispatch.Accept(2): it takes versions before the current one, 2"}},
		{"version 0", Version(2, Accept(0, upgrade)), []string{"dispatch.Accept(0): it takes versions before"}},
		{"twice", Version(2, Accept(1, upgrade), Accept(1, upgrade)), []string{"dispatch.Accept(1) is there twice"}},
		{"no function", Version(2, Accept[old, welcome](1, nil)), []string{"dispatch.Accept(1) got no function"}},
		{"a type that no route carries", Version[old](2), []string{"dispatch.Version of dispatch.old: no route carries this type"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			app := NewApp("shop", tt.version)
			s := app.Service("mailer")
			NewTask[welcome](s, "send", From(s))
			wantProblems(t, app.Validate(), tt.want...)
		})
	}
	wantProblems(t, NewApp("shop", Version[welcome](2), Version[welcome](3)).Validate(), "it is declared twice")
}

func TestTheAppsOwnNameIsChecked(t *testing.T) {
	wantProblems(t, NewApp("shop--a").Validate(), `app "shop--a": two hyphens`)
}

func TestRoutesFillInDefaults(t *testing.T) {
	app := NewApp("shop")
	login, mailer := app.Service("login"), app.Service("mailer")
	NewTask[welcome](mailer, "send", From(login), Retry{MaxAttempts: 3}, Deadline(2*time.Minute))
	NewTask[welcome](mailer, "quick", From(login), Deadline(time.Second), Retry{MaxBackoff: 100 * time.Millisecond})
	NewEvent(login, "signed-up", OrderBy(func(w welcome) string { return w.To })).To(mailer, "greet", Retry{MaxAttempts: 95}, Path("/greet"),
		Deadline(7500*time.Millisecond))
	NewCall[welcome, welcome](mailer, "ask", From(login), Alias("query"), Alias("question"))
	NewTask[welcome](mailer, "fast", From(login), Rate{PerSecond: 1200, Concurrent: 10})

	want := []RouteInfo{
		{
			Kind: KindTask, Name: "send", To: "mailer", From: []string{"login"}, Path: "/_waybill/tasks/send",
			Retry:    Retry{MaxAttempts: 3, MinBackoff: time.Second, MaxBackoff: 10 * time.Minute},
			Deadline: 2 * time.Minute, TransportDeadline: 2*time.Minute + 5*time.Second, Queues: []Rate{{}},
		},
		{
			Kind: KindTask, Name: "quick", To: "mailer", From: []string{"login"}, Path: "/_waybill/tasks/quick",
			Retry:    Retry{MaxAttempts: 10, MinBackoff: 100 * time.Millisecond, MaxBackoff: 100 * time.Millisecond},
			Deadline: time.Second, TransportDeadline: 15 * time.Second, Queues: []Rate{{}}, // 15 s is Cloud Tasks' least
		},
		{Kind: KindEvent, Name: "signed-up", To: "login", From: []string{"login"}, Ordered: true},
		{
			Kind: KindSubscription, Name: "greet", To: "mailer", From: []string{"login"}, Event: "signed-up", Path: "/greet",
			Retry:    Retry{MaxAttempts: 95, MinBackoff: time.Second, MaxBackoff: 10 * time.Minute},
			Deadline: 7500 * time.Millisecond, TransportDeadline: 13 * time.Second, BackstopAttempts: 100, Ordered: true, // whole seconds
		},
		{
			Kind: KindCall, Name: "ask", To: "mailer", From: []string{"login"}, Path: "/_waybill/calls/ask",
			Retry:    Retry{MaxAttempts: 3, MinBackoff: 100 * time.Millisecond, MaxBackoff: 5 * time.Second},
			Deadline: 30 * time.Second, TransportDeadline: 35 * time.Second, Aliases: []string{"query", "question"},
		},
		{
			Kind: KindTask, Name: "fast", To: "mailer", From: []string{"login"}, Path: "/_waybill/tasks/fast",
			Retry:    Retry{MaxAttempts: 10, MinBackoff: time.Second, MaxBackoff: 10 * time.Minute},
			Deadline: 30 * time.Second, TransportDeadline: 35 * time.Second,
			Queues: []Rate{{400, 4}, {400, 3}, {400, 3}},
		},
	}
	if diff := cmp.Diff(want, app.Routes()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
