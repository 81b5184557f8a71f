package dispatchtest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gpubsub "cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/deploy"
	"waybill.dev/dispatch/dispatchtest"
	"waybill.dev/emulator"
	"waybill.dev/emulator/emulatortest"
	"waybill.dev/pubsub"
)

// The contracts of the scenario that the bench and the emulator play.
var (
	PlayApp = dispatch.NewApp("play")
	Sender  = PlayApp.Service("sender")
	Worker  = PlayApp.Service("worker")

	Work    = dispatch.NewTask[Job](Worker, "work", dispatch.From(Sender), dispatch.Retry{MaxAttempts: 5, MaxBackoff: 5 * time.Second})
	Pause   = dispatch.NewTask[Job](Worker, "pause", dispatch.From(Sender))
	Faulty  = dispatch.NewTask[Job](Worker, "faulty", dispatch.From(Sender), dispatch.Retry{MinBackoff: 10 * time.Second})
	Moved   = dispatch.NewEvent[Job](Sender, "moved", dispatch.OrderBy(func(j Job) string { return j.Name[:1] }))
	Follow  = Moved.To(Worker, "follow", dispatch.Retry{MaxAttempts: 4})
	Watch   = Moved.To(Worker, "watch")
	Noticed = dispatch.NewEvent[Job](Sender, "noticed")
	Notice  = Noticed.To(Worker, "notice", dispatch.Retry{MaxAttempts: 2, MinBackoff: 10 * time.Second})
)

type Job struct {
	Name    string
	FailFor int // how many attempts fail; -1: for good
}

// trace is what a receiver has seen: for each message, or ordering key, its runs one after the other.
type trace struct {
	now  func() time.Time
	mu   sync.Mutex
	runs map[string][]string
	last map[string]time.Time
}

func newTrace(now func() time.Time) *trace {
	return &trace{now: now, runs: map[string][]string{}, last: map[string]time.Time{}}
}

// handle records a run, with the whole seconds since the one before, and does what the job says.
func (tr *trace) handle(ctx context.Context, j Job) error {
	m := dispatch.MessageFrom(ctx)
	tr.mu.Lock()
	defer tr.mu.Unlock()
	key := m.Route + " " + j.Name
	if m.Route == Follow.Name() || m.Route == Watch.Name() {
		key = m.Route + " " + j.Name[:1]
	}
	var gap time.Duration
	if last, ok := tr.last[key]; ok {
		gap = tr.now().Sub(last).Truncate(time.Second)
	}
	tr.last[key] = tr.now()
	tr.runs[key] = append(tr.runs[key], fmt.Sprintf("%s attempt %d after %v by %s", j.Name, m.Attempt, gap, strings.Split(m.Caller.Email, "@")[0]))
	switch {
	case j.FailFor < 0:
		return dispatch.Permanent(errors.New("for good"))
	case m.Attempt > j.FailFor:
		return nil
	case m.Route == Pause.Name():
		return dispatch.RetryAfter(time.Minute, errBusy)
	case j.Name == "panics":
		panic("a bug")
	}
	return errBusy
}

func (tr *trace) register(d *dispatch.Dispatcher) {
	for _, task := range []*dispatch.Task[Job]{Work, Pause, Faulty} {
		dispatch.Handle(d, task, tr.handle)
	}
	for _, s := range []*dispatch.Subscription[Job]{Follow, Watch, Notice} {
		dispatch.Handle(d, s, tr.handle)
	}
}

// play sends what the scenario has.
func play(t *testing.T, sender *dispatch.Dispatcher) {
	t.Helper()
	for _, j := range []Job{{"fine", 0}, {"twice", 2}, {"never", 9}, {"wrong", -1}, {"panics", 1}} {
		send(t, sender, Work, j)
		send(t, sender, Noticed, j)
	}
	send(t, sender, Work, Job{"later", 1}, dispatch.After(time.Hour), dispatch.Key("later"))
	if !send(t, sender, Work, Job{"later", 1}, dispatch.Key("later")).Duplicate {
		t.Error("the second with the same key is no duplicate")
	}
	send(t, sender, Pause, Job{"rests", 2})
	send(t, sender, Faulty, Job{"meets faults", 0})
	for _, j := range []Job{{"a1", 2}, {"a2", 0}, {"b1", -1}, {"b2", 1}, {"c1", 9}, {"c2", 0}} {
		send(t, sender, Moved, j)
	}
}

