package dispatch

import (
	"fmt"
	"reflect"
	"strings"
	"sync"

	"waybill.dev/internal/names"
)

// App is a set of services and of the routes between them: the contracts that all of its services share.
//
// Declare an App, its services and its routes in package-level variables of one package that every service
// imports. A declaration never panics and returns no error; what is wrong with it is kept, and [Open] reports
// all of it at once. An App may be read by several goroutines once it is declared.
type App struct {
	name    string
	codecs  []Codec
	schemas map[reflect.Type]*schema // of messages that declare a version

	mu       sync.Mutex
	services []*Service
	routes   []*route
	problems []error
}

// NewApp declares an app. The name is part of every queue's, topic's and subscription's name: lower-case letters,
// digits and single hyphens, 30 characters at most.
func NewApp(name string, options ...AppOption) *App {
	a := &App{name: name, schemas: map[reflect.Type]*schema{}}
	if err := names.Check("app", name, names.MaxApp); err != nil {
		a.problems = append(a.problems, err)
	}
	for _, o := range options {
		o.applyApp(a)
	}
	a.codecs = append(a.codecs, protobufCodec{}, jsonCodec{})
	return a
}

// AppOption is an option of [NewApp]: [Codecs], [Version].
type AppOption interface{ applyApp(*App) }

// Name is the app's name.
func (a *App) Name() string { return a.name }

// Service is one deployable program of an app, with an identity of its own: a service account.
type Service struct {
	app   *App
	name  string
	index int // by order of declaration; local runs derive a port from it
}

// Service declares a service. The name is also the name of its Cloud Run service and, unless the environment
// says otherwise, of its service account: lower-case letters, digits and single hyphens, 40 characters at most.
func (a *App) Service(name string) *Service {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := names.Check("service", name, names.MaxName); err != nil {
		a.problems = append(a.problems, err)
	}
	for _, other := range a.services {
		if other.name == name {
			a.problems = append(a.problems, fmt.Errorf("service %q is declared twice; declare it once and share the variable", name))
		}
	}
	s := &Service{app: a, name: name, index: len(a.services)}
	a.services = append(a.services, s)
	return s
}

// Name is the service's name.
func (s *Service) Name() string { return s.name }

// String is "app/service".
func (s *Service) String() string {
	if s == nil {
		return "no service"
	}
	return s.app.name + "/" + s.name
}

// Validate reports every problem of the app's declarations at once, each with its mend, or nil.
// [Open] calls it; a test of the contracts package may, too.
func (a *App) Validate() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	problems := append([]error(nil), a.problems...)
	for _, r := range a.routes {
		problems = append(problems, r.validate()...)
	}
	problems = append(problems, collisions(a.routes)...)
	problems = append(problems, a.unusedSchemas()...)
	return joinProblems("the contracts of app "+a.name, problems)
}

// collisions finds what only shows between routes: a name used twice, two routes on one path.
func collisions(routes []*route) []error {
	var problems []error
	byName := map[string]*route{}
	byPath := map[string]*route{}
	for _, r := range routes {
		if first, taken := byName[r.name]; taken {
			problems = append(problems, fmt.Errorf("%s and %s have the same name; route names are unique in an app, rename one", first, r))
		} else {
			byName[r.name] = r
		}
		if r.to == nil || r.kind == KindEvent {
			continue
		}
		at := r.to.name + r.path
		if first, taken := byPath[at]; taken {
			problems = append(problems, fmt.Errorf("%s and %s are both at %s of service %q; give one another dispatch.Path", first, r, r.path, r.to.name))
		} else {
			byPath[at] = r
		}
	}
	for _, r := range routes { // after all names are known: an alias gives way, whichever was declared first
		for _, alias := range r.aliases {
			if other, taken := byName[alias]; taken {
				problems = append(problems, fmt.Errorf("%s has the alias %q, which is %s's name or alias; a name stands for one route, remove the alias", r, alias, other))
				continue
			}
			byName[alias] = r
			if r.to == nil {
				continue
			}
			path := defaultPath(r.kind, alias)
			if other, taken := byPath[r.to.name+path]; taken {
				problems = append(problems, fmt.Errorf("%s has the alias %q, whose path %s is %s's; give that another dispatch.Path", r, alias, path, other))
			} else {
				byPath[r.to.name+path] = r
			}
		}
	}
	return problems
}

// serviceNamed finds a service by its name, or nil.
func (a *App) serviceNamed(name string) *Service {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.services {
		if s.name == name {
			return s
		}
	}
	return nil
}

// declared is a copy of the list of routes, so that callers hold no lock.
func (a *App) declared() []*route {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]*route(nil), a.routes...)
}

// problemList is several errors under one heading.
type problemList struct {
	heading string
	list    []error
}

// joinProblems makes one error of several, under one heading, or nil of none.
func joinProblems(heading string, problems []error) error {
	if len(problems) == 0 {
		return nil
	}
	return &problemList{"dispatch: " + heading, problems}
}

// Error puts a single problem on the heading's line, and each of several on a line of its own, indented so that a log
// shows what belongs together.
func (p *problemList) Error() string {
	if len(p.list) == 1 {
		return p.heading + ": " + p.list[0].Error()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d problems:", p.heading, len(p.list))
	for _, err := range p.list {
		b.WriteString("\n  - " + strings.ReplaceAll(err.Error(), "\n", "\n    "))
	}
	return b.String()
}

// Unwrap is for errors.Is and errors.As.
func (p *problemList) Unwrap() []error { return p.list }
