package emulator

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// faultView is a fault in JSON, by the names of the parameters that make it. Durations are as Go writes them.
type faultView struct {
	ID           string  `json:"id"`
	Queue        string  `json:"queue,omitempty"`
	Subscription string  `json:"subscription,omitempty"`
	URL          string  `json:"url,omitempty"`
	Latency      string  `json:"latency,omitempty"`
	MaxLatency   string  `json:"max_latency,omitempty"`
	Status       int     `json:"status,omitempty"`
	RetryAfter   string  `json:"retry_after,omitempty"`
	Drop         string  `json:"drop,omitempty"`
	Duplicate    bool    `json:"duplicate,omitempty"`
	Times        int     `json:"times,omitempty"`
	Probability  float64 `json:"probability,omitempty"`
	Seed         uint64  `json:"seed,omitempty"`
	Hits         int     `json:"hits"` // deliveries that it has acted on
}

// The values of the parameter drop.
const (
	dropRequest = "request"
	dropAnswer  = "answer"
)

func viewOf(active *ActiveFault) faultView {
	f := active.Fault()
	return faultView{
		ID:           active.ID(),
		Queue:        f.Queue,
		Subscription: f.Subscription,
		URL:          f.URL,
		Latency:      durationText(f.Latency),
		MaxLatency:   durationText(f.MaxLatency),
		Status:       f.Status,
		RetryAfter:   durationText(f.RetryAfter),
		Drop:         map[Drop]string{DropRequest: dropRequest, DropAnswer: dropAnswer}[f.Drop],
		Duplicate:    f.Duplicate,
		Times:        f.Times,
		Probability:  f.Probability,
		Seed:         f.Seed,
		Hits:         active.Hits(),
	}
}

func durationText(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

func (e *Emulator) serveFaults(w http.ResponseWriter, _ *http.Request) {
	list := []faultView{}
	for _, active := range e.Faults() {
		list = append(list, viewOf(active))
	}
	writeJSON(w, map[string]any{"faults": list})
}

// serveAddFault answers the new fault's id.
func (e *Emulator) serveAddFault(w http.ResponseWriter, r *http.Request) {
	form, err := parameters(r, "queue", "subscription", "url", "latency", "max_latency",
		"status", "retry_after", "drop", "duplicate", "times", "probability", "seed")
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fault, err := faultOf(form)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	active, err := e.AddFault(fault)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	writeLine(w, active.ID())
}

// faultOf reads the parameters and reports everything that cannot be read.
func faultOf(form url.Values) (Fault, error) {
	var problems []error
	f := Fault{
		Queue:        form.Get("queue"),
		Subscription: form.Get("subscription"),
		URL:          form.Get("url"),
		Latency:      parameter(form, "latency", "a duration, as in 200ms", time.ParseDuration, &problems),
		MaxLatency:   parameter(form, "max_latency", "a duration, as in 2s", time.ParseDuration, &problems),
		Status:       parameter(form, "status", "a number, as in 503", strconv.Atoi, &problems),
		RetryAfter:   parameter(form, "retry_after", "a duration, as in 30s", time.ParseDuration, &problems),
		Drop:         parameter(form, "drop", dropRequest+" or "+dropAnswer, dropOf, &problems),
		Duplicate:    parameter(form, "duplicate", "true or false", strconv.ParseBool, &problems),
		Times:        parameter(form, "times", "a number", strconv.Atoi, &problems),
		Probability:  parameter(form, "probability", "a number, as in 0.1", parseFloat, &problems),
		Seed:         parameter(form, "seed", "a whole number", parseUint, &problems),
	}
	return f, errors.Join(problems...)
}

func parameter[T any](form url.Values, name, want string, parse func(string) (T, error), problems *[]error) T {
	text := form.Get(name)
	if text == "" {
		return *new(T)
	}
	value, err := parse(text)
	if err != nil {
		*problems = append(*problems, fmt.Errorf("emulator: %s is %q: want %s", name, text, want))
	}
	return value
}

func dropOf(text string) (Drop, error) {
	switch text {
	case dropRequest:
		return DropRequest, nil
	case dropAnswer:
		return DropAnswer, nil
	default:
		return DropNothing, errors.New("unknown")
	}
}

func parseFloat(text string) (float64, error) { return strconv.ParseFloat(text, 64) }

func parseUint(text string) (uint64, error) { return strconv.ParseUint(text, 10, 64) }

func (e *Emulator) serveClearFaults(w http.ResponseWriter, _ *http.Request) {
	e.ClearFaults()
	writeLine(w, "cleared")
}

func (e *Emulator) serveRemoveFault(w http.ResponseWriter, r *http.Request) {
	active := e.faults.Find(r.PathValue("id"))
	if active == nil {
		http.Error(w, "emulator: there is no such fault: it was removed, or is used up", http.StatusNotFound)
		return
	}
	active.Remove()
	writeLine(w, "removed")
}
