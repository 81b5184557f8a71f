package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"waybill.dev/internal/ci/measure"
)

// measurement is one run of everything. Its parts add to its report.
type measurement struct {
	options
	progress io.Writer
	receiver *receiver
	report   measure.Report
}

// alternate runs each side once a round, and returns each side's median.
func (m *measurement) alternate(ctx context.Context, sides ...measure.Side) (map[string]float64, error) {
	return measure.Alternate(ctx, m.progress, m.Rounds, "%.0f/s", sides...)
}

// target is a server and a client of it.
type target struct {
	*measure.Process
	*load
}

func (t target) stop() error { return errors.Join(t.load.close(), t.Process.Stop()) }

// connect is called with what starts a server.
func (m *measurement) connect(ctx context.Context, url string, p *measure.Process, err error) (target, error) {
	if err != nil {
		return target{}, err
	}
	l, err := newLoad(ctx, p.Address, url)
	if err != nil {
		return target{}, errors.Join(err, p.Stop())
	}
	return target{p, l}, nil
}

// connectEmulator starts an emulator that has its queues and has delivered something.
func (m *measurement) connectEmulator(ctx context.Context, more ...string) (target, error) {
	p, err := m.Waybill.Emulator(ctx, more...)
	t, err := m.connect(ctx, m.receiver.url(), p, err)
	if err != nil {
		return t, err
	}
	if err := t.createQueues(ctx); err != nil {
		return t, errors.Join(err, t.stop())
	}
	if _, err := t.createAndDeliver(ctx, m.receiver, m.duration/10, false); err != nil {
		return t, errors.Join(err, t.stop())
	}
	return t, nil
}

// sample returns the headers of a delivery.
func (m *measurement) sample(ctx context.Context, t target) (http.Header, error) {
	n := m.receiver.arrived()
	request := t.task(0, false)
	request.Task.GetHttpRequest().Url = m.receiver.timedURL()
	if _, err := t.client.CreateTask(ctx, request); err != nil {
		return nil, err
	}
	if err := m.receiver.waitFor(ctx, n+1); err != nil {
		return nil, err
	}
	_, header := m.receiver.lateness()
	return header, nil
}

// rates measures how many tasks a second are created and delivered, beside the ceiling.
func (m *measurement) rates(ctx context.Context) (err error) {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	p, err := measure.Start(ctx, false, measure.FirstLine, self, "-role", "serve")
	nobody, err := m.connect(ctx, m.receiver.url(), p, err)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, nobody.stop()) }()
	memory, err := m.connectEmulator(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, memory.stop()) }()
	header, err := m.sample(ctx, memory)
	if err != nil {
		return err
	}

	const createOnly, postOnly, inMemory, onDisk = "C", "H", "in memory", "durable"
	sides := []measure.Side{
		{Name: createOnly, Run: func(ctx context.Context) (float64, error) {
			n, took, err := nobody.create(ctx, m.duration, false)
			return float64(n) / took.Seconds(), err
		}},
		{Name: postOnly, Run: func(ctx context.Context) (float64, error) {
			return postFrom(ctx, postOrder{URL: m.receiver.url(), Header: header, Body: make([]byte, bodyBytes), Duration: m.duration})
		}},
		{Name: inMemory, Run: m.createAndDeliver(memory)},
	}
	disk, err := m.connectEmulator(ctx, "--data", filepath.Join(m.Disk, "throughput-data"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, disk.stop()) }()
	sides = append(sides, measure.Side{Name: onDisk, Run: m.createAndDeliver(disk)})
	medians, err := m.alternate(ctx, sides...)
	if err != nil {
		return err
	}
	ceiling := 1 / (1/medians[createOnly] + 1/medians[postOnly])
	m.report.Add("C: CreateTask, a server that does nothing", fmt.Sprintf("%.0f/s", medians[createOnly]))
	m.report.Add("H: POST of a delivery", fmt.Sprintf("%.0f/s", medians[postOnly]))
	m.report.Add("ceiling: 1/(1/C + 1/H)", fmt.Sprintf("%.0f/s", ceiling))
	m.report.Check("create and deliver, in memory", "60 % of the ceiling", medians[inMemory] >= 0.6*ceiling,
		fmt.Sprintf("%.0f/s, %.0f %%", medians[inMemory], 100*medians[inMemory]/ceiling))
	m.report.Check("create and deliver, --data", "40 % of the ceiling", medians[onDisk] >= 0.4*ceiling,
		fmt.Sprintf("%.0f/s, %.0f %%", medians[onDisk], 100*medians[onDisk]/ceiling))
	return nil
}

// createAndDeliver is the side of an emulator.
func (m *measurement) createAndDeliver(t target) func(context.Context) (float64, error) {
	return func(ctx context.Context) (float64, error) {
		return t.createAndDeliver(ctx, m.receiver, m.duration, false)
	}
}

// signatures measures tasks of distinct audiences. It comes after the others, since many deliveries wait for their
// signatures, and leave as many connections.
func (m *measurement) signatures(ctx context.Context) (err error) {
	t, err := m.connectEmulator(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.stop()) }()
	const signing = "distinct audiences"
	medians, err := m.alternate(ctx, measure.Side{Name: signing, Run: func(ctx context.Context) (float64, error) {
		return t.createAndDeliver(ctx, m.receiver, m.duration/5, true) // more are created in that time than signed in a second
	}})
	if err != nil {
		return err
	}
	m.report.Add("create and deliver, a signature each", fmt.Sprintf("%.0f/s", medians[signing]))
	return nil
}

