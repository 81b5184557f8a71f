package crashtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2"
	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	location = "projects/shop/locations/us-central1"
	queues   = 16 // each delivers 500 a second
	switched = location + "/queues/switched"
)

// What becomes of a task; its name begins with it.
const (
	prompt = "prompt" // delivered at once
	flaky  = "flaky"  // after four failures
	later  = "later"  // due in a day
	doomed = "doomed" // due in a day, and deleted before
)

func kindOf(name string) string { kind, _, _ := strings.Cut(name, "-"); return kind }

func queueName(n int) string { return fmt.Sprintf("%s/queues/q%d", location, n) }

// truth is what the emulator has acknowledged.
type truth struct {
	mu      sync.Mutex
	created map[string]string // full names of tasks by their ids
	deleted map[string]int    // by a task's id: the life in which its deletion was acknowledged
	unsure  map[string]bool   // ids of tasks whose creation or deletion has failed
	paused  cloudtaskspb.Queue_State
	serial  int
}

func newTruth() *truth {
	return &truth{created: make(map[string]string), deleted: make(map[string]int), unsure: make(map[string]bool)}
}

func (a *truth) acknowledged() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.created)
}

func dial(t *testing.T, addr string) *cloudtasks.Client {
	t.Helper()
	client, err := cloudtasks.NewClient(context.WithoutCancel(t.Context()), option.WithEndpoint(addr), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())), option.WithGRPCConnectionPool(1))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// load makes calls until one of them fails because the emulator is gone, or until the context ends.
func (a *truth) load(ctx context.Context, client *cloudtasks.Client, url string, life int) error {
	for {
		a.mu.Lock()
		a.serial++
		serial := a.serial
		a.mu.Unlock()
		kind := []string{prompt, prompt, prompt, prompt, prompt, prompt, flaky, later, doomed}[rand.IntN(9)]
		id := fmt.Sprintf("%s-%d", kind, serial)
		queue := queueName(rand.IntN(queues))
		task := &cloudtaskspb.Task{
			Name: queue + "/tasks/" + id,
			MessageType: &cloudtaskspb.Task_HttpRequest{HttpRequest: &cloudtaskspb.HttpRequest{
				Url: url, Body: make([]byte, 300),
			}},
		}
		if kind == later || kind == doomed {
			task.ScheduleTime = timestamppb.New(time.Now().Add(24 * time.Hour))
		}
		_, err := client.CreateTask(ctx, &cloudtaskspb.CreateTaskRequest{Parent: queue, Task: task})
		if err == nil {
			a.mu.Lock()
			a.created[id] = task.GetName()
			a.mu.Unlock()
			if kind == doomed {
				err = client.DeleteTask(ctx, &cloudtaskspb.DeleteTaskRequest{Name: task.GetName()})
				a.mu.Lock()
				if err == nil {
					a.deleted[id] = life
				} else {
					a.unsure[id] = true
				}
				a.mu.Unlock()
			}
		}
		if isGone(err) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// pauses switches a queue on and off.
func (a *truth) pauses(ctx context.Context, client *cloudtasks.Client) error {
	for {
		a.mu.Lock()
		was := a.paused
		a.paused = cloudtaskspb.Queue_STATE_UNSPECIFIED // either, until it is acknowledged
		a.mu.Unlock()
		var now *cloudtaskspb.Queue
		var err error
		if was == cloudtaskspb.Queue_PAUSED {
			now, err = client.ResumeQueue(ctx, &cloudtaskspb.ResumeQueueRequest{Name: switched})
		} else {
			now, err = client.PauseQueue(ctx, &cloudtaskspb.PauseQueueRequest{Name: switched})
		}
		if isGone(err) {
			return nil
		}
		if err != nil {
			return err
		}
		a.mu.Lock()
		a.paused = now.GetState()
		a.mu.Unlock()
	}
}

// isGone tells the errors of calls that the emulator's death or the end of the life has ended. A client that waits to
// repeat a call returns the context's own error.
func isGone(err error) bool {
	return status.Code(err) == codes.Unavailable || status.Code(err) == codes.Canceled || errors.Is(err, context.Canceled)
}

// list returns the ids of all tasks that there are.
func list(ctx context.Context, client *cloudtasks.Client) (map[string]bool, error) {
	ids := make(map[string]bool)
	for n := range queues {
		tasks := client.ListTasks(ctx, &cloudtaskspb.ListTasksRequest{Parent: queueName(n), PageSize: 1000})
		for {
			task, err := tasks.Next()
			if err == iterator.Done { //nolint:errorlint // as its documentation says
				break
			}
			if err != nil {
				return nil, err
			}
			ids[task.GetName()[strings.LastIndexByte(task.GetName(), '/')+1:]] = true
		}
	}
	return ids, nil
}
