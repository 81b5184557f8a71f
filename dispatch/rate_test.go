package dispatch

import (
	"fmt"
	"testing"
)

func TestARatesSharesHaveTheWholeOfIt(t *testing.T) {
	for _, tt := range []struct {
		rate   Rate
		queues int
	}{
		{Rate{}, 1},
		{Rate{PerSecond: 0.1}, 1},
		{Rate{PerSecond: 500, Concurrent: 5000}, 1},
		{Rate{PerSecond: 500.5}, 2},
		{Rate{PerSecond: 1000}, 2},
		{Rate{PerSecond: 1500, Concurrent: 301}, 3},
		{Rate{Concurrent: 5001}, 2},
		{Rate{PerSecond: 501, Concurrent: 20_000}, 4},
		{Rate{PerSecond: 50_000, Concurrent: 500_000}, 100},
	} {
		shares := tt.rate.shares()
		if len(shares) != tt.queues {
			t.Errorf("%+v: %d queues, want %d", tt.rate, len(shares), tt.queues)
		}
		var sum Rate
		for _, s := range shares {
			sum.PerSecond += s.PerSecond
			sum.Concurrent += s.Concurrent
			if s.PerSecond > maxQueueRate || s.Concurrent > maxQueueConcurrency || tt.rate.Concurrent > 0 && s.Concurrent == 0 {
				t.Errorf("%+v: a queue with %+v", tt.rate, s)
			}
		}
		if sum != tt.rate {
			t.Errorf("%+v: together %+v", tt.rate, sum)
		}
	}
}

func queueNames(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint(i)
	}
	return list
}

// Builds of different releases send side by side, so a message's queue must never change. The queues were computed by another
// program, from the FNV's and the paper's own words.
func TestAMessagesQueueNeverChanges(t *testing.T) {
	for _, tt := range []struct {
		id    string
		queue [4]string // of 1, 3, 10 and 100 queues
	}{
		{"", [4]string{"0", "1", "1", "90"}},
		{"bbf96c1e-b92b-8cc9-b243-a550b30aa3df", [4]string{"0", "1", "6", "59"}},
		{"019ab1f0-5b7c-7c3e-9d5a-0123456789ab", [4]string{"0", "1", "1", "35"}},
	} {
		for i, n := range []int{1, 3, 10, 100} {
			if got := queueOf(tt.id, queueNames(n)); got != tt.queue[i] {
				t.Errorf("%q of %d queues: %s, want %s", tt.id, n, got, tt.queue[i])
			}
		}
	}
}

func TestMessagesAreSpreadEvenlyAndFewMove(t *testing.T) {
	const messages = 100_000
	ids := make([]string, messages)
	for i := range ids {
		ids[i] = keyedID("shop", "send-welcome", fmt.Sprint("welcome:", i))
	}
	for _, n := range []int{2, 3, 5, 20} {
		before, after := queueNames(n), queueNames(n+1)
		count := map[string]int{}
		moved := 0
		for _, id := range ids {
			was, is := queueOf(id, before), queueOf(id, after)
			count[was]++
			switch {
			case was == is:
			case is != after[n]:
				t.Fatalf("%s moved from %s to %s, which was there before", id, was, is)
			default:
				moved++
			}
		}
		for q, c := range count {
			if even := messages / n; c < even*9/10 || c > even*11/10 {
				t.Errorf("queue %s of %d has %d messages, want about %d", q, n, c, even)
			}
		}
		if fair := messages / (n + 1); len(count) != n || moved < fair*9/10 || moved > fair*11/10 {
			t.Errorf("from %d queues to %d, %d messages moved, want about %d", n, n+1, moved, fair)
		}
	}
}

func BenchmarkQueueOf(b *testing.B) {
	b.ReportAllocs()
	for _, n := range []int{1, 3, 100} {
		b.Run(fmt.Sprint("queues=", n), func(b *testing.B) {
			queues := queueNames(n)
			for b.Loop() {
				queueOf("bbf96c1e-b92b-8cc9-b243-a550b30aa3df", queues)
			}
		})
	}
}
