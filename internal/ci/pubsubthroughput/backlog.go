package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"waybill.dev/internal/ci/measure"
)

const small, large = 10_000, 200_000 // backlogs

// drained is how many messages of a backlog are received one by one: where one costs 600 us, or 100 ms, time would be long.
func drained(side string, backlog int) int {
	switch side {
	case googles:
		return min(backlog, 4_000)
	case fake:
		return 20
	default:
		return backlog
	}
}

// backlogs is what that part finds, by side.
type backlogs struct {
	per            map[int]map[string]float64 // microseconds a message, by the backlog's size
	waiting, after map[string]float64         // resident megabytes
}

// backlog measures what a message costs that is received out of a small and out of a large backlog, and the memory that the
// large one takes and leaves behind.
func (m *measurement) backlog(ctx context.Context) error {
	b := backlogs{
		per:     map[int]map[string]float64{small: {}, large: {}},
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
	for _, n := range []int{small, large} {
		m.report.Add(fmt.Sprintf("a message out of a backlog of %d", m.n(n)), cells(b.per[n], "%.0f µs")...)
	}
	flat := b.per[large][ours] / b.per[small][ours]
	m.report.Check("the large backlog beside the small", "at most 1.20 x", flat <= 1.2, fmt.Sprintf("%.2f x", flat))
	m.report.Add(fmt.Sprintf("resident with %d messages", m.n(large)), cells(b.waiting, "%.0f MB")...)
	m.report.Add("resident once they were received", cells(b.after, "%.0f MB")...)
	if theirs, ok := b.after[googles]; ok {
		m.report.Check("resident: beside Google's", "at most 0.25 x", b.after[ours] <= theirs/4, fmt.Sprintf("%.2f x", b.after[ours]/theirs))
	}
	return nil
}

// backlogOf does so for one side. Its rounds take turns between the two sizes.
func (m *measurement) backlogOf(ctx context.Context, side string, b backlogs) (err error) {
	c, err := m.starters()[side](ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	one := func(backlog int) measure.Side {
		run := func(l *line) (float64, error) {
			n := m.n(backlog)
			if err := l.publish(ctx, 0, n); err != nil {
				return 0, err
			}
			if _, ok := b.waiting[side]; backlog == large && !ok {
				if err := m.resident(ctx, c, side, b.waiting); err != nil {
					return 0, err
				}
			}
			t := newTally(min(m.n(drained(side, backlog)), n), n)
			took, err := l.drain(ctx, t)
			if err != nil {
				return 0, err
			}
			if _, ok := b.after[side]; backlog == large && !ok && side != fake { // which forgets nothing
				if err := l.pullRest(ctx, t); err != nil {
					return 0, err
				}
				measure.Wait(ctx, time.Second)
				err = m.resident(ctx, c, side, b.after)
			}
			return took, err
		}
		return measure.Side{Name: fmt.Sprintf("%s, %d", side, m.n(backlog)), Run: func(ctx context.Context) (float64, error) { return c.with(ctx, run) }}
	}
	rounds := 1
	if side == ours {
		rounds = m.fewer()
	}
	// The large one comes first: its memory is that of a fresh process.
	figures, err := measure.Alternate(ctx, m.progress, rounds, "%.1f µs", one(large), one(small))
	if err != nil {
		return err
	}
	for backlog, of := range b.per {
		of[side] = figures[one(backlog).Name]
	}
	return nil
}

func (m *measurement) resident(ctx context.Context, c *contender, side string, to map[string]float64) error {
	bytes, err := c.Resident(ctx)
	to[side] = measure.Megabytes(bytes)
	return err
}

// ready starts an emulator and returns how many milliseconds it took until it answered.
func (m *measurement) ready(ctx context.Context, client *http.Client) (float64, error) {
	began := time.Now()
	p, err := m.command.Emulator(ctx)
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
