package clock

import "context"

// Begin says that something is under way that may set a timer when it ends, a delivery for instance. [Clock.End] must
// follow, after the timer is set.
//
// By that, whoever moves the Clock to what is due next can wait until that is known, see [Clock.Idle].
func (c *Clock) Begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy++
}

// End says that what [Clock.Begin] announced is over.
func (c *Clock) End() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy--
	if c.busy == 0 && c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
}

// Busy is how many things are under way.
func (c *Clock) Busy() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.busy
}

// Idle runs what is due and returns when nothing is under way. It returns the context's error if that comes first.
func (c *Clock) Idle(ctx context.Context) error {
	for {
		c.runDue()
		c.mu.Lock()
		if c.busy == 0 {
			c.mu.Unlock()
			return nil
		}
		if c.idle == nil {
			c.idle = make(chan struct{})
		}
		idle := c.idle
		c.mu.Unlock()
		select {
		case <-idle: // and what ended may have set a timer that is due already
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
