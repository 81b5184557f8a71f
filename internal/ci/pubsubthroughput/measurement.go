package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"

	"waybill.dev/internal/ci/measure"
	"waybill.dev/internal/googletest"
)

// The sides.
const (
	ours    = "Waybill"
	durable = "Waybill --data"
	googles = "Google's"
	fake    = "pstest"
	bare    = "bare POST"
)

// measurement is one run of everything. Its parts add to its report.
type measurement struct {
	options
	java, jar string // of Google's emulator; empty if it is missing
	progress  io.Writer
	receiver  *receiver
	report    measure.Report
	starts    []float64 // of Google's emulator, in milliseconds
}

func newMeasurement(ctx context.Context, o options, progress io.Writer) (*measurement, error) {
	m := &measurement{options: o, progress: progress, receiver: newReceiver()}
	m.report.Columns = []string{ours, googles, fake}
	if busy := measure.Busyness(ctx); busy != "" {
		m.report.Remarks = append(m.report.Remarks, busy)
	}
	var err error
	if m.java, m.jar, err = googletest.Command(ctx); err != nil {
		m.report.Remarks = append(m.report.Remarks, "compared with pstest alone: "+err.Error())
		fmt.Fprintln(progress, err)
	}
	return m, ctx.Err()
}

// n is a number of messages.
func (m *measurement) n(full int) int { return max(int(float64(full)*m.scale), 10) }

// field is the servers that are compared, by side.
type field map[string]*contender

// starters start each side that is there.
func (m *measurement) starters() map[string]func(context.Context) (*contender, error) {
	starters := map[string]func(context.Context) (*contender, error){
		ours: func(ctx context.Context) (*contender, error) { return m.waybill(ctx) },
		fake: m.pstest,
	}
	if m.jar != "" {
		starters[googles] = m.google
	}
	return starters
}

// start starts all of them.
func (m *measurement) start(ctx context.Context) (field, error) {
	f := make(field)
	for side, start := range m.starters() {
		c, err := start(ctx)
		if err != nil {
			return nil, errors.Join(err, f.stop())
		}
		f[side] = c
	}
	return f, nil
}

func (f field) stop() error {
	var errs []error
	for _, c := range f {
		errs = append(errs, c.stop())
	}
	return errors.Join(errs...)
}

// sides makes each server that has a number of messages take its turn with a line of its own.
func (m *measurement) sides(f field, messages map[string]int, run func(ctx context.Context, l *line, n int) (float64, error)) []measure.Side {
	var sides []measure.Side
	for _, name := range []string{ours, durable, googles, fake} {
		c, n := f[name], messages[name]
		if c == nil || n == 0 {
			continue
		}
		sides = append(sides, measure.Side{Name: name, Run: func(ctx context.Context) (float64, error) {
			return c.with(ctx, func(l *line) (float64, error) { return run(ctx, l, m.n(n)) })
		}})
	}
	return sides
}

// alternate lets the sides warm up, since a JVM is slow at first, and then runs them for the medians.
func (m *measurement) alternate(ctx context.Context, rounds int, format string, sides []measure.Side) (map[string]float64, error) {
	for range min(rounds, 3) {
		for _, s := range sides {
			if _, err := s.Run(ctx); err != nil {
				return nil, fmt.Errorf("%s: %w", s.Name, err)
			}
		}
	}
	return measure.Alternate(ctx, m.progress, rounds, format, sides...)
}

// fewer is the number of rounds of everything but publishing.
func (m *measurement) fewer() int { return max(m.Rounds/2, 1) }

// cells shows a figure of each column, and a dash where there is none.
func cells(figures map[string]float64, format string) []string {
	var out []string
	for _, side := range []string{ours, googles, fake} {
		figure, ok := figures[side]
		if !ok {
			out = append(out, "-")
			continue
		}
		out = append(out, fmt.Sprintf(format, figure))
	}
	return out
}

// atLeast checks a ratio to another side, if that took part.
func (m *measurement) atLeast(what string, ratio float64, of string, figures map[string]float64, figure float64) {
	other, ok := figures[of]
	if !ok {
		return
	}
	m.report.Check(what, fmt.Sprintf("at least %.2f x", ratio), figure >= ratio*other, fmt.Sprintf("%.2f x", figure/other))
}

