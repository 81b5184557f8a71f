package emulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"waybill.dev/emulator/internal/clock"
)

// skipPatience is how long a request to skip waits for the deliveries in flight.
const skipPatience = 30 * time.Second

// control is the part of the API that is the Emulator's own.
func (e *Emulator) control() []endpoint {
	return []endpoint{
		{"GET /_emulator/ready", "", "200 once it accepts, 503 once it stops", e.serveReady},
		{"GET /_emulator/live", "", "200 as long as it answers", serveLive},
		{"GET /_emulator/clock", "", "the emulator's time, as JSON", e.serveClock},
		{"POST /_emulator/advance", "?by=10m", "moves the clock", e.serveAdvance},
		{"POST /_emulator/skip", "[?within=1h]", "moves the clock to the next delivery or retry", e.serveSkip},
		{"POST /_emulator/reset", "", "forgets every queue, task, topic, subscription and fault", e.serveReset},
		{"POST /_emulator/faults", "?status=503&...", "makes deliveries go wrong; prints the fault's id", e.serveAddFault},
		{"GET /_emulator/faults", "", "the faults in force, as JSON", e.serveFaults},
		{"DELETE /_emulator/faults", "", "removes every fault", e.serveClearFaults},
		{"DELETE /_emulator/faults/{id}", "", "removes one", e.serveRemoveFault},
		{"POST /_emulator/rotate-keys", "[?old=withdraw]", "a new signing key; prints its id", e.serveRotateKeys},
		{"POST /_emulator/metadata", "?account=EMAIL", "a metadata server of that account alone; prints its address", e.serveMetadata},
		{"POST /_emulator/gates", "?service=S&target=URL&...", "Cloud Run's check in front of a container; prints the service's URL", e.serveGates},
	}
}

// endpoint is a line of the HTTP API.
type endpoint struct {
	pattern    string // as [http.ServeMux] takes it
	parameters string // for people
	does       string
	serve      http.HandlerFunc
}

// parameters are those of the query and of a form in the body. Others than the known ones are an error, so that a typing
// mistake is not a fault on everything.
func parameters(r *http.Request, known ...string) (url.Values, error) {
	if err := r.ParseForm(); err != nil {
		return nil, errors.New("emulator: the parameters cannot be read: send them in the query, or as a form")
	}
	for name := range r.Form {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("emulator: there is no parameter %q: there are %s", name, strings.Join(known, ", "))
		}
	}
	return r.Form, nil
}

func (e *Emulator) serveReady(w http.ResponseWriter, _ *http.Request) {
	if e.stopping.Load() {
		http.Error(w, "stopping", http.StatusServiceUnavailable)
		return
	}
	writeLine(w, "ready")
}

func serveLive(w http.ResponseWriter, _ *http.Request) { writeLine(w, "live") }

func (e *Emulator) serveReset(w http.ResponseWriter, _ *http.Request) {
	if err := e.reset(); err != nil { //nolint:contextcheck // a reset is not given up half-way
		http.Error(w, fmt.Sprintf("emulator: everything is forgotten, and not all resources could be created anew:\n%v", err), http.StatusInternalServerError)
		return
	}
	writeLine(w, "reset")
}

// clockView is the clock in JSON.
type clockView struct {
	Now    time.Time  `json:"now"`
	Offset string     `json:"offset"`         // what it was advanced by, as Go writes durations
	Next   *time.Time `json:"next,omitempty"` // when the next delivery is due
}

func (e *Emulator) serveClock(w http.ResponseWriter, _ *http.Request) {
	view := clockView{Now: e.Now().UTC(), Offset: e.clock.Offset().String()}
	if next, ok := e.NextDelivery(); ok {
		next = next.UTC()
		view.Next = &next
	}
	writeJSON(w, view)
}

func (e *Emulator) serveAdvance(w http.ResponseWriter, r *http.Request) {
	by, err := time.ParseDuration(r.FormValue("by"))
	if err != nil || by < 0 {
		http.Error(w, "emulator: say by how much, as in POST /_emulator/advance?by=10m; time never goes back", http.StatusBadRequest)
		return
	}
	if left := clock.MaxOffset - e.clock.Offset(); by > left {
		http.Error(w, fmt.Sprintf("emulator: the clock goes no further than 200 years beyond the wall clock: advance by at most %v", left), http.StatusBadRequest)
		return
	}
	e.Advance(by)
	writeTime(w, e.Now())
}

func (e *Emulator) serveSkip(w http.ResponseWriter, r *http.Request) {
	form, err := parameters(r, "within")
	var within time.Duration
	if value := form.Get("within"); value != "" && err == nil {
		if within, err = time.ParseDuration(value); err != nil || within <= 0 {
			err = errors.New("emulator: within is a duration above zero, as in POST /_emulator/skip?within=1h")
		}
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), skipPatience)
	defer cancel()
	now, err := e.Skip(ctx, within)
	switch {
	case err == nil:
		writeTime(w, now)
	case errors.Is(err, ErrNothingDue):
		http.Error(w, err.Error(), http.StatusNotFound)
	default:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

// serveRotateKeys answers the new key's id.
func (e *Emulator) serveRotateKeys(w http.ResponseWriter, r *http.Request) {
	old := r.FormValue("old")
	if old != "" && old != "keep" && old != "withdraw" {
		http.Error(w, "emulator: old is keep, the default, or withdraw", http.StatusBadRequest)
		return
	}
	id, err := e.issuer.RotateKeys(old == "withdraw")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeLine(w, id)
}

// serveMetadata answers the address of the account's metadata server.
func (e *Emulator) serveMetadata(w http.ResponseWriter, r *http.Request) {
	addr, err := e.Metadata(r.Context(), r.FormValue("account"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	writeLine(w, addr)
}

// serveGates opens a gate that stays until the Emulator stops, and answers its URL.
func (e *Emulator) serveGates(w http.ResponseWriter, r *http.Request) {
	form, err := parameters(r, "service", "target", "listen", "invoker", "audience", "signature")
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	signature, ok := map[string]Signature{
		"": SignatureRemoved, "removed": SignatureRemoved, "removed-from-serverless": SignatureRemovedFromServerless, "kept": SignatureKept,
	}[form.Get("signature")]
	if !ok {
		http.Error(w, "emulator: signature is removed, the default, removed-from-serverless, or kept", http.StatusBadRequest)
		return
	}
	g, err := e.Gate(r.Context(), GateConfig{
		Service:   form.Get("service"),
		Target:    form.Get("target"),
		Listen:    form.Get("listen"),
		Invokers:  form["invoker"],
		Audiences: form["audience"],
		Signature: signature,
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	writeLine(w, g.URL())
}

// What follows fails only when the client has gone: nobody is left to tell.

func writeLine(w http.ResponseWriter, line string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, line+"\n")
}

func writeTime(w http.ResponseWriter, t time.Time) { writeLine(w, t.UTC().Format(time.RFC3339Nano)) }

func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(value)
}
