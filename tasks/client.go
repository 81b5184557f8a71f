package tasks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	cloudtasks "cloud.google.com/go/cloudtasks/apiv2"
	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/cenkalti/backoff/v4"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"waybill.dev/internal/endpoint/dial"
	"waybill.dev/internal/retry"
)

// Config configures [NewClient].
type Config struct {
	// ServiceAccount is the e-mail of the account whose ID token every task
	// carries: the sender's own. It must be in the queue's project, and who
	// enqueues needs iam.serviceAccounts.actAs on it. Required.
	ServiceAccount string
	// MaxAttempts is how often one Enqueue tries what is safe to repeat. Default 5; 1 never repeats.
	MaxAttempts int
	// MinBackoff and MaxBackoff bound the waits between attempts, which double
	// and vary by half. Defaults 100 ms and 5 s.
	MinBackoff, MaxBackoff time.Duration
	// AttemptTimeout bounds each attempt. Default 20 s, Google's own.
	AttemptTimeout time.Duration
	// Now tells the time that schedules are checked against. Default time.Now.
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	if c.MaxAttempts == 0 {
		c.MaxAttempts = 5
	}
	if c.MinBackoff == 0 {
		c.MinBackoff = 100 * time.Millisecond
	}
	if c.MaxBackoff == 0 {
		c.MaxBackoff = max(5*time.Second, c.MinBackoff)
	}
	if c.AttemptTimeout == 0 {
		c.AttemptTimeout = 20 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func (c Config) validate() error {
	var problems []error
	if !strings.Contains(c.ServiceAccount, "@") {
		problems = append(problems, fmt.Errorf("ServiceAccount is %q: set the e-mail of the account whose token the tasks carry", c.ServiceAccount))
	}
	if c.MaxAttempts < 0 {
		problems = append(problems, fmt.Errorf("MaxAttempts is %d: use 1 or more, or 0 for 5", c.MaxAttempts))
	}
	if c.MinBackoff < 0 || c.MaxBackoff < c.MinBackoff {
		problems = append(problems, fmt.Errorf("MinBackoff %v and MaxBackoff %v: neither may be negative, nor the first above the second", c.MinBackoff, c.MaxBackoff))
	}
	if c.AttemptTimeout < 0 {
		problems = append(problems, fmt.Errorf("AttemptTimeout is %v: use a positive time, or 0 for 20 s", c.AttemptTimeout))
	}
	return errors.Join(problems...)
}

// Client enqueues tasks. It may be used by many goroutines.
type Client struct {
	cfg     Config
	limits  retry.Limits
	client  *cloudtasks.Client
	closed  atomic.Bool
	goodURL atomic.Pointer[string] // the last that was found good: most clients send to few
	close   func() error
}

// NewClient returns a client. It does not connect until the first task. The
// options are those of Google's client; pass [ClientOptions] to follow
// CLOUD_TASKS_EMULATOR_HOST.
func NewClient(ctx context.Context, cfg Config, opts ...option.ClientOption) (*Client, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("tasks: the configuration is wrong: %w", err)
	}
	opts = append(slices.Clip(opts), option.WithGRPCDialOption(grpc.WithChainUnaryInterceptor(dial.MarkRefused)))
	client, err := cloudtasks.NewClient(ctx, opts...)
	if err != nil {
		return nil, fmt.Errorf("tasks: no client of Cloud Tasks (credentials? for an emulator set %s and pass ClientOptions): %w", EmulatorHostVariable, err)
	}
	return &Client{
		cfg:    cfg,
		limits: retry.Limits{MaxAttempts: cfg.MaxAttempts, MinBackoff: cfg.MinBackoff, MaxBackoff: cfg.MaxBackoff},
		client: client,
		close:  sync.OnceValue(client.Close),
	}, nil
}

// Close closes the connection. A task being enqueued fails; Enqueue after Close
// returns [ErrClosed]. Close may be called twice.
func (c *Client) Close() error {
	c.closed.Store(true)
	if err := c.close(); err != nil {
		return fmt.Errorf("tasks: %w", err)
	}
	return nil
}

// Receipt says that Cloud Tasks has accepted a task.
type Receipt struct {
	// Name is the task's full name.
	Name string
	// Duplicate: the name was in use, or lately, so this task was dropped. It
	// is also set when an earlier attempt of the same Enqueue had been accepted
	// and its answer was lost.
	Duplicate bool
	// ScheduleTime is when the task will be delivered, as Cloud Tasks says; zero for a duplicate.
	ScheduleTime time.Time
}

// isGoodURL remembers the last URL that it found good, since parsing one costs more than all other checks of a task.
func (c *Client) isGoodURL(raw string) error {
	if last := c.goodURL.Load(); last != nil && *last == raw {
		return nil
	}
	if err := checkURL(raw); err != nil {
		return err
	}
	c.goodURL.Store(&raw)
	return nil
}

// Enqueue hands the task to Cloud Tasks and returns once it was accepted. Sizes
// and limits are checked before anything is sent. A task whose key was used
// before is a success with [Receipt.Duplicate].
//
// A task with a key is repeated with backoff while the service is unavailable,
// a task without one only if it was refused before it was sent. An error that
// leaves open whether the task was accepted wraps [ErrAmbiguous].
func (c *Client) Enqueue(ctx context.Context, t Task) (Receipt, error) {
	if c.closed.Load() {
		return Receipt{}, fmt.Errorf("tasks: %w: enqueue before Close", ErrClosed)
	}
	if err := ctx.Err(); err != nil {
		return Receipt{}, fmt.Errorf("tasks: nothing was sent, the context had ended: %w", context.Cause(ctx))
	}
	req, err := c.check(t)
	if err != nil {
		return Receipt{}, err
	}

	e := enqueue{client: c, req: req, named: t.Key != ""}
	task, err := e.run(ctx)
	switch {
	case err == nil:
		return Receipt{Name: task.GetName(), ScheduleTime: task.GetScheduleTime().AsTime()}, nil
	case e.named && status.Code(e.last) == codes.AlreadyExists:
		return Receipt{Name: req.GetTask().GetName(), Duplicate: true}, nil
	}
	return Receipt{}, e.explain(ctx)
}

// Check reports what Enqueue would refuse before sending anything, for a task
// that is to be enqueued later.
func (c *Client) Check(t Task) error {
	_, err := c.check(t)
	return err
}

func (c *Client) check(t Task) (*cloudtaskspb.CreateTaskRequest, error) {
	if err := t.validate(c.cfg.Now(), c.isGoodURL); err != nil {
		return nil, fmt.Errorf("tasks: the task cannot be sent: %w", err)
	}
	req, err := t.request(c.cfg.ServiceAccount)
	if err != nil {
		return nil, fmt.Errorf("tasks: the task cannot be sent: %w", err)
	}
	return req, nil
}

// enqueue is one Enqueue over its attempts.
type enqueue struct {
	client    *Client
	req       *cloudtaskspb.CreateTaskRequest
	named     bool
	to        peer.Peer // of the attempt
	last      error     // the attempt's
	ambiguous bool      // an attempt may have been accepted
}

// run makes the first attempt by itself, so that a task that is accepted at
// once, as nearly all are, costs no schedule.
func (e *enqueue) run(ctx context.Context) (*cloudtaskspb.Task, error) {
	task, err := e.attempt(ctx)
	if err == nil || errors.Is(err, &backoff.PermanentError{}) {
		return task, err
	}
	made := true
	return backoff.RetryWithData(func() (*cloudtaskspb.Task, error) {
		if made {
			made = false
			return nil, err
		}
		return e.attempt(ctx)
	}, retry.New(ctx, e.client.limits))
}

func (e *enqueue) attempt(whole context.Context) (*cloudtaskspb.Task, error) {
	ctx, cancel := context.WithTimeout(whole, e.client.cfg.AttemptTimeout)
	defer cancel()
	// gRPC fills in the peer once the request has been given to a connection.
	e.to = peer.Peer{}
	task, err := e.client.client.CreateTask(ctx, e.req, gax.WithGRPCOptions(grpc.Peer(&e.to)))
	if err == nil {
		return task, nil
	}
	e.last = err
	sent := e.to.Addr != nil
	if sent && unclear(status.Code(err)) {
		e.ambiguous = true
	}
	if whole.Err() != nil || e.client.closed.Load() || !e.repeatable(sent, status.Code(err)) {
		return nil, backoff.Permanent(err)
	}
	return nil, err
}

func (e *enqueue) repeatable(sent bool, code codes.Code) bool {
	switch code {
	case codes.Unavailable, codes.DeadlineExceeded:
		return e.named || !sent
	case codes.Internal, codes.ResourceExhausted:
		return e.named
	default:
		return false
	}
}

// unclear are the codes that do not say whether a request that was sent was acted on.
func unclear(code codes.Code) bool {
	switch code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Internal, codes.Unknown, codes.Aborted:
		return true
	default:
		return false
	}
}