// lateness measures from due time to arrival, 500 a second from one queue.
func (m *measurement) lateness(ctx context.Context) (err error) {
	t, err := m.connectEmulator(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.stop()) }()
	const rate, seconds = 500, 4
	fmt.Fprintf(m.progress, "%d tasks that are due one after the other\n", rate*seconds)
	before, first := m.receiver.arrived(), time.Now().Add(2*time.Second)
	for n := range rate * seconds {
		request := t.task(0, false)
		request.Task.GetHttpRequest().Url = m.receiver.timedURL()
		request.Task.ScheduleTime = timestamppb.New(first.Add(time.Duration(n) * time.Second / rate))
		if _, err := t.client.CreateTask(ctx, request); err != nil {
			return err
		}
	}
	if left := time.Until(first); left < 0 {
		return fmt.Errorf("this machine is too busy: creating %d tasks took more than two seconds", rate*seconds)
	}
	if err := m.receiver.waitFor(ctx, before+rate*seconds); err != nil {
		return err
	}
	late, _ := m.receiver.lateness()
	slices.Sort(late)
	p99 := late[len(late)*99/100]
	m.report.Check("due to arrival at 500/s, p50 and p99", "p99 under 10 ms", p99 < 10*time.Millisecond,
		fmt.Sprintf("%.2f and %.2f ms", measure.Milliseconds(late[len(late)/2]), measure.Milliseconds(p99)))
	return nil
}

// readiness measures from starting the process to the first answer.
func (m *measurement) readiness(ctx context.Context) error {
	const starts = 10
	fmt.Fprintf(m.progress, "%d starts\n", starts)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var times []float64
	for range starts {
		began := time.Now()
		p, err := m.Waybill.Emulator(ctx)
		if err != nil {
			return err
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Address+"/_emulator/ready", nil)
		if err != nil {
			return errors.Join(err, p.Stop())
		}
		err = exchange(client, request)
		times = append(times, measure.Milliseconds(time.Since(began)))
		if err := errors.Join(err, p.Stop()); err != nil {
			return err
		}
	}
	m.report.Check("exec to ready", "100 ms", measure.Median(times) < 100,
		fmt.Sprintf("%.0f ms (%.0f to %.0f)", measure.Median(times), slices.Min(times), slices.Max(times)))
	return nil
}

// idleness measures what an emulator costs that has nothing to do.
func (m *measurement) idleness(ctx context.Context) (err error) {
	p, err := m.Waybill.Emulator(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	measure.Wait(ctx, 2*time.Second) // until the keys are made
	bytes, err := p.Resident(ctx)
	if err != nil {
		return err
	}
	m.report.Check("resident when idle", "40 MB", bytes < 40e6,
		fmt.Sprintf("%.1f MB", measure.Megabytes(bytes)))
	return m.idle(ctx, p, "processor over an idle second")
}

// idle reports the processor's time over a second.
func (m *measurement) idle(ctx context.Context, p *measure.Process, what string) error {
	before, err := p.Processor()
	if errors.Is(err, os.ErrNotExist) {
		return nil // not on Linux
	}
	if err != nil {
		return err
	}
	measure.Wait(ctx, time.Second)
	after, err := p.Processor()
	if err != nil {
		return err
	}
	m.report.Add(what, fmt.Sprintf("%.2f ms", measure.Milliseconds(after-before)))
	return nil
}

// besideSleepers measures what tasks for next week cost, and what they cost the others.
func (m *measurement) besideSleepers(ctx context.Context) (err error) {
	empty, err := m.connectEmulator(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, empty.stop()) }()
	full, err := m.connectEmulator(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, full.stop()) }()
	fmt.Fprintf(m.progress, "creating %d tasks for next week\n", m.sleepers)
	if err := full.fill(ctx, m.sleepers); err != nil {
		return err
	}
	bytes, err := full.Resident(ctx)
	if err != nil {
		return err
	}
	const most = 1.5e9
	m.report.Check(fmt.Sprintf("resident with %d tasks for next week", m.sleepers), "1.5 GB", float64(bytes) < most,
		fmt.Sprintf("%.0f MB", measure.Megabytes(bytes)))
	measure.Wait(ctx, 2*time.Second) // until the garbage is collected
	if err := m.idle(ctx, full.Process, "processor over an idle second with them"); err != nil {
		return err
	}

	const alone, beside = "alone", "beside them"
	medians, err := m.alternate(ctx, measure.Side{Name: alone, Run: m.createAndDeliver(empty)}, measure.Side{Name: beside, Run: m.createAndDeliver(full)})
	if err != nil {
		return err
	}
	bytes, err = full.Resident(ctx)
	if err != nil {
		return err
	}
	m.report.Check("create and deliver beside them", "90 % of alone", medians[beside] >= 0.9*medians[alone],
		fmt.Sprintf("%.0f/s, %.0f %%", medians[beside], 100*medians[beside]/medians[alone]))
	m.report.Check("resident after that", "1.5 GB", float64(bytes) < most,
		fmt.Sprintf("%.0f MB", measure.Megabytes(bytes)))
	return nil
}
