package cloudtasks

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"cloud.google.com/go/iam/apiv1/iampb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waybill.dev/emulator/internal/store"
)

const (
	kill      = 100 // percent of what was written and not synced that survives
	powerLoss = 0
)

// open makes an engine on a store and loads it. It fails as the store does.
func (b *bench) open(fs vfs.FS, tombstone time.Duration) (*store.Store, error) {
	s, err := store.Open(store.Config{Dir: "data", FS: fs, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	engine := New(Config{
		Clock:          b.clock,
		Signer:         fakeSigner{},
		HTTPClient:     &http.Client{Transport: b},
		Logger:         slog.New(slog.DiscardHandler),
		Store:          s,
		QueueTombstone: tombstone,
	})
	if err := engine.Load(); err != nil {
		_ = s.Close()
		return nil, err
	}
	b.service = service{Engine: engine}
	engine.Start()
	return s, nil
}

// inLife runs a part of a test on an engine that loads what the one before has left on fs, and ends it in good order.
func (b *bench) inLife(fs vfs.FS, part func()) {
	b.t.Helper()
	s, err := b.open(fs, 9*time.Hour)
	b.must(err)
	defer func() { b.must(s.Close()) }()
	defer b.cutOff()
	part()
}

func (b *bench) cutOff() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = b.Close(ctx) // its only error is that it did
}

// crash is what a disk has after the process was killed, or after a loss of power.
func crash(fs *vfs.MemFS, survives int) *vfs.MemFS {
	return fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: survives, RNG: rand.New(rand.NewPCG(1, 2))})
}

// state is all that the methods tell of what there is.
func (b *bench) state() []proto.Message {
	b.t.Helper()
	queues, err := b.ListQueues(b.ctx, &cloudtaskspb.ListQueuesRequest{Parent: location})
	b.must(err)
	state := []proto.Message{queues}
	for _, q := range queues.GetQueues() {
		tasks, err := b.ListTasks(b.ctx, &cloudtaskspb.ListTasksRequest{Parent: q.GetName(), ResponseView: cloudtaskspb.Task_FULL})
		b.must(err)
		policy, err := b.GetIamPolicy(b.ctx, &iampb.GetIamPolicyRequest{Resource: q.GetName()})
		b.must(err)
		state = append(state, tasks, policy)
	}
	operation, err := lro{Engine: b.Engine}.GetOperation(b.ctx, &longrunningpb.GetOperationRequest{Name: location + "/operations/batch"})
	b.must(err)
	cmek, err := b.GetCmekConfig(b.ctx, &cloudtaskspb.GetCmekConfigRequest{Name: location + "/cmekConfig"})
	b.must(err)
	return append(state, operation, cmek)
}

// populate makes some of everything. The receiver answers the first attempts with 500.
func (b *bench) populate() {
	b.t.Helper()
	b.queue(&cloudtaskspb.RateLimits{MaxDispatchesPerSecond: 7.5}, &cloudtaskspb.RetryConfig{MaxAttempts: -1})
	for _, id := range []string{"paused", "purged", "deleted"} {
		_, err := b.CreateQueue(b.ctx, &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{Name: location + "/queues/" + id}})
		b.must(err)
		_, err = b.CreateTask(b.ctx, &cloudtaskspb.CreateTaskRequest{Parent: location + "/queues/" + id, Task: newTask(b.in(time.Hour))})
		b.must(err)
	}
	_, err := b.PauseQueue(b.ctx, &cloudtaskspb.PauseQueueRequest{Name: location + "/queues/paused"})
	b.must(err)
	_, err = b.PurgeQueue(b.ctx, &cloudtaskspb.PurgeQueueRequest{Name: location + "/queues/purged"})
	b.must(err)
	_, err = b.DeleteQueue(b.ctx, &cloudtaskspb.DeleteQueueRequest{Name: location + "/queues/deleted"})
	b.must(err)
	_, err = b.SetIamPolicy(b.ctx, &iampb.SetIamPolicyRequest{Resource: queueA, Policy: &iampb.Policy{Bindings: []*iampb.Binding{{Role: "roles/viewer", Members: []string{"allUsers"}}}}})
	b.must(err)
	_, err = b.UpdateCmekConfig(b.ctx, &cloudtaskspb.UpdateCmekConfigRequest{CmekConfig: &cloudtaskspb.CmekConfig{Name: location + "/cmekConfig", KmsKey: location + "/keyRings/r/cryptoKeys/k"}})
	b.must(err)

	_, err = b.batch()
	b.must(err)

	b.create(named("tried"))
	b.create(b.in(time.Hour), deadline(time.Minute))
	b.create(named("later"), b.in(2*time.Hour))
	b.create(named("dropped"), b.in(time.Hour))
	_, err = b.DeleteTask(b.ctx, &cloudtaskspb.DeleteTaskRequest{Name: queueA + "/tasks/dropped"})
	b.must(err)
	b.after(150 * time.Millisecond) // one attempt and its retry
}

// batch creates two tasks, the second of them under a name that is taken.
func (b *bench) batch() (*longrunningpb.Operation, error) {
	due := timestamppb.New(b.start.Add(90 * time.Minute))
	at := func(t *cloudtaskspb.Task) { t.ScheduleTime = due }
	return b.BatchCreateTasks(b.ctx, &cloudtaskspb.BatchCreateTasksRequest{
		Parent: queueA, RequestId: "batch",
		Requests: []*cloudtaskspb.CreateTaskRequest{{Task: newTask(named("batched"), at)}, {Task: newTask(named("batched"), at)}},
	})
}

