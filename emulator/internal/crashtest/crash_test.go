package crashtest

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2"
	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"waybill.dev/internal/testenv"
)

func TestNothingIsLostByKill9(t *testing.T) {
	crashes, tasks := 10, 3000
	switch {
	case testenv.Full():
		crashes, tasks = 200, 100_000
	case testing.Short():
		crashes, tasks = 3, 300
	}
	dir := t.TempDir()
	r := newReceiver(t)
	a := newTruth()
	began := time.Now()
	inStart := 0
	for life := 0; life < crashes || a.acknowledged() < tasks; life++ {
		p := startProcess(t, dir)
		if life%10 == 9 { // while it starts
			time.Sleep(rand.N(60 * time.Millisecond))
			inStart++
		} else if err := run(t, p, r, a, life, rand.N(9*tasks/crashes/4)); err != nil {
			t.Error(errors.Join(err, p.kill()))
			break
		}
		if err := p.kill(); err != nil {
			t.Error(err)
		}
		r.next()
		if t.Failed() {
			t.Fatalf("in life %d", life)
		}
		crashes = max(crashes, life)
	}
	t.Logf("%d tasks acknowledged over %d crashes, %d of them during the start, in %v", a.acknowledged(), crashes, inStart, time.Since(began).Round(time.Second))
	if !t.Failed() {
		conclude(t, dir, r, a)
	}
}

// run checks what the emulator remembers, and then puts it under load until so many tasks are acknowledged.
func run(t *testing.T, p *process, r *receiver, a *truth, life, target int) error {
	addr, err := p.addr()
	if err != nil {
		return err
	}
	client := dial(t, addr)
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := remember(ctx, t, client, a); err != nil {
		return err
	}
	before := a.acknowledged()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	calls, ctx := errgroup.WithContext(ctx)
	for range 16 {
		calls.Go(func() error { return a.load(ctx, client, r.server.URL, life) })
	}
	calls.Go(func() error { return a.pauses(ctx, client) })
	for a.acknowledged() < before+target && ctx.Err() == nil {
		time.Sleep(rand.N(2 * time.Millisecond)) // the moment is random; nothing depends on how long it is
	}
	err = p.command.Process.Kill()
	stop() // the client would repeat some calls until there is an emulator again
	return errors.Join(err, calls.Wait())
}

// remember makes the queues at first; later it checks that they are as they were.
func remember(ctx context.Context, t *testing.T, client *cloudtasks.Client, a *truth) error {
	names := []string{switched}
	for n := range queues {
		names = append(names, queueName(n))
	}
	for _, name := range names {
		_, err := client.CreateQueue(ctx, &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{Name: name}})
		if code := status.Code(err); code != codes.OK && code != codes.AlreadyExists {
			return err
		} else if code == codes.OK && a.acknowledged() > 0 {
			t.Errorf("%s was lost", name)
		}
	}
	q, err := client.GetQueue(ctx, &cloudtaskspb.GetQueueRequest{Name: switched})
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.paused != cloudtaskspb.Queue_STATE_UNSPECIFIED && q.GetState() != a.paused {
		t.Errorf("the queue is %v, and was acknowledged as %v", q.GetState(), a.paused)
	}
	a.paused = q.GetState()
	checked := 0
	for id, name := range a.created { // their names are taken, by the tasks or by their tombstones
		if checked++; checked > 20 {
			break
		}
		_, err := client.CreateTask(ctx, &cloudtaskspb.CreateTaskRequest{Parent: name[:len(name)-len("/tasks/")-len(id)], Task: &cloudtaskspb.Task{
			Name: name, MessageType: &cloudtaskspb.Task_HttpRequest{HttpRequest: &cloudtaskspb.HttpRequest{Url: "http://127.0.0.1:1/"}},
		}})
		if status.Code(err) != codes.AlreadyExists {
			t.Errorf("%s could be created again: %v", name, err)
		}
	}
	return nil
}

// conclude waits for what is due, and compares what there is with what was acknowledged; then it moves the clock to what is due
// later.
func conclude(t *testing.T, dir string, r *receiver, a *truth) {
	p := startProcess(t, dir)
	defer func() {
		if err := p.end(); err != nil {
			t.Error(err)
		}
	}()
	addr, err := p.addr()
	if err != nil {
		t.Fatal(err)
	}
	client := dial(t, addr)
	defer func() { _ = client.Close() }()
	await(t, client, func(id string) bool { kind := kindOf(id); return kind == later || kind == doomed })
	ids, err := list(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	for id, name := range a.created {
		_, deleted := a.deleted[id]
		switch {
		case a.unsure[id]:
		case deleted && (ids[id] || r.delivered(id)):
			t.Errorf("%s was deleted; listed %v, delivered %v", name, ids[id], r.delivered(id))
		case !deleted && !ids[id] && !r.delivered(id):
			t.Errorf("%s is lost", name)
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/_emulator/advance?by=24h", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	await(t, client, func(string) bool { return false })
	for id, name := range a.created {
		if _, deleted := a.deleted[id]; !deleted && !a.unsure[id] && !r.delivered(id) {
			t.Errorf("%s was not delivered in the end", name)
		}
	}
	for _, wrong := range r.wrong {
		t.Error(wrong)
	}
	t.Logf("%d tasks delivered, %d deliveries repeated after a crash", len(r.tasks), r.duplicates())
}

// await returns when all tasks that there are may be there.
func await(t *testing.T, client *cloudtasks.Client, may func(id string) bool) {
	t.Helper()
	for {
		ids, err := list(t.Context(), client)
		if err != nil {
			t.Fatal(err)
		}
		waiting := 0
		for id := range ids {
			if !may(id) {
				waiting++
			}
		}
		if waiting == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