func (e *enqueue) explain(ctx context.Context) error {
	err := e.last
	if cause := context.Cause(ctx); cause != nil {
		err = fmt.Errorf("%w (%w)", cause, e.last)
	}
	if e.client.closed.Load() {
		err = fmt.Errorf("%w (%w)", ErrClosed, err)
	}
	queue := e.req.GetParent()
	_, refused := errors.AsType[*dial.RefusedError](e.last)
	switch code := status.Code(e.last); {
	case e.ambiguous && e.named:
		return fmt.Errorf("tasks: no answer from %s to the task, which has a key and can be enqueued again: %w: %w", queue, ErrAmbiguous, err)
	case e.ambiguous:
		return fmt.Errorf("tasks: no answer from %s to the task, which has no key: %w: %w", queue, ErrAmbiguous, err)
	case code == codes.NotFound:
		return fmt.Errorf("tasks: the queue %s does not exist: create it first (a real one needs up to a minute to become known; an emulator forgets everything at its end): %w", queue, err)
	case refused:
		return fmt.Errorf("tasks: nothing was sent to %s: %w", queue, err)
	case code == codes.PermissionDenied:
		return fmt.Errorf("tasks: not allowed: the sender needs roles/cloudtasks.enqueuer on %s and roles/iam.serviceAccountUser on %s: %w",
			queue, e.client.cfg.ServiceAccount, err)
	default:
		return fmt.Errorf("tasks: %s did not accept the task: %w", queue, err)
	}
}
