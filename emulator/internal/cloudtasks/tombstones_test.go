package cloudtasks

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The tombstones that a start finds are in the order of their names, and may have been kept for another time.
func TestTombstonesOfAnEarlierProcess(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var forgotten []string
	s := tombstones{keep: time.Hour, forget: func(id string) { forgotten = append(forgotten, id) }}
	s.restore("a", start.Add(40*time.Minute))
	s.restore("b", start.Add(30*time.Minute))
	s.restore("z", start.Add(24*time.Hour)) // by --task-tombstone
	s.sort()
	s.add("mine", start)
	for _, c := range []struct {
		after time.Duration
		taken []string
	}{
		{29 * time.Minute, []string{"a", "b", "mine", "z"}},
		{30 * time.Minute, []string{"a", "mine", "z"}},
		{59 * time.Minute, []string{"mine", "z"}},
		{time.Hour, []string{"z"}},
		{24 * time.Hour, nil},
	} {
		var taken []string
		for _, id := range []string{"a", "b", "mine", "z"} {
			if s.has(id, start.Add(c.after)) {
				taken = append(taken, id)
			}
		}
		if diff := cmp.Diff(c.taken, taken); diff != "" {
			t.Errorf("after %v (-want +got):\n%s", c.after, diff)
		}
	}
	if diff := cmp.Diff([]string{"b", "a", "z", "mine"}, forgotten); diff != "" || len(s.until) != 0 {
		t.Errorf("forgotten (-want +got):\n%s", diff)
	}
}