// The same scenario gives the same deliveries, attempts, pauses, duplicates and dead letters on the bench as on the emulator.
func TestTheBenchIsLikeTheEmulator(t *testing.T) {
	onBench, deadOnBench := playOnBench(t)
	onEmulator, deadOnEmulator := playOnEmulator(t)
	if len(onBench) != 19 || len(deadOnBench) != 8 {
		t.Errorf("the scenario has %d sequences and %d dead letters: %v", len(onBench), len(deadOnBench), deadOnBench)
	}
	diff(t, "runs (-emulator +bench)", onBench, onEmulator)
	diff(t, "dead letters (-emulator +bench)", deadOnBench, deadOnEmulator)
}

func playOnBench(t *testing.T) (runs map[string][]string, dead []string) {
	bench := dispatchtest.New(t, PlayApp)
	sender, worker := bench.Open(Sender), bench.Open(Worker)
	tr := newTrace(bench.Now)
	tr.register(worker)
	bench.Fail(Faulty, 2, http.StatusInternalServerError)
	bench.Fail(Faulty, 1, 0)
	bench.LoseAnswer(Faulty, 1)
	bench.Duplicate(Faulty, 1)
	play(t, sender)
	bench.Advance(24 * time.Hour)
	for _, r := range []dispatch.Inbound[Job]{Work, Pause, Faulty, Follow, Watch, Notice} {
		for _, l := range dispatchtest.Dead(bench, r) {
			dead = append(dead, fmt.Sprintf(`%s {"Name":%q,"FailFor":%d} %d: %s`, r.Name(), l.Message.Name, l.Message.FailFor, l.Attempts, l.Cause))
		}
	}
	slices.Sort(dead)
	return tr.runs, dead
}

func playOnEmulator(t *testing.T) (runs map[string][]string, dead []string) {
	e := emulatortest.Start(t, emulator.Config{Project: "play-local", Logger: slog.New(slog.DiscardHandler)})
	env := &dispatch.Environment{Project: "play-local", Location: "us-central1", Emulator: e.Addr(), Services: map[string]dispatch.ServiceEnvironment{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	env.Services[Worker.Name()] = dispatch.ServiceEnvironment{URL: "http://" + l.Addr().String()}
	plan, err := deploy.NewPlan(PlayApp, env)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := deploy.Create(t.Context(), plan, deploy.Options{}); err != nil {
		t.Fatal(err)
	}
	open := func(s *dispatch.Service) *dispatch.Dispatcher {
		d, err := dispatch.Open(t.Context(), s, dispatch.Config{Environment: env, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return d
	}
	sender, worker := open(Sender), open(Worker)
	tr := newTrace(e.Now)
	tr.register(worker)
	serving, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- worker.Serve(serving, l) }()
	defer func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	for _, f := range []emulator.Fault{
		{Status: http.StatusInternalServerError, Times: 2}, {Drop: emulator.DropRequest, Times: 1}, {Drop: emulator.DropAnswer, Times: 1}, {Duplicate: true, Times: 1},
	} {
		f.Queue = "play--faulty"
		if _, err := e.AddFault(f); err != nil {
			t.Fatal(err)
		}
	}
	play(t, sender)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for err == nil {
		_, err = e.Skip(ctx, 0)
	}
	if !errors.Is(err, emulator.ErrNothingDue) {
		t.Fatal(err)
	}
	for _, r := range []dispatchtest.Named{Work, Pause, Faulty, Follow, Watch, Notice} {
		dead = append(dead, pullDead(t, e, env, r.Name())...)
	}
	slices.Sort(dead)
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return maps.Clone(tr.runs), dead
}

// pullDead takes all dead letters of a route.
func pullDead(t *testing.T, e *emulator.Emulator, env *dispatch.Environment, route string) []string {
	t.Helper()
	client, err := gpubsub.NewClient(t.Context(), env.Project, pubsub.EmulatorOptions(e.Addr())...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var letters []string
	for {
		//nolint:staticcheck // ReturnImmediately is deprecated for consumers; here it asks whether something is there
		got, err := client.SubscriptionAdminClient.Pull(t.Context(), &pubsubpb.PullRequest{
			Subscription: "projects/play-local/subscriptions/play--" + route + "--dead", MaxMessages: 100, ReturnImmediately: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(got.ReceivedMessages) == 0 {
			return letters
		}
		for _, m := range got.ReceivedMessages {
			a := m.Message.Attributes
			letters = append(letters, fmt.Sprintf("%s %s %s: %s", a["waybill-dead-route"], m.Message.Data, a["waybill-dead-attempts"], a["waybill-dead-cause"]))
		}
	}
}