func TestEverythingOutlivesTheProcess(t *testing.T) {
	for name, survives := range map[string]int{"kill": kill, "power loss": powerLoss} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, answers(500, 500, 200), func(b *bench) {
				disk := vfs.NewCrashableMem()
				var after *vfs.MemFS
				var want []proto.Message
				b.inLife(disk, func() {
					b.populate()
					want = b.state()
					after = crash(disk, survives)
				})
				if n := len(b.got()); n != 2 {
					t.Fatalf("%d attempts before the crash", n)
				}
				time.Sleep(10 * time.Millisecond)
				b.inLife(after, func() {
					if diff := cmp.Diff(want, b.state(), protocmp.Transform()); diff != "" {
						t.Errorf("(-want +got):\n%s", diff)
					}
					_, err := b.CreateQueue(b.ctx, &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{Name: location + "/queues/deleted"}})
					wantError(t, err, codes.FailedPrecondition, "The queue cannot be created because a queue with this name existed too recently.")
					_, err = b.batch() // which is done
					b.must(err)
					_, err = b.tryCreate(named("dropped"))
					wantError(t, err, codes.AlreadyExists, "")
					b.after(time.Second)
					got := b.got()[2]
					if retries := got.header["X-CloudTasks-TaskRetryCount"][0]; retries != "2" || got.at != 300*time.Millisecond {
						t.Errorf("after the restart: retry count %s at %v", retries, got.at)
					}
					_, err = b.tryCreate(named("tried"))
					wantError(t, err, codes.AlreadyExists, "")
					b.after(3 * time.Hour)
					if n := len(b.got()); n != 6 {
						t.Errorf("%d attempts, want that of each task", n)
					}
					b.create(named("dropped")) // a name is free again after its time
					b.must(b.Sync())
				})
				b.inLife(after, func() {
					b.after(10 * time.Hour)
					_, err := b.CreateQueue(b.ctx, &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{Name: location + "/queues/deleted"}})
					b.must(err)
				})
			})
		})
	}
}

// Sync makes durable what nobody waits for.
func (b *bench) Sync() error { return b.journal.Sync() }

func TestResetErases(t *testing.T) {
	inBubble(t, answers(500), func(b *bench) {
		fs := vfs.NewMem()
		b.inLife(fs, func() {
			b.populate()
			b.Reset()
		})
		b.inLife(fs, func() {
			if n := len(b.queues) + len(b.deleted) + len(b.cmek); n != 0 {
				t.Errorf("%d things came back", n)
			}
		})
	})
}

// What the store no longer needs does not stay in it: tasks not beyond their end, whatever else not beyond the next start.
func TestNothingIsLeftInTheStore(t *testing.T) {
	inBubble(t, answers(500, 200), func(b *bench) {
		fs := vfs.NewMem()
		b.inLife(fs, func() {
			b.populate()
			_, err := b.DeleteQueue(b.ctx, &cloudtaskspb.DeleteQueueRequest{Name: location + "/queues/paused"}) // with the last task that will not end
			b.must(err)
			b.after(30 * time.Hour)
			b.must(b.Sync())
			for _, kind := range []byte{keyTask, keyAttempts} {
				b.must(b.journal.Scan([]byte{owner, kind}, func(key, _ []byte) error {
					t.Errorf("left of a task that has ended: %q", key)
					return nil
				}))
			}
			for name := range b.queues {
				_, err := b.DeleteQueue(b.ctx, &cloudtaskspb.DeleteQueueRequest{Name: name})
				b.must(err)
			}
			b.after(30 * time.Hour)
		})
		b.inLife(fs, func() {})
		s, err := store.Open(store.Config{Dir: "data", FS: fs})
		b.must(err)
		b.must(s.Scan(nil, func(key, _ []byte) error {
			if !strings.HasPrefix(string(key), "tc") && !strings.HasPrefix(string(key), "to") {
				t.Errorf("left: %q", key)
			}
			return nil
		}))
		b.must(s.Close())
	})
}

func TestTimeThatPassesBetweenLivesCounts(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		fs := vfs.NewMem()
		b.inLife(fs, func() {
			b.queue(nil, nil)
			b.create(named("soon"), b.in(time.Hour))
			b.create(named("old"), b.in(29*24*time.Hour))
		})
		b.after(40 * 24 * time.Hour)
		b.inLife(fs, func() {
			b.after(time.Second)
			if n := len(b.got()); n != 0 || b.Tasks() != 0 {
				t.Errorf("%d deliveries and %d tasks of tasks that are beyond their life", n, b.Tasks())
			}
		})
	})
}

// Among tasks that are due at once, those of an earlier process come first.
func TestOrderOfCreationOutlivesTheProcess(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		fs := vfs.NewMem()
		at := func(t *cloudtaskspb.Task) { t.ScheduleTime = timestamppb.New(b.start.Add(time.Hour)) }
		b.inLife(fs, func() {
			b.queue(&cloudtaskspb.RateLimits{MaxConcurrentDispatches: 1}, nil)
			b.create(named("z"), at)
			b.create(named("y"), at)
		})
		b.inLife(fs, func() {
			b.create(named("a"), at)
			b.after(2 * time.Hour)
		})
		var order []string
		for _, d := range b.got() {
			order = append(order, d.header["X-CloudTasks-TaskName"][0])
		}
		if diff := cmp.Diff([]string{"z", "y", "a"}, order); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
