package clock

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestIdleWaitsForWhatIsUnderWayAndWhatThatStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New()
		defer c.Close()
		if err := c.Idle(t.Context()); err != nil {
			t.Error(err)
		}
		started := time.Now()
		second := func() {
			c.Begin()
			go func() {
				defer c.End()
				time.Sleep(time.Second)
			}()
		}
		c.Begin()
		go func() {
			defer c.End()
			time.Sleep(time.Second)
			c.AfterFunc(0, second)
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if err := c.Idle(ctx); !errors.Is(err, context.DeadlineExceeded) || c.Busy() != 1 {
			t.Errorf("before the end: %v, %d busy", err, c.Busy())
		}
		if err := c.Idle(t.Context()); err != nil || time.Since(started) != 2*time.Second || c.Busy() != 0 {
			t.Errorf("%v after %v, %d busy", err, time.Since(started), c.Busy())
		}
	})
}

func TestAdvanceToAndDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New()
		defer c.Close()
		ran := false
		timer := c.AfterFunc(time.Hour, func() { ran = true })
		due, waits := timer.Due()
		if !waits || due.Sub(c.Now()) != time.Hour {
			t.Errorf("due at %v, %v", due, waits)
		}
		c.AdvanceTo(c.Now().Add(-time.Hour))
		if c.Offset() != 0 || ran {
			t.Error("it went back")
		}
		c.AdvanceTo(due)
		if !ran || !c.Now().Equal(due) || c.Offset() != time.Hour {
			t.Errorf("ran %v at %v, offset %v", ran, c.Now(), c.Offset())
		}
		if _, waits := timer.Due(); waits {
			t.Error("a timer that has run waits")
		}
	})
}

// The Clock stands at its due time when an exact timer runs, and runs it when it is advanced to that.
func TestAtIsExact(t *testing.T) {
	c := New() // on the wall clock, which goes on between two lines
	defer c.Close()
	ran := make(chan time.Time, 2)
	at := c.Now().Add(time.Hour)
	timer := c.At(at, func() { ran <- c.Now() })
	if due, waits := timer.Due(); !waits || !due.Equal(at) {
		t.Errorf("due at %v, %v", due, waits)
	}
	c.AdvanceTo(at)
	if got := <-ran; got.Before(at) {
		t.Errorf("ran at %v, before %v", got, at)
	}
	timer.ResetTo(at.Add(-time.Hour))
	c.Advance(0)
	if got := <-ran; got.Before(at) {
		t.Errorf("ran at %v", got)
	}
}
