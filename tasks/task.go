package tasks

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"golang.org/x/net/http/httpguts"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"waybill.dev/internal/endpoint"
)

// Cloud Tasks' limits. The size of a stored task was observed on the real
// service; the others are documented in cloudtaskspb.
const (
	MaxTaskSize         = 1_048_569           // bytes of the whole task, as protobuf counts them
	MaxURLLength        = 2083                // characters
	MaxHeaderSize       = 80 * 1024           // bytes of all names and values; the task's must be fewer
	MinDispatchDeadline = 15 * time.Second    //
	MaxDispatchDeadline = 30 * time.Minute    //
	MaxScheduleAhead    = 30 * 24 * time.Hour // how far ahead a task can be scheduled
)

// Task is a message on its way to one receiver: an HTTP POST that Cloud Tasks
// makes, with an ID token of the client's service account.
type Task struct {
	// Queue is the queue's full name, projects/P/locations/L/queues/Q. Required.
	Queue string
	// URL is where the task is delivered: https, or http to a loopback
	// address; at most 2083 characters. Required.
	URL string
	// Audience is the token's audience, as the receiver's verifier compares it.
	// Required: Cloud Tasks' own default is the whole URL with its query, which
	// hardly any receiver expects.
	Audience string
	// Header is sent with the task, below 80 KB in all. Cloud Tasks sets
	// Host, Content-Length, User-Agent, X-CloudTasks-*, X-Google-* and
	// X-AppEngine-*, and the token is the Authorization: these are refused here.
	// Without a Content-Type none is sent.
	Header map[string]string
	// Body is sent as it is. The whole task is at most 1,048,569 bytes.
	Body []byte
	// Key, if set, makes the task's name (its SHA-256 in hex), so that a second
	// task with this key in this queue is dropped, for an hour or longer after
	// the first has ended.
	Key string
	// ScheduleTime is when to deliver, at most 30 days ahead; zero or past means now.
	ScheduleTime time.Time
	// DispatchDeadline is how long Cloud Tasks waits for the receiver's answer,
	// 15 s to 30 min; 0 means 10 min.
	DispatchDeadline time.Duration
}

// Validate reports what [Client.Enqueue] would refuse before sending anything,
// for a task that is enqueued later or by other means: limits and sizes.
func (t *Task) Validate(now time.Time) error {
	err := t.validate(now, checkURL)
	if err == nil {
		_, err = t.request("")
	}
	if err != nil {
		return fmt.Errorf("tasks: the task cannot be sent: %w", err)
	}
	return nil
}

func (t *Task) validate(now time.Time, isGoodURL func(string) error) error {
	var problems []error
	if err := checkQueue(t.Queue); err != nil {
		problems = append(problems, err)
	}
	if err := isGoodURL(t.URL); err != nil {
		problems = append(problems, err)
	}
	if t.Audience == "" {
		problems = append(problems, errors.New("Audience is empty: set the audience that the receiver's verifier expects"))
	}
	size := 0
	for name, value := range t.Header {
		size += len(name) + len(value)
		if err := checkHeader(name, value); err != nil {
			problems = append(problems, err)
		}
	}
	if size >= MaxHeaderSize {
		problems = append(problems, fmt.Errorf("Header: %w: %d bytes, must be below %d: move data into the body", ErrTooLarge, size, MaxHeaderSize))
	}
	if d := t.DispatchDeadline; d != 0 && (d < MinDispatchDeadline || d > MaxDispatchDeadline) {
		problems = append(problems, fmt.Errorf("DispatchDeadline is %v: use %v to %v, or 0 for Cloud Tasks' 10 min", d, MinDispatchDeadline, MaxDispatchDeadline))
	}
	if delay := t.ScheduleTime.Sub(now); !t.ScheduleTime.IsZero() && delay > MaxScheduleAhead {
		problems = append(problems, fmt.Errorf("%w: the delay is %v, and %d days (%v) are the most: let a task with a shorter delay enqueue this one",
			ErrSchedule, delay.Round(time.Second), MaxScheduleAhead/(24*time.Hour), MaxScheduleAhead))
	}
	return errors.Join(problems...)
}

