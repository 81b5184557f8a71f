package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"waybill.dev/emulator"
	"waybill.dev/internal/names"
)

// A welcome is what the emulator prints once it accepts: lines to paste into a shell.
type welcome struct {
	emulator *emulator.Emulator
	config   emulator.Config // as the flags gave it
	services services
	gates    []running
	metadata []running
}

// running is what has an address of its own.
type running struct{ name, address string }

// open opens the gates and the metadata servers, which the emulator closes.
func (w *welcome) open(ctx context.Context, gates []emulator.GateConfig, accounts []string) error {
	var problems []error
	for _, config := range gates {
		g, err := w.emulator.Gate(ctx, config)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		w.gates = append(w.gates, running{config.Service, g.URL()})
	}
	for _, account := range accounts {
		address, err := w.emulator.Metadata(ctx, account)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		w.metadata = append(w.metadata, running{account, address})
	}
	return errors.Join(problems...)
}

func (w welcome) print(ctx context.Context, out io.Writer) {
	fmt.Fprintf(out, "Cloud Tasks, Pub/Sub and the token issuer listen on %s, over gRPC and HTTP.\n", w.emulator.Addr())
	if upstream := w.config.PubSubUpstream; upstream != "" {
		fmt.Fprintf(out, "Pub/Sub is passed on to %s: %s.\n", upstream, reach(ctx, upstream))
	}

	fmt.Fprint(out, "\nPoint a shell at them:\n\n")
	for _, variable := range w.variables() {
		name, value, _ := strings.Cut(variable, "=")
		fmt.Fprintf(out, "  export %s=%s\n", name, shellQuote(value))
	}

	known := w.services
	if len(known) == 0 {
		fmt.Fprint(out, "\nEach service has a key file of its own. For one called login:\n\n")
		known = services{{name: "login"}}
	} else {
		fmt.Fprint(out, "\nEach service has a key file of its own, for its own shell:\n\n")
	}
	for _, s := range known {
		account := names.Account(s.name, w.config.Project)
		fmt.Fprintf(out, "  curl -fsS -o %s.json %s/_emulator/keys/%s\n", s.name, w.emulator.URL(), account)
		fmt.Fprintf(out, "  export GOOGLE_APPLICATION_CREDENTIALS=\"$PWD/%s.json\"\n", s.name)
	}

	if len(w.metadata) > 0 {
		fmt.Fprint(out, "\nThese have a metadata server, each for its own shell:\n\n")
		for _, m := range w.metadata {
			fmt.Fprintf(out, "  export GCE_METADATA_HOST=%s # %s\n", m.address, m.name)
		}
	}
	if len(w.gates) > 0 {
		fmt.Fprint(out, "\nThese are behind a gate. Each is reached by, and its tokens are for:\n\n")
		for _, g := range w.gates {
			fmt.Fprintf(out, "  %s # %s\n", g.address, g.name)
		}
	}

	fmt.Fprintf(out, "\nLet gcloud use them too, without a login (with --project %s; unset these for Google Cloud itself):\n\n", w.config.Project)
	fmt.Fprint(out, "  export CLOUDSDK_AUTH_DISABLE_CREDENTIALS=true\n")
	fmt.Fprintf(out, "  export CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB=%s/\n", w.emulator.URL())
	fmt.Fprintf(out, "  export CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDTASKS=%s/\n", w.emulator.URL())

	forgotten := "every queue, task, topic and subscription"
	if w.config.PubSubUpstream != "" {
		forgotten = "every queue and task; Google's emulator keeps its topics and subscriptions"
	}
	fmt.Fprintf(out, "\nForget %s:\n\n  curl -fsS -X POST %s/_emulator/reset\n", forgotten, w.emulator.URL())

	fmt.Fprintf(out, "\nGo to the next delivery or retry (curl %s says what else there is):\n\n  curl -fsS -X POST %[1]s/_emulator/skip\n", w.emulator.URL())

	fmt.Fprint(out, "\nDeliveries that fail are shown below, each reason once. Ctrl-C stops.\n")
}

// reach tells whether something listens at address.
func reach(ctx context.Context, address string) string {
	connection, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
	if err != nil {
		return "nothing listens there yet"
	}
	_ = connection.Close() // nothing was sent
	return "it answers"
}

// variables are those of the emulator, the project and, with services, Waybill's own.
func (w welcome) variables() []string {
	variables := append(w.emulator.Environ(), "GOOGLE_CLOUD_PROJECT="+w.config.Project)
	if len(w.services) == 0 {
		return variables
	}
	run := environment{
		Project:  w.config.Project,
		Location: w.config.Location,
		Emulator: w.emulator.Addr(),
		Services: make(map[string]serviceEnvironment, len(w.services)),
	}
	for _, s := range w.services {
		run.Services[s.name] = serviceEnvironment{URL: s.url}
	}
	text, err := json.Marshal(run)
	if err != nil { // strings only
		return variables
	}
	return append(variables, "WAYBILL_ENV="+string(text))
}

// environment is what is needed of [waybill.dev/dispatch.Environment], whose package would link Google's clients and keep
// some megabytes of them in memory. The tests read it by that.
type environment struct {
	Project  string                        `json:"project"`
	Location string                        `json:"location"`
	Emulator string                        `json:"emulator"`
	Services map[string]serviceEnvironment `json:"services"`
}

type serviceEnvironment struct {
	URL string `json:"url"`
}

// shellQuote leaves alone what a shell takes as it is.
func shellQuote(value string) string {
	if strings.Trim(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:/_-") == "" {
		return value
	}
	return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
}
