package emulator

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// Config says where an Emulator listens and which project it plays. The zero value works.
type Config struct {
	// Listen is the address for gRPC and HTTP, as host:port. Port 0 picks a free one, see [Emulator.Addr].
	// Default: 127.0.0.1:8085.
	Listen string

	// AllowNonLoopback must be set when Listen is reachable from other machines. The Emulator gives a
	// token to whoever asks and sends requests to wherever a task says.
	AllowNonLoopback bool

	// Hosts are further names by which HTTP clients reach the Emulator, as a container's name. Others are
	// refused, so that no web page can reach it by rebinding its own name to this machine. Loopback names
	// and the address of Listen are always allowed.
	Hosts []string

	// Project and Location are what the metadata server says. Queues and topics of any project can be
	// used all the same. Defaults: waybill-local, us-central1.
	Project, Location string

	// MetadataAccount is the service account that the metadata server calls "default".
	// Default: the project's compute account, NUMBER-compute@developer.gserviceaccount.com.
	MetadataAccount string

	// Keys is the path of a file that keeps the keys of ID tokens and key files from one start to the next, so that
	// restarting the Emulator invalidates neither. It is made if it is missing. Default: new keys at each start.
	Keys string

	// Data is a directory in which queues, tasks, topics, subscriptions and messages are kept from one start to the next, and the
	// clock's offset; see "Data" in the package's documentation. It is made if it is missing; an existing one must be an
	// emulator's own, and no other emulator may be using it. Default: everything is in memory and ends with the process.
	Data string

	// PubSubUpstream is the HOST:PORT of Google's own Pub/Sub emulator. Pub/Sub is then passed on to it, and what it pushes
	// arrives signed. Reset and Advance do not reach it. Default: this Emulator's own Pub/Sub.
	PubSubUpstream string

	// AppEngine is the URL of the App Engine application, as http://127.0.0.1:8080. Tasks with an App Engine target are
	// sent there, with the host of their routing in the Host header. Default: none, and such tasks are refused.
	AppEngine string

	// QueueTombstone is how long the name of a deleted queue cannot be used again. The real service: days.
	// Default: 0, at once.
	QueueTombstone time.Duration

	// TaskTombstone is how long the name of a finished task cannot be used again. The real service: up to a day.
	// Default: an hour, what nobody may rely on getting less of.
	TaskTombstone time.Duration

	// StrictTokens refuses of tasks what the real service refuses: a token for an http:// target, and a service account
	// of another project than the queue's. Default: both are allowed, since local receivers speak plain HTTP.
	StrictTokens bool

	// FollowRedirects follows the redirects of HTTP targets within the same attempt, up to ten, as the real service may.
	// Tokens do not go along to another host. Default: a redirect is a failed attempt, which the log explains.
	FollowRedirects bool

	// Resources are created at the start where they are missing, and again after each Reset. Those of Pub/Sub cannot go
	// with PubSubUpstream. Default: none.
	Resources Resources

	// Transport carries deliveries. Default: straight to the target, without a proxy.
	Transport http.RoundTripper

	// Logger gets each unreachable receiver and each refusal once. Default: slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	setDefault(&c.Listen, "127.0.0.1:8085")
	setDefault(&c.Project, "waybill-local")
	setDefault(&c.Location, "us-central1")
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func setDefault(field *string, value string) {
	if *field == "" {
		*field = value
	}
}

var (
	projectID  = regexp.MustCompile(`^[A-Za-z0-9.:-]{1,100}$`)
	locationID = regexp.MustCompile(`^[a-z0-9-]{1,50}$`)
)

// validate reports every problem at once.
func (c Config) validate() error {
	var problems []error
	add := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("emulator: "+format, args...))
	}

	host, _, err := net.SplitHostPort(c.Listen)
	switch {
	case err != nil:
		add("Config.Listen %q is not host:port, as in 127.0.0.1:8085", c.Listen)
	case !isLoopback(host) && !c.AllowNonLoopback:
		add("Config.Listen %q can be reached from other machines: use 127.0.0.1, or set AllowNonLoopback if everybody who reaches it may have tokens and send requests", c.Listen)
	}
	if !projectID.MatchString(c.Project) {
		add("Config.Project %q is not a project id: use letters, digits and hyphens", c.Project)
	}
	if !locationID.MatchString(c.Location) {
		add("Config.Location %q is not a location, as in us-central1", c.Location)
	}
	if c.MetadataAccount != "" && !strings.Contains(c.MetadataAccount, "@") {
		add("Config.MetadataAccount %q is not an email address", c.MetadataAccount)
	}
	if _, _, err := net.SplitHostPort(c.PubSubUpstream); c.PubSubUpstream != "" && err != nil {
		add("Config.PubSubUpstream %q is not host:port, as in 127.0.0.1:8086", c.PubSubUpstream)
	}
	if u, err := url.Parse(c.AppEngine); c.AppEngine != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "") {
		add("Config.AppEngine %q is not the URL of an application, as http://127.0.0.1:8080", c.AppEngine)
	}
	if c.QueueTombstone < 0 {
		add("Config.QueueTombstone is %v: use zero for none", c.QueueTombstone)
	}
	if c.TaskTombstone < 0 {
		add("Config.TaskTombstone is %v: use zero for an hour", c.TaskTombstone)
	}
	if c.PubSubUpstream != "" && c.Resources.ofPubSub() {
		add("Config.Resources cannot have schemas, topics or subscriptions beside Config.PubSubUpstream: create them in Google's emulator")
	}
	for _, h := range c.Hosts {
		if h == "" || strings.ContainsAny(h, "/:* ") {
			add("Config.Hosts has %q: give plain host names, without scheme or port", h)
		}
	}
	return errors.Join(problems...)
}
