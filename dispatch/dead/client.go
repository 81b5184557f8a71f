package dead

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	gpubsub "cloud.google.com/go/pubsub/v2"
	"google.golang.org/api/option"

	"waybill.dev/dispatch"
	"waybill.dev/pubsub"
	"waybill.dev/tasks"
)

// Config configures [Open]. Its zero value works.
type Config struct {
	// Environment is where the app runs. Default: what dispatch.Discover finds.
	Environment *dispatch.Environment
	// Wait is how long Pub/Sub must have nothing more to give before a route counts as read. Pub/Sub may hesitate: a longer
	// wait misses less. What it gives just when the wait is over is seen a minute later. Default 3 s; an emulator, which does not hesitate, is asked without a wait.
	Wait time.Duration
	// ClientOptions are passed to Google's clients when they talk to Google Cloud.
	ClientOptions []option.ClientOption
}

const defaultWait = 3 * time.Second

// Errors for errors.Is.
var (
	// ErrNotFound: no such dead letter was seen. It may be leased by somebody else who looks, or be beyond the limit.
	ErrNotFound = errors.New("no such dead letter")
	// ErrRefused: this letter cannot be sent again as it is. Nothing has left, and the letter stays.
	ErrRefused = errors.New("it cannot be replayed")
)

// Client reads the dead letters of one app in one environment. Make it with [Open] or [OpenDeployed].
type Client struct {
	env       *dispatch.Environment
	app       string
	routes    []*route
	wait      time.Duration   // 0: Pub/Sub says at once whether it has anything
	google    *gpubsub.Client // for what waybill.dev/pubsub has no word for
	publisher *pubsub.Client
	cloud     []option.ClientOption

	mu     sync.Mutex
	queues map[string]*tasks.Client // by the account that they send as
	closed bool
}

// Open makes a Client by the app's contracts. It makes no request.
func Open(ctx context.Context, app *dispatch.App, cfg Config) (*Client, error) {
	if app == nil {
		return nil, errors.New("dead: Open got no app; pass that of your contracts")
	}
	env := cfg.Environment
	if env == nil {
		found, err := dispatch.Discover(ctx, app)
		if err != nil {
			return nil, err
		}
		env = found
	}
	if err := errors.Join(app.Validate(), env.Validate(app)); err != nil {
		return nil, err
	}
	c, err := connect(ctx, env, cfg)
	if err != nil {
		return nil, err
	}
	c.app, c.routes = app.Name(), declared(app, env)
	return c, nil
}

// OpenDeployed makes a Client without the contracts, by the labels that waybill.dev/dispatch/deploy has put on the dead-letter
// subscriptions. An empty app stands for the only one in the project, under the environment's prefix.
//
// What labels cannot hold is taken from the environment: it must name the URL of a service whose tasks are replayed. On an
// emulator the letters' own word is good enough.
func OpenDeployed(ctx context.Context, app string, cfg Config) (*Client, error) {
	env := cfg.Environment
	if env == nil {
		found, err := dispatch.Discover(ctx, dispatch.NewApp(app))
		if err != nil {
			return nil, err
		}
		env = found
	}
	c, err := connect(ctx, env, cfg)
	if err != nil {
		return nil, err
	}
	if c.app, c.routes, err = c.deployed(ctx, app); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// connect makes the clients. They connect when they are used.
func connect(ctx context.Context, env *dispatch.Environment, cfg Config) (*Client, error) {
	switch {
	case cfg.Wait < 0:
		return nil, fmt.Errorf("dead: Config.Wait is %v; give a positive time, or 0 for %v", cfg.Wait, defaultWait)
	case env.Project == "":
		return nil, errors.New("dead: the environment has no project; add \"project\"")
	case env.IsHalfEmulated():
		return nil, errors.New("dead: only one of Cloud Tasks and Pub/Sub is an emulator here, and a replay could reach Google Cloud; set both CLOUD_TASKS_EMULATOR_HOST and PUBSUB_EMULATOR_HOST, or neither")
	}
	if err := env.ValidateVariables(); err != nil {
		return nil, err
	}
	c := &Client{env: env, wait: cfg.Wait, cloud: cfg.ClientOptions, queues: map[string]*tasks.Client{}}
	options := cfg.ClientOptions
	if host := env.PubSubEndpoint(); host != "" {
		options = pubsub.EmulatorOptions(host)
	}
	if c.wait == 0 && !env.IsEmulated() {
		c.wait = defaultWait
	}
	var err error
	if c.google, err = gpubsub.NewClient(ctx, env.Project, options...); err != nil {
		return nil, fmt.Errorf("dead: no client of Pub/Sub (credentials? run: gcloud auth application-default login): %w", err)
	}
	if c.publisher, err = pubsub.NewClient(ctx, pubsub.Config{Project: env.Project}, options...); err != nil {
		return nil, errors.Join(err, c.google.Close())
	}
	return c, nil
}

// tasksAs is the client that sends tasks as an account, made once.
func (c *Client) tasksAs(ctx context.Context, account string) (*tasks.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errors.New("dead: the Client is closed; open another one")
	}
	if client := c.queues[account]; client != nil {
		return client, nil
	}
	options := c.cloud
	if host := c.env.TasksEndpoint(); host != "" {
		options = tasks.EmulatorOptions(host)
	}
	client, err := tasks.NewClient(ctx, tasks.Config{ServiceAccount: account}, options...)
	if err == nil {
		c.queues[account] = client
	}
	return client, err
}

// App is the app's name.
func (c *Client) App() string { return c.app }

// Routes lists the names of the routes that have dead letters, or could: tasks and subscriptions.
func (c *Client) Routes() []string {
	names := make([]string, len(c.routes))
	for i, r := range c.routes {
		names[i] = r.name
	}
	return names
}

// asked are the routes of a query, found by their names or aliases.
func (c *Client) asked(name string) ([]*route, error) {
	if name == "" {
		return c.routes, nil
	}
	for _, r := range c.routes {
		if r.hasName(name) {
			return []*route{r}, nil
		}
	}
	return nil, fmt.Errorf("dead: app %s has no task or subscription %q; those that can have dead letters are %s", c.app, name, strings.Join(c.Routes(), ", "))
}

// Close frees the clients. It may be called twice.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	problems := []error{c.publisher.Close(), c.google.Close()}
	for _, client := range c.queues {
		problems = append(problems, client.Close())
	}
	return errors.Join(problems...)
}
