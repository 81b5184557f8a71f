package dispatch

import (
	"strings"
	"testing"
)

func TestListenAddress(t *testing.T) {
	app := NewApp("shop")
	mailer := app.Service("mailer")
	for _, tt := range []struct {
		name     string
		own      ServiceEnvironment
		emulator string
		port     string
		cloudRun bool
		want     string
		problem  string
	}{
		{name: "Cloud Run", own: ServiceEnvironment{URL: "https://mailer.example.com"}, port: "8080", cloudRun: true, want: ":8080"},
		{name: "Cloud Run without a port", own: ServiceEnvironment{URL: "https://mailer.example.com"}, cloudRun: true, want: ":8080"},
		{name: "a local URL", own: ServiceEnvironment{URL: "http://localhost:9000"}, want: "localhost:9000"},
		{name: "a local URL without a port", own: ServiceEnvironment{URL: "http://[::1]"}, want: "[::1]:80"},
		{name: "the URL is what senders use, whatever PORT says", own: ServiceEnvironment{URL: "http://127.0.0.1:9000"}, port: "7000", want: "127.0.0.1:9000"},
		{name: "the default of a local run", emulator: "127.0.0.1:8085", want: "127.0.0.1:8101"},
		{name: "an explicit word", own: ServiceEnvironment{URL: "https://mailer.example.com", Listen: "0.0.0.0:8080"}, want: "0.0.0.0:8080"},
		{name: "beyond loopback without a word", own: ServiceEnvironment{URL: "https://mailer.example.com"}, port: "8080", problem: `set "listen"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := &Dispatcher{service: mailer, env: &Environment{Emulator: tt.emulator, Services: map[string]ServiceEnvironment{"mailer": tt.own}}}
			got, err := d.listenAddress(tt.port, tt.cloudRun)
			if tt.problem != "" {
				if err == nil || !strings.Contains(err.Error(), tt.problem) {
					t.Errorf("%q, %v; want an error with %q", got, err, tt.problem)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("%q, %v; want %q", got, err, tt.want)
			}
		})
	}
}
