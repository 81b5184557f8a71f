package dispatch

import (
	"fmt"
	"net/http"
	"strings"

	"waybill.dev/auth"
)

// Mount serves another handler at exactly this path, beside the routes: an outbox's endpoint for Cloud Scheduler, a page of the
// service's own. It drains with the rest. Nothing is checked before it runs: put a [Dispatcher.Verifier]'s Middleware around
// what is not for everybody. Mount before serving; what is wrong with it is reported by [Dispatcher.Check].
func (d *Dispatcher) Mount(path string, h http.Handler) {
	d.setup.Lock()
	defer d.setup.Unlock()
	switch {
	case h == nil:
		d.problems = append(d.problems, fmt.Errorf("Mount(%q) got no handler", path))
	case !strings.HasPrefix(path, "/"):
		d.problems = append(d.problems, fmt.Errorf("Mount(%q): a path starts with a slash", path))
	case d.receivers[path] != nil || d.mounted[path] != nil || path == ReadyPath || path == LivePath:
		d.problems = append(d.problems, fmt.Errorf("Mount(%q): something is served there already; mount it elsewhere", path))
	default:
		d.mounted[path] = h
	}
}

// mountedAt is what Mount has put at a path that no route has, or nil.
func (d *Dispatcher) mountedAt(at *receiver, path string) http.Handler {
	if at != nil {
		return nil
	}
	d.setup.Lock()
	defer d.setup.Unlock()
	return d.mounted[path]
}

// Verifier lets in callers that are no service of the app, such as the account of a Cloud Scheduler job, by ID tokens for this
// service's audience. Use it before serving, for what [Dispatcher.Mount] serves.
func (d *Dispatcher) Verifier(caller string, more ...string) (*auth.Verifier, error) {
	callers := append([]string{caller}, more...)
	d.setup.Lock()
	defer d.setup.Unlock()
	if d.verifier != nil {
		return d.verifier.ForCallers(callers...)
	}
	own := d.env.Service(d.service.app, d.service.name)
	switch {
	case own.Audience == "":
		return nil, fmt.Errorf("dispatch: the environment has no URL for %s itself, so it cannot tell which tokens are meant for it; add \"services\": {%q: {\"url\": \"https://...\"}}", d.service, d.service.name)
	case own.PlatformAsserts == nil:
		return nil, fmt.Errorf("dispatch: the environment does not say whether the platform checks who calls %s; add \"services\": {%q: {\"platform_asserts\": true}} "+
			"if it is a private Cloud Run service, or false if everybody may reach it", d.service, d.service.name)
	}
	v, err := d.newVerifier(own, callers)
	if err == nil {
		d.verifier = v
	}
	return v, err
}
