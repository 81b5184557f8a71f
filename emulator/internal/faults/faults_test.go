package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	queueA = "projects/shop/locations/us-central1/queues/a"
	subB   = "projects/shop/subscriptions/b"
)

// receiver answers each request with its number.
type receiver struct {
	mu     sync.Mutex
	bodies []string
}

func (r *receiver) RoundTrip(req *http.Request) (*http.Response, error) {
	body := ""
	if req.Body != nil {
		b, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		_ = req.Body.Close()
		body = string(b)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bodies = append(r.bodies, body)
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(fmt.Sprint(len(r.bodies)))), Request: req}, nil
}

func (r *receiver) got() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.bodies...)
}

// send posts and says in a word what came back.
func send(t *testing.T, s *Set, r http.RoundTripper, source, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(WithSource(t.Context(), source), http.MethodPost, url, strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.Transport(r).RoundTrip(req)
	switch {
	case errors.Is(err, errRequestDropped):
		return "request lost"
	case errors.Is(err, errAnswerDropped):
		return "answer lost"
	case err != nil:
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if s := resp.Header.Get("Retry-After"); s != "" {
		return fmt.Sprint(resp.StatusCode, " after ", s)
	}
	if resp.StatusCode == 200 {
		return string(body)
	}
	return fmt.Sprint(resp.StatusCode)
}

func TestWhatEachKindDoes(t *testing.T) {
	for name, c := range map[string]struct {
		rule    Rule
		want    string
		arrived int
	}{
		"a status":               {Rule{Status: 503}, "503", 0},
		"a status with a wait":   {Rule{Status: 429, RetryAfter: 1500 * time.Millisecond}, "429 after 2", 0},
		"the request lost":       {Rule{Drop: DropRequest}, "request lost", 0},
		"the answer lost":        {Rule{Drop: DropAnswer}, "answer lost", 1},
		"a duplicate":            {Rule{Duplicate: true}, "1", 2},
		"nothing but a latency":  {Rule{Latency: time.Millisecond}, "1", 1},
		"of another queue":       {Rule{Status: 503, Source: subB}, "1", 1},
		"of this queue":          {Rule{Status: 503, Source: queueA}, "503", 0},
		"of queue and target":    {Rule{Status: 503, Source: queueA, URLPrefix: "http://receiver.test:80/x"}, "1", 1},
		"of a target":            {Rule{Status: 503, URLPrefix: "http://receiver.test:8080/send"}, "503", 0},
		"of a target in capital": {Rule{Status: 503, URLPrefix: "HTTP://Receiver.test:8080"}, "503", 0},
		"of a shorter port":      {Rule{Status: 503, URLPrefix: "http://receiver.test:80"}, "1", 1},
		"of the query":           {Rule{Status: 503, URLPrefix: "http://receiver.test:8080/send?x=1"}, "503", 0},
		"of what is no URL":      {Rule{Status: 503, URLPrefix: "://"}, "1", 1},
	} {
		var s Set
		r := &receiver{}
		active := s.Add(c.rule)
		if got := send(t, &s, r, queueA, "http://receiver.test:8080/send?x=1"); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		for _, body := range r.got() {
			if body != "hello" {
				t.Errorf("%s: body %q", name, body)
			}
		}
		if got := len(r.got()); got != c.arrived {
			t.Errorf("%s: %d requests arrived, want %d", name, got, c.arrived)
		}
		hits := 1
		if c.want == "1" && !c.rule.Duplicate && c.rule.Latency == 0 {
			hits = 0
		}
		if active.Hits() != hits {
			t.Errorf("%s: %d hits, want %d", name, active.Hits(), hits)
		}
	}
}

func TestTheOldestActsAndThenTheNext(t *testing.T) {
	var s Set
	r := &receiver{}
	twice := s.Add(Rule{Status: 503, Times: 2})
	once := s.Add(Rule{Drop: DropAnswer, Times: 1})
	stays := s.Add(Rule{Status: 500, Source: queueA})
	var got []string
	for range 5 {
		got = append(got, send(t, &s, r, queueA, "http://receiver.test"))
	}
	got = append(got, send(t, &s, r, subB, "http://receiver.test"))
	stays.Remove()
	stays.Remove()
	got = append(got, send(t, &s, r, queueA, "http://receiver.test"))
	if diff := cmp.Diff([]string{"503", "503", "answer lost", "500", "500", "2", "3"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int{2, 1, 2}, []int{twice.Hits(), once.Hits(), stays.Hits()}); diff != "" {
		t.Errorf("hits (-want +got):\n%s", diff)
	}
	s.Add(Rule{Status: 500})
	if a := s.List(); len(a) != 1 || s.Find(a[0].ID()) != a[0] || s.Find(once.ID()) != nil {
		t.Errorf("in force: %v", a)
	}
	s.Clear()
	if got := send(t, &s, r, queueA, "http://receiver.test"); got != "4" || len(s.List()) != 0 {
		t.Errorf("after Clear: %s", got)
	}
}

func TestChanceIsReproducible(t *testing.T) {
	walk := func(seed uint64) (outcome string) {
		var s Set
		s.Add(Rule{Status: 503, Probability: 0.3, Seed: seed})
		for range 200 {
			if send(t, &s, &receiver{}, queueA, "http://receiver.test") == "503" {
				outcome += "x"
			} else {
				outcome += "."
			}
		}
		return outcome
	}
	first := walk(7)
	if again := walk(7); again != first {
		t.Errorf("the same seed:\n%s\n%s", first, again)
	}
	if other := walk(8); other == first {
		t.Error("another seed gave the same")
	}
	if n := strings.Count(first, "x"); n < 30 || n > 90 {
		t.Errorf("%d of 200 at a probability of 0.3", n)
	}
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Set
		took := func() time.Duration {
			start := time.Now()
			if got := send(t, &s, &receiver{}, queueA, "http://receiver.test"); got != "1" {
				t.Error(got)
			}
			return time.Since(start)
		}
		fixed := s.Add(Rule{Latency: 2 * time.Second})
		if d := took(); d != 2*time.Second {
			t.Errorf("took %v", d)
		}
		fixed.Remove()
		ranged := s.Add(Rule{Latency: time.Second, MaxLatency: 3 * time.Second})
		shortest, longest := time.Hour, time.Duration(0)
		for range 100 {
			d := took()
			shortest, longest = min(shortest, d), max(longest, d)
		}
		if shortest < time.Second || shortest > 1500*time.Millisecond || longest > 3*time.Second || longest < 2500*time.Millisecond {
			t.Errorf("between %v and %v", shortest, longest)
		}
		ranged.Remove()

		s.Add(Rule{Latency: time.Hour})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		body := &closing{Reader: strings.NewReader("hello")}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://receiver.test", body)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := s.Transport(&receiver{}).RoundTrip(req); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if !body.closed {
			t.Error("the body stays open")
		}
	})
}

