package sync_test

import (
	"context"
	"net/http"
	"strconv"
	"testing"
	"time"

	wsync "waybill.dev/sync"
)

// left answers how long the handler may run.
func left(ctx context.Context, _ *wsync.Request) (*wsync.Response, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return &wsync.Response{Body: []byte("none")}, nil
	}
	return &wsync.Response{Body: []byte(time.Until(deadline).String())}, nil
}

func TestTheCallersDeadlineCrosses(t *testing.T) {
	for _, tt := range []struct {
		name               string
		declared, caller   time.Duration
		shortest, longest  time.Duration
		withoutAnyDeadline bool
	}{
		{name: "the caller's is earlier", declared: time.Hour, caller: 40 * time.Second, shortest: 20 * time.Second, longest: 40 * time.Second},
		{name: "the declared one is earlier", declared: 40 * time.Second, caller: time.Hour, shortest: 20 * time.Second, longest: 40 * time.Second},
		{name: "only the caller has one", caller: 40 * time.Second, shortest: 20 * time.Second, longest: 40 * time.Second},
		{name: "only the declared one", declared: 40 * time.Second, shortest: 20 * time.Second, longest: 40 * time.Second},
		{name: "none", withoutAnyDeadline: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rc := newReceiver(t, wsync.HandlerConfig{Deadline: tt.declared}, left)
			ctx := context.WithoutCancel(t.Context())
			if tt.caller > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, tt.caller)
				defer cancel()
			}
			r := request(ctx, t, http.MethodPost, rc.URL, "")
			r.Header.Set(wsync.TimeoutHeader, "1") // the context has the word, whatever the caller's code copied here
			resp, err := rc.client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := read(resp, nil)
			if tt.withoutAnyDeadline {
				if got != "none" {
					t.Errorf("the handler has %s, want no deadline", got)
				}
				return
			}
			if d, err := time.ParseDuration(got); err != nil || d < tt.shortest || d > tt.longest {
				t.Errorf("the handler has %s, want at most %v", got, tt.longest)
			}
		})
	}
}

func TestATimeoutThatIsNoneIsNoBound(t *testing.T) {
	rc := newReceiver(t, wsync.HandlerConfig{Deadline: time.Hour}, left)
	for _, value := range []string{"", "-1", "1.5", "soon", "99999999999", "1 "} {
		r := request(t.Context(), t, http.MethodPost, rc.URL, "")
		token, err := rc.issuer.Source(caller).Token(t.Context(), audience)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header[wsync.TimeoutHeader] = []string{value}
		resp, err := rc.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer, _ := read(resp, nil)
		if d, err := time.ParseDuration(answer); err != nil || d < 59*time.Minute && value != "1 " {
			t.Errorf("%q: the handler has %v, %v", value, d, err)
		}
	}
}

func TestEachAttemptCarriesWhatIsLeft(t *testing.T) {
	s := newServer(t, status(429, "Retry-After", "0"))
	client, _ := newClient(t, s.URL, func(c *wsync.ClientConfig) { c.MinBackoff, c.MaxBackoff = 20*time.Millisecond, 20*time.Millisecond })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	resp, err := client.Do(request(ctx, t, http.MethodPost, s.URL, ""))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	before := 60_001
	for i, r := range s.got() {
		ms, err := strconv.Atoi(r.header.Get(wsync.TimeoutHeader))
		if err != nil || ms >= before || ms < 30_000 {
			t.Errorf("attempt %d has %v ms left (%v), want less than %d", i+1, ms, err, before)
		}
		before = ms
	}
}
