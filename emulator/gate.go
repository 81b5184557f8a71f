package emulator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"time"

	"waybill.dev/emulator/internal/gate"
)

// GateConfig says for which service a [Gate] stands, and where its container is.
type GateConfig struct {
	// Service is the Cloud Run service's name, as in user-profiles. Required. One service has one gate.
	Service string

	// Project and Location complete the service's full name, which its IAM policy is found by. Defaults: the Emulator's.
	Project, Location string

	// Target is where the container listens, as in http://127.0.0.1:8080, without a path. Required.
	Target string

	// Listen is the Gate's own address, as host:port. It must be loopback unless Config.AllowNonLoopback is set.
	// Default: 127.0.0.1:0, a free port, see [Gate.URL].
	Listen string

	// Invokers are the members that hold roles/run.invoker on the service, in IAM's form, as in
	// serviceAccount:login@shop.iam.gserviceaccount.com. allUsers makes the service public. Default: nobody.
	Invokers []string

	// Audiences are custom audiences that tokens may have, beside the Gate's URL. They are compared exactly.
	Audiences []string

	// Signature is what the container sees of the token that the Gate has checked. Default: SignatureRemoved.
	Signature Signature

	// Timeout bounds a request, from its start to the last byte of its answer; then the Gate answers 504. At most 60
	// minutes. Default: 5 minutes, as on Cloud Run.
	Timeout time.Duration
}

// Signature says what a container sees of the token that its [Gate] has checked. Google's documentation can be read in
// two ways, and reports differ; a service should work with each.
type Signature int

const (
	// SignatureRemoved puts SIGNATURE_REMOVED_BY_GOOGLE in place of the checked token's signature, whichever header it
	// came in. This is how Cloud Run's page on troubleshooting reads. The header that was not checked stays as it is.
	SignatureRemoved = Signature(gate.Removed)

	// SignatureRemovedFromServerless does so in X-Serverless-Authorization only: a token that was checked in
	// Authorization arrives intact. This is how the guide to calls between services reads.
	SignatureRemovedFromServerless = Signature(gate.RemovedFromServerless)

	// SignatureKept forwards both headers as they came.
	SignatureKept = Signature(gate.Kept)
)

const maxGateTimeout = time.Hour

// Gate does what Cloud Run does in front of a container. Use [Emulator.Gate]. It is safe for concurrent use.
type Gate struct {
	emulator *Emulator
	gate     *gate.Gate
}

// Gate opens a Gate on an address of its own and returns when it accepts requests. The context bounds the opening,
// not the Gate's life: call [Gate.Close], or let the Emulator close it.
//
// A request is let in when its ID token, in X-Serverless-Authorization if that is there and else in Authorization, is
// signed by this Emulator, is for [Gate.URL] or one of GateConfig.Audiences, has not expired, and belongs to one of the
// invokers. Without a token or the role the Gate answers 403, with a bad token 401.
//
// It fails when the GateConfig is wrong, reporting every problem, when the service has a gate already, and when the
// address cannot be listened on.
func (e *Emulator) Gate(ctx context.Context, config GateConfig) (*Gate, error) {
	config = config.withDefaults(e.config)
	target, err := config.validate(e.config)
	if err != nil {
		return nil, err
	}
	g, err := e.services.Open(ctx, gate.Config{
		Name:      "projects/" + config.Project + "/locations/" + config.Location + "/services/" + config.Service,
		Listen:    config.Listen,
		Target:    target,
		Audiences: config.Audiences,
		Invokers:  config.Invokers,
		Signature: gate.Signature(config.Signature),
		Timeout:   config.Timeout,
		Verifier:  e.issuer,
		Logger:    e.config.Logger,
	})
	if err != nil {
		return nil, err
	}
	return &Gate{emulator: e, gate: g}, nil
}

// URL is the service's: where its callers send requests, and the audience of their tokens. It has no slash at its end.
func (g *Gate) URL() string { return g.gate.URL() }

// SetInvokers replaces the service's IAM policy: these members hold roles/run.invoker, and nobody holds another role. It
// counts from the next request on. It fails, and changes nothing, when one of them is not in IAM's form.
func (g *Gate) SetInvokers(members ...string) error { return g.gate.SetInvokers(members) }

// Close cuts off the requests in flight and returns when they have ended. It may be called twice. The service's name can
// then be used again.
func (g *Gate) Close() error {
	done, cancel := context.WithCancel(context.Background())
	cancel()
	if err := g.emulator.services.Close(done, g.gate); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (c GateConfig) withDefaults(e Config) GateConfig {
	setDefault(&c.Project, e.Project)
	setDefault(&c.Location, e.Location)
	setDefault(&c.Listen, "127.0.0.1:0")
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Minute
	}
	return c
}

// serviceName is Cloud Run's rule.
var serviceName = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,47}[a-z0-9])?$`)

// validate reports every problem at once.
func (c GateConfig) validate(e Config) (*url.URL, error) {
	var problems []error
	add := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("emulator: "+format, args...))
	}

	if !serviceName.MatchString(c.Service) {
		add("GateConfig.Service %q is not the name of a Cloud Run service: use at most 49 lowercase letters, digits and hyphens", c.Service)
	}
	if !projectID.MatchString(c.Project) {
		add("GateConfig.Project %q is not a project id: use letters, digits and hyphens", c.Project)
	}
	if !locationID.MatchString(c.Location) {
		add("GateConfig.Location %q is not a location, as in us-central1", c.Location)
	}
	target, err := url.Parse(c.Target)
	switch {
	case err != nil:
		add("GateConfig.Target is not a URL: use http://127.0.0.1:8080, with the container's port")
	case target.Scheme != "http" && target.Scheme != "https", target.Host == "":
		add("GateConfig.Target %q must be http or https and a host, as in http://127.0.0.1:8080", target.Redacted())
	case target.User != nil, target.Path != "" && target.Path != "/", target.RawQuery != "", target.Fragment != "":
		add("GateConfig.Target %q must have a scheme and a host and no more: paths are the caller's", target.Redacted())
	}
	host, _, err := net.SplitHostPort(c.Listen)
	switch {
	case err != nil:
		add("GateConfig.Listen %q is not host:port, as in 127.0.0.1:0", c.Listen)
	case !isLoopback(host) && !e.AllowNonLoopback:
		add("GateConfig.Listen %q can be reached from other machines: use 127.0.0.1, or set Config.AllowNonLoopback", c.Listen)
	}
	for _, audience := range c.Audiences {
		if audience == "" {
			add("GateConfig.Audiences has an empty one: leave it out")
		}
	}
	if c.Signature < SignatureRemoved || c.Signature > SignatureKept {
		add("GateConfig.Signature is %d: use one of the named values", c.Signature)
	}
	if c.Timeout < 0 || c.Timeout > maxGateTimeout {
		add("GateConfig.Timeout is %v: use at most %v", c.Timeout, maxGateTimeout)
	}
	return target, errors.Join(problems...)
}
