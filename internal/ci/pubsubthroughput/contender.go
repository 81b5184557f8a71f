package main

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"

	"cloud.google.com/go/pubsub/v2"

	"waybill.dev/internal/ci/measure"
)

const project = "bench"

// contender is a server and a client of it.
type contender struct {
	*measure.Process
	client *pubsub.Client
	kill   bool // a JVM's status after an interrupt is an error

	topics int // made so far
}

// connect is called with what starts a server.
func connect(ctx context.Context, p *measure.Process, err error) (*contender, error) {
	if err != nil {
		return nil, err
	}
	c := &contender{Process: p}
	// As everybody connects to an emulator.
	if err := os.Setenv("PUBSUB_EMULATOR_HOST", p.Address); err != nil {
		return nil, errors.Join(err, p.Kill())
	}
	if c.client, err = pubsub.NewClient(ctx, project); err != nil {
		return nil, errors.Join(err, p.Kill())
	}
	return c, nil
}

func (c *contender) stop() error {
	end := c.Process.Stop
	if c.kill {
		end = c.Kill
	}
	return errors.Join(c.client.Close(), end())
}

// waybill starts our emulator.
func (m *measurement) waybill(ctx context.Context, more ...string) (*contender, error) {
	p, err := m.Waybill.Emulator(ctx, more...)
	return connect(ctx, p, err)
}

// google starts Google's emulator, as its own script does.
func (m *measurement) google(ctx context.Context) (*contender, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil { // the emulator takes the port
		return nil, err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	p, err := measure.Start(ctx, true, func(line string) (string, bool) {
		return address, strings.Contains(line, "Server started")
	}, m.java, "-jar", m.jar, "--host=127.0.0.1", "--port="+port)
	c, err := connect(ctx, p, err)
	if err != nil {
		return nil, err
	}
	c.kill = true
	m.starts = append(m.starts, measure.Milliseconds(p.Took))
	return c, nil
}

// pstest starts Google's fake.
func (m *measurement) pstest(ctx context.Context) (*contender, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p, err := measure.Start(ctx, false, measure.FirstLine, self, "-role", "pstest")
	return connect(ctx, p, err)
}
