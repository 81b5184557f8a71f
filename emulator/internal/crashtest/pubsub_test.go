package crashtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"waybill.dev/internal/testenv"
)

func TestNoMessageIsLostByKill9(t *testing.T) {
	crashes, messages := 10, 10_000
	switch {
	case testenv.Full():
		crashes, messages = 200, 200_000
	case testing.Short():
		crashes, messages = 3, 1000
	}
	dir := t.TempDir()
	p := newPublished()
	server := httptest.NewServer(p)
	defer server.Close()
	began := time.Now()
	inStart := 0
	for life := 0; life < crashes || p.acknowledged() < messages; life++ {
		process := startProcess(t, dir)
		if life%10 == 9 { // while it starts
			time.Sleep(rand.N(60 * time.Millisecond))
			inStart++
		} else if err := runPubSub(t, process, p, server.URL, rand.N(2*messages/crashes)); err != nil {
			t.Error(errors.Join(err, process.kill()))
			break
		}
		if err := process.kill(); err != nil {
			t.Error(err)
		}
		p.next()
		crashes = max(crashes, life)
		if len(p.wrong) > 0 {
			break
		}
	}
	t.Logf("%d messages acknowledged over %d crashes, %d of them during the start, in %v", p.acknowledged(), crashes, inStart, time.Since(began).Round(time.Second))
	if !t.Failed() && len(p.wrong) == 0 {
		concludePubSub(t, dir, p, server.URL)
	}
	for _, wrong := range p.wrong {
		t.Error(wrong)
	}
}

// runPubSub publishes and consumes until so many messages are acknowledged, and kills the emulator.
func runPubSub(t *testing.T, process *process, p *published, endpoint string, target int) error {
	addr, err := process.addr()
	if err != nil {
		return err
	}
	c := dialPubSub(t, p, addr)
	defer func() { _ = c.conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := c.remember(ctx, endpoint); err != nil {
		return err
	}
	before := p.acknowledged()
	calls, ctx := errgroup.WithContext(ctx)
	c.run(ctx, calls)
	for n := range 8 {
		calls.Go(func() error { return gone(c.publish(ctx, fmt.Sprint("key", n))) })
	}
	for p.acknowledged() < before+target && ctx.Err() == nil {
		time.Sleep(rand.N(2 * time.Millisecond)) // the moment is random; nothing depends on how long it is
	}
	err = process.command.Process.Kill()
	cancel()
	return errors.Join(err, calls.Wait())
}

// concludePubSub consumes what is left: everything that was acknowledged has then come. Another life has nothing to give.
func concludePubSub(t *testing.T, dir string, p *published, endpoint string) {
	for n := range 2 {
		process := startProcess(t, dir)
		addr, err := process.addr()
		if err != nil {
			t.Fatal(err)
		}
		c := dialPubSub(t, p, addr)
		before := p.delivered.Load()
		err = errors.Join(c.remember(t.Context(), endpoint), c.drain(t.Context()), c.conn.Close(), process.end())
		if err != nil {
			t.Fatal(err)
		}
		if more := p.delivered.Load() - before; n == 1 && more > 0 {
			t.Errorf("%d messages came after everything was acknowledged", more)
		}
		p.next()
	}
	for name, consumer := range p.consumers {
		if n, one := p.missing(name); n > 0 {
			t.Errorf("%s: %d messages are lost, among them %d", name, n, one)
		}
		if name != poisonSub {
			t.Logf("%s: %d messages, %d deliveries repeated: they were not confirmed when the crash came", name, len(consumer.received), consumer.again)
		}
	}
}
