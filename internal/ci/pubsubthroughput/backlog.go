package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"time"

	"waybill.dev/internal/ci/measure"
)

const small, large = 10_000, 200_000 // backlogs

// way is how a backlog is drained.
type way struct {
	name string
	run  func(*line, context.Context, *tally) (float64, error)
	most map[string]int // messages of a side that is slow: where one costs 600 us, or 100 ms, all take too long
}

func ways() []way {
	return []way{
		{"pulled", (*line).pulled, map[string]int{fake: 10_000}},
		{"streamed", (*line).streamed, map[string]int{googles: 4_000, fake: 20}},
	}
}

// backlogs is what that part finds, by side.
type backlogs struct {
	per            map[string]map[string]float64 // microseconds a message, by what was drained
	waiting, after map[string]float64            // resident megabytes
}

func (m *measurement) drained(how way, backlog int) string {
	return fmt.Sprintf("a message %s out of a backlog of %d", how.name, m.n(backlog))
}

// backlog measures what a message costs that comes out of a small and out of a large backlog, and the memory that the large
// one takes and leaves behind.
func (m *measurement) backlog(ctx context.Context) error {
	b := backlogs{
		per:     make(map[string]map[string]float64),
		waiting: make(map[string]float64),
		after:   make(map[string]float64),
	}
	// One side after the other, each in a process that has done nothing else.
	for _, side := range []string{ours, googles, fake} {
		if side == googles && m.jar == "" {
			continue
		}
		if err := m.backlogOf(ctx, side, b); err != nil {
			return fmt.Errorf("%s: %w", side, err)
		}
	}
	for _, how := range ways() {
		for _, n := range []int{small, large} {
			m.report.Add(m.drained(how, n), cells(b.per[m.drained(how, n)], "%.1f µs")...)
		}
	}
	// A stream of Google's client makes its own batches of acks, and so its own time.
	flat := b.per[m.drained(ways()[0], large)][ours] / b.per[m.drained(ways()[0], small)][ours]
	m.report.Check("pulled: the large backlog beside twenty small ones", "at most 1.20 x", flat <= 1.2, fmt.Sprintf("%.2f x", flat))
	m.report.Add(fmt.Sprintf("resident with %d messages", m.n(large)), cells(b.waiting, "%.0f MB")...)
	m.report.Add("resident once they were received", cells(b.after, "%.0f MB")...)
	if theirs, ok := b.after[googles]; ok {
		m.report.Check("resident: beside Google's", "at most 0.25 x", b.after[ours] <= theirs/4, fmt.Sprintf("%.2f x", b.after[ours]/theirs))
	}
	return nil
}

// backlogOf does so for one side.
func (m *measurement) backlogOf(ctx context.Context, side string, b backlogs) (err error) {
	c, err := m.starters()[side](ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	if err := m.memory(ctx, c, side, b); err != nil { // of a process that has done nothing else
		return err
	}
	var sides []measure.Side
	for _, how := range ways() {
		for _, backlog := range []int{small, large} {
			sides = append(sides, measure.Side{Name: m.drained(how, backlog), Run: func(ctx context.Context) (float64, error) {
				return c.drain(ctx, how, m.n(backlog), m.n(cmp.Or(how.most[side], large)))
			}})
		}
	}
	rounds := 1
	if side == ours {
		rounds = max(m.fewer()/2+1, 1)
	}
	fmt.Fprintln(m.progress, side)
	figures, err := measure.Alternate(ctx, m.progress, rounds, "%.1f µs", sides...)
	for what, figure := range figures {
		if b.per[what] == nil {
			b.per[what] = make(map[string]float64)
		}
		b.per[what][side] = figure
	}
	return err
}

// drain makes as many backlogs of a size as that number of messages takes, and drains one after the other. So the size of the
// backlogs is all that differs: the server holds as much, and the processors' caches as little.
func (c *contender) drain(ctx context.Context, how way, backlog, messages int) (microseconds float64, err error) {
	var all []*line
	defer func() {
		for _, l := range all {
			err = errors.Join(err, l.close(ctx))
		}
	}()
	for n := 0; n < messages; n += backlog {
		l, err := c.open(ctx)
		if err != nil {
			return 0, err
		}
		all = append(all, l)
		if err := l.publish(ctx, 0, backlog); err != nil {
			return 0, err
		}
	}
	runtime.GC() // the garbage of publishing is not the drain's
	var sum float64
	n := 0
	for _, l := range all {
		part := min(backlog, messages-n)
		took, err := how.run(l, ctx, newTally(part, backlog))
		if err != nil {
			return 0, err
		}
		sum += took * float64(part)
		n += part
	}
	return sum / float64(n), nil
}

// memory measures what a large backlog takes and leaves behind.
func (m *measurement) memory(ctx context.Context, c *contender, side string, b backlogs) error {
	_, err := c.with(ctx, func(l *line) (float64, error) {
		n := m.n(large)
		if err := l.publish(ctx, 0, n); err != nil {
			return 0, err
		}
		if err := m.resident(ctx, c, side, b.waiting); err != nil {
			return 0, err
		}
		if side == fake { // it forgets nothing
			return 0, nil
		}
		if _, err := l.pulled(ctx, newTally(n, n)); err != nil {
			return 0, err
		}
		measure.Wait(ctx, time.Second)
		return 0, m.resident(ctx, c, side, b.after)
	})
	return err
}

func (m *measurement) resident(ctx context.Context, c *contender, side string, to map[string]float64) error {
	bytes, err := c.Resident(ctx)
	to[side] = measure.Megabytes(bytes)
	return err
}

// ready starts an emulator and returns how many milliseconds it took until it answered.
func (m *measurement) ready(ctx context.Context, client *http.Client) (float64, error) {
	began := time.Now()
	p, err := m.Waybill.Emulator(ctx)
	if err != nil {
		return 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Address+"/_emulator/ready", nil)
	if err != nil {
		return 0, errors.Join(err, p.Stop())
	}
	response, err := client.Do(request)
	took := measure.Milliseconds(time.Since(began))
	if err != nil {
		return 0, errors.Join(err, p.Stop())
	}
	_, err = io.Copy(io.Discard, response.Body)
	return took, errors.Join(err, response.Body.Close(), p.Stop())
}