func checkURL(raw string) error {
	var problems []error
	if _, err := endpoint.Parse(raw); err != nil {
		problems = append(problems, fmt.Errorf("URL: %w", err))
	}
	if len(raw) > MaxURLLength {
		problems = append(problems, fmt.Errorf("URL: %w: %d characters, at most %d", ErrTooLarge, len(raw), MaxURLLength))
	}
	return errors.Join(problems...)
}

// checkQueue is written without splitting: it runs for each task.
func checkQueue(name string) error {
	rest, ok := strings.CutPrefix(name, "projects/")
	project, rest, ok1 := strings.Cut(rest, "/locations/")
	location, queue, ok2 := strings.Cut(rest, "/queues/")
	if !ok || !ok1 || !ok2 || !segment(project) || !segment(location) || !segment(queue) {
		return fmt.Errorf("Queue is %q: use the full name, projects/PROJECT/locations/LOCATION/queues/QUEUE", name)
	}
	return nil
}

func segment(s string) bool { return s != "" && !strings.Contains(s, "/") }

func checkHeader(name, value string) error {
	switch {
	case !httpguts.ValidHeaderFieldName(name):
		return fmt.Errorf("Header: %q is not a header's name", name)
	case !httpguts.ValidHeaderFieldValue(value):
		return fmt.Errorf("Header: the value of %s holds a control character", name)
	case reserved(name):
		return fmt.Errorf("Header: %s is set or dropped by Cloud Tasks: use another name", name)
	}
	return nil
}

func reserved(name string) bool {
	// Told apart by length and first letter before any comparison that folds case.
	switch name[0] | 0x20 {
	case 'a':
		return strings.EqualFold(name, "Authorization")
	case 'h':
		return strings.EqualFold(name, "Host")
	case 'c':
		return strings.EqualFold(name, "Content-Length")
	case 'u':
		return strings.EqualFold(name, "User-Agent")
	case 'x':
		return hasPrefixFold(name, "X-CloudTasks-") || hasPrefixFold(name, "X-Google-") || hasPrefixFold(name, "X-AppEngine-") ||
			strings.EqualFold(name, "X-Serverless-Authorization")
	}
	return false
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// request builds what is sent. It shares t's header and body.
func (t *Task) request(account string) (*cloudtaskspb.CreateTaskRequest, error) {
	task := &cloudtaskspb.Task{
		MessageType: &cloudtaskspb.Task_HttpRequest{HttpRequest: &cloudtaskspb.HttpRequest{
			Url:        t.URL,
			HttpMethod: cloudtaskspb.HttpMethod_POST,
			Headers:    t.Header,
			Body:       t.Body,
			AuthorizationHeader: &cloudtaskspb.HttpRequest_OidcToken{OidcToken: &cloudtaskspb.OidcToken{
				ServiceAccountEmail: account,
				Audience:            t.Audience,
			}},
		}},
	}
	if t.Key != "" {
		task.Name = t.name()
	}
	if !t.ScheduleTime.IsZero() {
		task.ScheduleTime = timestamppb.New(t.ScheduleTime)
	}
	if t.DispatchDeadline != 0 {
		task.DispatchDeadline = durationpb.New(t.DispatchDeadline)
	}
	if t.mayBeTooLarge() {
		if size := proto.Size(task); size > MaxTaskSize {
			return nil, fmt.Errorf("%w: %d bytes, at most %d: store the data elsewhere and send where it is", ErrTooLarge, size, MaxTaskSize)
		}
	}
	return &cloudtaskspb.CreateTaskRequest{Parent: t.Queue, Task: task}, nil
}

// mayBeTooLarge spares nearly every task an exact count, which takes as many
// allocations as all else here. What it leaves out is bounded: header, URL and
// names are below 128 KiB by their own limits and those of Google's names.
func (t *Task) mayBeTooLarge() bool {
	return len(t.Body)+len(t.Audience)+len(t.Queue)+len(t.Header)*headerOverhead > MaxTaskSize-128<<10
}

// headerOverhead is the most that protobuf adds to one header: three tags and three lengths.
const headerOverhead = 3 * (1 + 5)

// name hashes the key: names in sequence make hot spots in Cloud Tasks, and a
// key may hold any character.
func (t *Task) name() string {
	sum := sha256.Sum256([]byte(t.Key))
	name := make([]byte, 0, len(t.Queue)+len("/tasks/")+2*sha256.Size)
	name = append(name, t.Queue...)
	name = append(name, "/tasks/"...)
	return string(hex.AppendEncode(name, sum[:]))
}