// publish measures how many messages a second are accepted.
func (m *measurement) publish(ctx context.Context) (err error) {
	f, err := m.start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	if f[durable], err = m.waybill(ctx, "--data", filepath.Join(m.Disk, "pubsubthroughput-data")); err != nil {
		delete(f, durable)
		return err
	}
	figures, err := m.alternate(ctx, m.Rounds, "%.0f/s", m.sides(f,
		map[string]int{ours: 50_000, durable: 50_000, googles: 50_000, fake: 50_000},
		func(ctx context.Context, l *line, n int) (float64, error) { return l.publishing(ctx, n) }))
	if err != nil {
		return err
	}
	m.report.Add("publish", cells(figures, "%.0f/s")...)
	m.atLeast("publish: beside Google's", 1.1, googles, figures, figures[ours])
	m.atLeast("publish: beside pstest's", 0.95, fake, figures, figures[ours])
	m.report.Add("publish, --data", fmt.Sprintf("%.0f/s", figures[durable]))
	m.atLeast("publish, --data: beside in memory", 0.5, ours, figures, figures[durable])
	return nil
}

// stream measures how many messages a second are published and received.
func (m *measurement) stream(ctx context.Context) (err error) {
	f, err := m.start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	figures, err := m.alternate(ctx, m.fewer(), "%.0f/s", m.sides(f,
		map[string]int{ours: 30_000, googles: 2_000, fake: 80},
		func(ctx context.Context, l *line, n int) (float64, error) { return l.streaming(ctx, n) }))
	if err != nil {
		return err
	}
	m.report.Add("streaming pull, publish to receipt", cells(figures, "%.0f/s")...)
	m.atLeast("streaming pull: beside Google's", 15, googles, figures, figures[ours])
	return nil
}

// push measures how many pushes a second arrive: ours signed, Google's not, and what another process posts of the same.
func (m *measurement) push(ctx context.Context) (err error) {
	f, err := m.start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	sides := m.sides(f, map[string]int{ours: 10_000, googles: 1_500},
		func(ctx context.Context, l *line, n int) (float64, error) {
			return l.pushing(ctx, m.receiver, l.contender == f[ours], n)
		})
	sides = append(sides, measure.Side{Name: bare, Run: func(ctx context.Context) (float64, error) {
		order := *m.receiver.sample.Load() // ours has run before
		order.Count = m.n(10_000)
		return order.posting(ctx)
	}})
	figures, err := m.alternate(ctx, m.fewer(), "%.0f/s", sides)
	if err != nil {
		return err
	}
	m.report.Add("push; Waybill's signed", append(cells(figures, "%.0f/s")[:2], "no push")...)
	m.atLeast("push: beside Google's, unsigned", 5, googles, figures, figures[ours])
	m.report.Add("bare POST of the same", fmt.Sprintf("%.0f/s", figures[bare]))
	m.atLeast("push: beside the bare POST", 0.45, bare, figures, figures[ours])
	return nil
}

// latency measures from publish to receipt. pstest cannot do 500 messages a second.
func (m *measurement) latency(ctx context.Context) (err error) {
	f, err := m.start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	p99 := make(map[string]float64)
	sides := m.sides(f, map[string]int{ours: 1_500, googles: 1_500, fake: 100}, func(ctx context.Context, l *line, n int) (float64, error) {
		rate := 500
		if l.contender == f[fake] {
			rate = 50
		}
		all, err := l.latencies(ctx, n, rate)
		if err != nil {
			return 0, err
		}
		for name, c := range f {
			if c == l.contender {
				p99[name] = measure.Milliseconds(all[n*99/100])
			}
		}
		return measure.Milliseconds(all[n/2]), nil
	})
	figures, err := m.alternate(ctx, max(m.fewer()/2, 1), "%.2f ms", sides)
	if err != nil {
		return err
	}
	m.report.Check("publish to receipt at 500/s (pstest: 50/s), p50", "under 2 ms", figures[ours] < 2, cells(figures, "%.2f ms")...)
	m.report.Add("the same, p99 of the last round", cells(p99, "%.2f ms")...)
	return nil
}

// readiness measures from starting the process to the first answer.
func (m *measurement) readiness(ctx context.Context) error {
	const starts = 10
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var times []float64
	for range starts {
		took, err := m.ready(ctx, client)
		if err != nil {
			return err
		}
		times = append(times, took)
	}
	figures := map[string]float64{ours: measure.Median(times)}
	if len(m.starts) > 0 {
		figures[googles] = measure.Median(m.starts)
	}
	m.report.Check("exec to ready", "100 ms", figures[ours] < 100, cells(figures, "%.0f ms")...)
	return nil
}
