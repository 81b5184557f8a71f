package sync_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	wsync "waybill.dev/sync"
)

// roundTrips answers without a socket, so that a test may stop the clock.
type roundTrips func() (*http.Response, error)

type transport struct {
	made   atomic.Int32
	answer roundTrips
}

func (tr *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	tr.made.Add(1)
	return tr.answer()
}

func answered(status int) roundTrips {
	return func() (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("overloaded"))}, nil
	}
}

func TestAFailingTargetIsNotHammered(t *testing.T) {
	for name, answer := range map[string]roundTrips{
		"an answer that may be repeated": answered(http.StatusTooManyRequests),
		"a broken connection":            func() (*http.Response, error) { return nil, io.ErrUnexpectedEOF },
	} {
		synctest.Test(t, func(t *testing.T) {
			tr := &transport{answer: answer}
			client, _ := newClient(t, audience, func(c *wsync.ClientConfig) {
				c.Transport, c.MaxAttempts, c.MinBackoff, c.MaxBackoff = tr, 4, time.Nanosecond, time.Nanosecond
			})
			var last error
			const requests = 200
			for range requests {
				resp, err := client.Do(request(t.Context(), t, http.MethodPut, audience, "query"))
				if err == nil {
					err = wsync.ReadError(resp)
				}
				last = err
			}
			if made := tr.made.Load(); made > requests+requests/10+11 || made < requests+requests/10 {
				t.Errorf("%s: %d attempts at %d requests, want a tenth more and a reserve of 10", name, made, requests)
			}
			if !errors.Is(last, wsync.ErrRetryBudget) || !strings.Contains(last.Error(), "the retries to this target are used up") {
				t.Errorf("%s: the error does not say why it was not repeated: %v", name, last)
			}
		})
	}
}

func TestTheClientsOfOneTargetShareABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var shared wsync.RetryBudget
		attempts := func() int32 {
			tr := &transport{answer: answered(http.StatusTooManyRequests)}
			client, _ := newClient(t, audience, func(c *wsync.ClientConfig) {
				c.Transport, c.MaxAttempts, c.MinBackoff, c.MaxBackoff, c.RetryBudget = tr, 100, time.Nanosecond, time.Nanosecond, &shared
			})
			resp, err := client.Do(request(t.Context(), t, http.MethodGet, audience, ""))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			return tr.made.Load()
		}
		if first, second := attempts(), attempts(); first != 11 || second != 1 {
			t.Errorf("%d attempts, then %d; want the reserve of 10 retries, then none", first, second)
		}
	})
}

func TestAnswersThatAreNotRepeatedSayNothingOfABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &transport{answer: answered(http.StatusTooManyRequests)}
		client, _ := newClient(t, audience, func(c *wsync.ClientConfig) { c.Transport, c.MaxAttempts = tr, 1 })
		resp, err := client.Do(request(t.Context(), t, http.MethodGet, audience, ""))
		if err != nil {
			t.Fatal(err)
		}
		if err := wsync.ReadError(resp); err == nil || errors.Is(err, wsync.ErrRetryBudget) {
			t.Errorf("the only attempt: %v", err)
		}
	})
}