type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error {
	c.closed = true
	return nil
}

// What does not go out is closed all the same, as the contract of a RoundTripper demands.
func TestBodiesAreClosed(t *testing.T) {
	for _, rule := range []Rule{{Status: 503}, {Drop: DropRequest}, {Drop: DropAnswer}, {Duplicate: true}, {Latency: 1}} {
		var s Set
		s.Add(rule)
		body := &closing{Reader: strings.NewReader("hello")} // without GetBody
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://receiver.test", body)
		if err != nil {
			t.Fatal(err)
		}
		r := &receiver{}
		if resp, err := s.Transport(r).RoundTrip(req); err == nil {
			_ = resp.Body.Close()
		}
		if !body.closed {
			t.Errorf("%+v: the body stays open", rule)
		}
		for _, got := range r.got() {
			if got != "hello" {
				t.Errorf("%+v: a body %q", rule, got)
			}
		}
	}
}

// A second answer must not be mistaken for the first, also where its informational part is traced.
func TestTheDuplicatesAnswerIsNotUsed(t *testing.T) {
	n := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n++; n == 2 {
			w.WriteHeader(http.StatusProcessing)
			w.WriteHeader(http.StatusOK)
			return
		}
		w.WriteHeader(http.StatusTeapot)
	}))
	defer server.Close()
	var s Set
	s.Add(Rule{Duplicate: true})
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	processing := false
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(int, textproto.MIMEHeader) error {
			processing = true
			return nil
		},
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL, strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: s.Transport(transport)}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if n != 2 || resp.StatusCode != http.StatusTeapot || processing {
		t.Errorf("%d requests, status %d, processing %v", n, resp.StatusCode, processing)
	}
}

// A duplicate that is under way ends with the delivery.
func TestADuplicateEndsWithItsRequest(t *testing.T) {
	var s Set
	s.Add(Rule{Duplicate: true})
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	next := roundTripper(func(r *http.Request) (*http.Response, error) {
		if n++; n == 2 {
			cancel()
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://receiver.test", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.Transport(next).RoundTrip(req)
	if err != nil || n != 2 {
		t.Errorf("%d requests, %v", n, err)
		return
	}
	_ = resp.Body.Close()
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A receiver that cannot be reached fails as it does without a fault.
func TestFailuresOfTheTransportPass(t *testing.T) {
	broken := errors.New("connection refused")
	for _, rule := range []Rule{{Drop: DropAnswer}, {Duplicate: true}, {Latency: 1}} {
		var s Set
		s.Add(rule)
		next := roundTripper(func(*http.Request) (*http.Response, error) { return nil, broken })
		if got := send(t, &s, next, queueA, "http://receiver.test"); got != broken.Error() {
			t.Errorf("%+v: %s", rule, got)
		}
	}
}

func BenchmarkWithoutRules(b *testing.B) {
	var s Set
	next := roundTripper(func(*http.Request) (*http.Response, error) { return nil, nil })
	transport := s.Transport(next)
	req, err := http.NewRequestWithContext(WithSource(b.Context(), queueA), http.MethodPost, "http://receiver.test", http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		_, _ = transport.RoundTrip(req)
	}
}
