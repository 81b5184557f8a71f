package tasks

import (
	"math"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestETA(t *testing.T) {
	for in, want := range map[string]time.Time{
		"1767225600.123456":             time.Unix(1767225600, 123456000).UTC(),
		"1767225600.5":                  time.Unix(1767225600, 500000000).UTC(),
		"1767225600":                    time.Unix(1767225600, 0).UTC(),
		"1767225600.123456789123":       time.Unix(1767225600, 123456789).UTC(),
		"":                              {},
		"soon":                          {},
		"-1":                            {},
		"1767225600.x":                  {},
		"1767225600.-5":                 {},
		"99999999999999999999999999999": {},
	} {
		if got := eta(in); !got.Equal(want) {
			t.Errorf("eta(%q) = %v, want %v", in, got, want)
		}
	}
}

func FuzzHeaders(f *testing.F) {
	f.Add("0", "0", "1767225600.123456", "503")
	f.Add("-1", "x", "1e9", " 200")
	f.Add("99999999999", "", "..", "0x1")
	f.Add("2147483647", "+1", "1.", "٣")
	f.Fuzz(func(t *testing.T, retries, executions, due, previous string) {
		r := httptest.NewRequest(http.MethodPost, "/", http.NoBody)
		r.Header[headerRetryCount] = []string{retries}
		r.Header[headerExecutionCount] = []string{executions}
		r.Header[headerETA] = []string{due}
		r.Header[headerPreviousResponse] = []string{previous}
		d := newDelivery(r)
		if d.Attempt < 1 || d.Attempt > math.MaxInt32 || d.ExecutionCount < 0 || d.PreviousResponse < 0 {
			t.Errorf("%+v", d)
		}
		if !d.ETA.IsZero() && d.ETA.Before(time.Unix(0, 0)) {
			t.Errorf("due %v", d.ETA)
		}
	})
}
