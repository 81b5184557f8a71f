package clock

import (
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCallbacksRunInOrderOfTheirDueTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New()
		defer c.Close()
		var mu sync.Mutex // callbacks run on goroutines of the runtime's
		var got []string
		add := func(name string) func() {
			return func() {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, name)
			}
		}
		ran := func() []string {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(got)
		}
		c.AfterFunc(3*time.Second, add("third"))
		c.AfterFunc(time.Second, add("first"))
		c.AfterFunc(2*time.Second, add("second"))
		c.AfterFunc(time.Second, add("first, added later"))

		time.Sleep(2 * time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]string{"first", "first, added later", "second"}, ran()); diff != "" {
			t.Errorf("after 2 s (-want +got):\n%s", diff)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := ran(); len(got) != 4 {
			t.Errorf("after 3 s: %v", got)
		}
	})
}

func TestAdvanceRunsWhatIsDueAndWhatThatAdds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New()
		defer c.Close()
		before := c.Now()
		var got []time.Duration
		c.AfterFunc(time.Hour, func() {
			got = append(got, c.Now().Sub(before))
			c.AfterFunc(0, func() { got = append(got, -1) })
			c.AfterFunc(time.Minute, func() { got = append(got, -2) })
		})
		c.Advance(time.Hour)
		if diff := cmp.Diff([]time.Duration{time.Hour, -1}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		c.Advance(-time.Hour)
		if d := c.Now().Sub(before); d != time.Hour {
			t.Errorf("a negative advance moved the clock to +%v", d)
		}
		time.Sleep(time.Minute) // the rest is due by the bubble's clock, without another Advance
		synctest.Wait()
		if len(got) != 3 {
			t.Errorf("got %v, want the minute's callback too", got)
		}
	})
}

func TestStopResetAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New()
		ran := map[string]int{}
		stopped := c.AfterFunc(time.Second, func() { ran["stopped"]++ })
		moved := c.AfterFunc(time.Second, func() { ran["moved"]++ })
		c.AfterFunc(time.Hour, func() { ran["closed"]++ })
		if !stopped.Stop() || stopped.Stop() {
			t.Error("Stop must report true once")
		}
		if !moved.Reset(time.Minute) {
			t.Error("Reset of a waiting timer must report true")
		}
		c.Advance(time.Second)
		if len(ran) != 0 {
			t.Errorf("after 1 s: %v", ran)
		}
		c.Advance(time.Minute)
		if moved.Reset(time.Second) {
			t.Error("Reset of a timer that has run must report false")
		}
		c.Advance(time.Second)
		c.Close()
		c.Advance(2 * time.Hour)
		c.AfterFunc(0, func() { ran["late"]++ })
		synctest.Wait()
		if diff := cmp.Diff(map[string]int{"moved": 2}, ran); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New()
		defer c.Close()
		if _, ok := c.Next(); ok {
			t.Error("an empty clock has no next callback")
		}
		c.AfterFunc(time.Hour, func() {})
		c.AfterFunc(time.Minute, func() {})
		if next, ok := c.Next(); !ok || next.Sub(c.Now()) != time.Minute {
			t.Errorf("next is in %v, %v", next.Sub(c.Now()), ok)
		}
	})
}

// The offset cannot overflow, by which time would go back.
func TestTheEndOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New()
		defer c.Close()
		start := c.Now()
		for range 3 {
			c.Advance(math.MaxInt64)
		}
		if got := c.Now().Sub(start); got != MaxOffset || c.Offset() != MaxOffset {
			t.Errorf("it went to +%v, offset %v", got, c.Offset())
		}
		c.AdvanceTo(start.Add(math.MaxInt64))
		if got := c.Now().Sub(start); got != MaxOffset {
			t.Errorf("it went to +%v", got)
		}
		if c.Now().UnixNano() < start.UnixNano() {
			t.Error("its time does not fit into 64 bits")
		}
	})
}
