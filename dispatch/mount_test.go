package dispatch_test

import (
	"net/http"
	"strings"
	"testing"

	"waybill.dev/auth"
	"waybill.dev/dispatch"
)

func TestMountServesBesideTheRoutes(t *testing.T) {
	c := newContracts()
	w := newWorld(t, c.app)
	for _, service := range []*dispatch.Service{c.login, c.mailer} { // the one receives nothing otherwise, the other does
		d := w.open(service)
		const scheduler = "scheduler@waybill-local.iam.gserviceaccount.com"
		v, err := d.Verifier(scheduler)
		if err != nil {
			t.Fatal(err)
		}
		d.Mount("/flush", v.Middleware(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			caller, _ := auth.IdentityFrom(r.Context())
			rw.Header().Set("Caller", caller.Email)
		})))
		w.serve(service, d)
		audience := w.env.Service(c.app, service.Name()).Audience
		for _, test := range []struct {
			token string
			want  int
		}{{w.token(scheduler, audience), http.StatusOK}, {w.token(loginAccount, audience), http.StatusForbidden}, {"", http.StatusUnauthorized}} {
			if status, answer := w.post(w.url(service, "/flush"), test.token, ""); status != test.want {
				t.Errorf("%s: %d %s, want %d", service, status, answer, test.want)
			}
		}
		if status, _ := w.post(w.url(service, "/flush/more"), "", ""); status != http.StatusNotFound {
			t.Errorf("below the path: %d", status)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if status, _ := w.post(w.url(service, "/flush"), w.token(scheduler, audience), ""); status != http.StatusServiceUnavailable {
			t.Errorf("after Close: %d", status)
		}
	}
}

func TestCheckReportsWhatIsMountedWrongly(t *testing.T) {
	c := newContracts()
	d := newWorld(t, c.app).open(c.login)
	h := http.NotFoundHandler()
	d.Mount("/twice", h)
	d.Mount("/twice", h)
	d.Mount("nowhere", h)
	d.Mount("/nothing", nil)
	mailer := newWorld(t, c.app).open(c.mailer)
	mailer.Mount("/_waybill/tasks/send-welcome", h)
	wantText(t, d.Check(), `Mount("/twice"): something is served there already`, `Mount("nowhere"): a path starts with a slash`, `Mount("/nothing") got no handler`)
	wantText(t, mailer.Check(), `Mount("/_waybill/tasks/send-welcome"): something is served there already`)
}

func wantText(t *testing.T, err error, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("the error lacks %q: %v", text, err)
		}
	}
}
