package pubsub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"

	"waybill.dev/emulator/internal/clock"
)

// signer is a fake issuer that counts.
type signer struct {
	mu    sync.Mutex
	count int
	err   error
}

func (s *signer) IDToken(account, audience string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	return account + " for " + audience, s.err
}

// receipt is what a receiver got.
type receipt struct {
	*http.Request
	body string
}

// receiver is a real HTTP server; what it gets is handed over before it is answered.
func receiver(t *testing.T, answer func(w http.ResponseWriter, r receipt)) (url string, got <-chan receipt) {
	t.Helper()
	requests := make(chan receipt, 1000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		requests <- receipt{r, string(body)}
		answer(w, receipt{r, string(body)})
	}))
	t.Cleanup(server.Close)
	return server.URL, requests
}

func next[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func TestWrappedPush(t *testing.T) {
	url, got := receiver(t, func(w http.ResponseWriter, _ receipt) { w.WriteHeader(204) })
	sign := &signer{}
	s := newService(t, Config{Signer: sign})
	must(t, s.CreateTopic, &pubsubpb.Topic{Name: topicName})
	must(t, s.CreateTopic, &pubsubpb.Topic{Name: deadName})
	createSubscription(t, s, func(sub *pubsubpb.Subscription) {
		sub.DeadLetterPolicy = &pubsubpb.DeadLetterPolicy{DeadLetterTopic: deadName}
		sub.PushConfig = &pubsubpb.PushConfig{
			PushEndpoint:         url + "/push?x=1",
			AuthenticationMethod: &pubsubpb.PushConfig_OidcToken_{OidcToken: &pubsubpb.PushConfig_OidcToken{ServiceAccountEmail: "push@p.iam.gserviceaccount.com"}},
		}
	})
	createSubscription(t, s, func(sub *pubsubpb.Subscription) {
		sub.Name += "-2"
		sub.Filter = "attributes:plain"
		sub.PushConfig = &pubsubpb.PushConfig{
			PushEndpoint:         url,
			AuthenticationMethod: &pubsubpb.PushConfig_OidcToken_{OidcToken: &pubsubpb.PushConfig_OidcToken{ServiceAccountEmail: "push@p.iam.gserviceaccount.com", Audience: "https://Audience"}},
		}
	})
	for range 2 {
		resp := must(t, s.Publish, &pubsubpb.PublishRequest{Topic: topicName, Messages: []*pubsubpb.PubsubMessage{
			{Data: []byte("<data>"), Attributes: map[string]string{"a": "<&>"}, OrderingKey: "k"},
		}})
		r := next(t, got)
		want := `{"deliveryAttempt":1,"message":{"attributes":{"a":"<&>"},"data":"PGRhdGE+","messageId":"ID","message_id":"ID","orderingKey":"k","publishTime":"TIME","publish_time":"TIME"},"subscription":"` + subName + `"}`
		want = strings.ReplaceAll(want, "ID", resp.MessageIds[0])
		_, published, _ := strings.Cut(r.body, `"publishTime":"`)
		published, _, _ = strings.Cut(published, `"`)
		if at, err := time.Parse(time.RFC3339, published); err != nil || time.Since(at) > time.Minute || len(published) > len("2006-01-02T15:04:05.000Z") {
			t.Errorf("publish time %q: %v", published, err)
		}
		want = strings.ReplaceAll(want, "TIME", published)
		if diff := cmp.Diff(want, r.body); diff != "" {
			t.Errorf("body (-want +got):\n%s", diff)
		}
		header := http.Header{
			"Accept":          {"application/json"},
			"Accept-Encoding": {"gzip, deflate, br"},
			"Authorization":   {"Bearer push@p.iam.gserviceaccount.com for " + url + "/push?x=1"},
			"Content-Length":  {strconv.Itoa(len(r.body))},
			"Content-Type":    {"application/json"},
			"From":            {"noreply@google.com"},
			"User-Agent":      {"APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)"},
		}
		if diff := cmp.Diff(header, r.Header); diff != "" {
			t.Errorf("headers (-want +got):\n%s", diff)
		}
	}
	if sign.count != 1 {
		t.Errorf("%d signatures for two pushes", sign.count)
	}
	must(t, s.Publish, &pubsubpb.PublishRequest{Topic: topicName, Messages: []*pubsubpb.PubsubMessage{{Attributes: map[string]string{"plain": ""}}}})
	var second receipt
	for range 2 {
		if r := next(t, got); r.URL.RawQuery == "" {
			second = r
		}
	}
	if strings.Contains(second.body, "deliveryAttempt") || strings.Contains(second.body, "data") || strings.Contains(second.body, "orderingKey") {
		t.Errorf("empty fields in %s", second.body)
	}
	if got := second.Header.Get("Authorization"); got != "Bearer push@p.iam.gserviceaccount.com for https://Audience" {
		t.Errorf("Authorization: %s", got)
	}
}

func TestUnwrappedPush(t *testing.T) {
	url, got := receiver(t, func(http.ResponseWriter, receipt) {})
	s := newService(t, Config{})
	must(t, s.CreateTopic, &pubsubpb.Topic{Name: topicName})
	must(t, s.CreateTopic, &pubsubpb.Topic{Name: deadName})
	createSubscription(t, s, func(sub *pubsubpb.Subscription) {
		sub.EnableMessageOrdering = true
		sub.DeadLetterPolicy = &pubsubpb.DeadLetterPolicy{DeadLetterTopic: deadName}
		sub.PushConfig = &pubsubpb.PushConfig{
			PushEndpoint: url,
			Wrapper:      &pubsubpb.PushConfig_NoWrapper_{NoWrapper: &pubsubpb.PushConfig_NoWrapper{WriteMetadata: true}},
		}
	})
	resp := must(t, s.Publish, &pubsubpb.PublishRequest{Topic: topicName, Messages: []*pubsubpb.PubsubMessage{{
		Data: []byte("raw"), OrderingKey: "k", Attributes: map[string]string{
			"ce-type": "user", "Content-Type": "text/plain", "authorization": "Bearer stolen", "Content-Length": "7",
			"host": "elsewhere", "not a header": "x", "bad": "line\nbreak", "x-goog-pubsub-message-id": "forged",
		},
	}}})
	r := next(t, got)
	if r.body != "raw" {
		t.Errorf("body %q", r.body)
	}
	published := r.Header.Get("X-Goog-Pubsub-Publish-Time")
	if _, err := time.Parse(time.RFC3339, published); err != nil {
		t.Error(err)
	}
	want := http.Header{
		"Accept":                          {"application/json"},
		"Accept-Encoding":                 {"gzip, deflate, br"},
		"Ce-Type":                         {"user"},
		"Content-Length":                  {"3"},
		"Content-Type":                    {"text/plain"},
		"From":                            {"noreply@google.com"},
		"User-Agent":                      {"APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)"},
		"X-Goog-Pubsub-Delivery-Attempt":  {"1"},
		"X-Goog-Pubsub-Message-Id":        {resp.MessageIds[0]},
		"X-Goog-Pubsub-Ordering-Key":      {"k"},
		"X-Goog-Pubsub-Publish-Time":      {published},
		"X-Goog-Pubsub-Subscription-Name": {subName},
	}
	if diff := cmp.Diff(want, r.Header); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

// TestPushStatuses sends one message for each status to a real server: exactly 102, 200, 201, 202
// and 204 acknowledge it, which shows in whether it comes again.
func TestPushStatuses(t *testing.T) {
	for code := 100; code < 600; code++ {
		if http.StatusText(code) == "" && code != 299 && code != 599 {
			continue
		}
		if code == 100 || code == 101 || code == 103 {
			continue // answers that are not final
		}
		acknowledges := slices.Contains([]int{102, 200, 201, 202, 204}, code)
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			seen := map[string]int{}
			target, followed := receiver(t, func(http.ResponseWriter, receipt) {})
			url, got := receiver(t, func(w http.ResponseWriter, r receipt) {
				mu.Lock()
				seen[r.body]++
				n := seen[r.body]
				mu.Unlock()
				if n > 1 || r.body != "first" {
					return
				}
				w.Header().Set("Location", target)
				w.WriteHeader(code)
			})
			s := newService(t, Config{})
			must(t, s.CreateTopic, &pubsubpb.Topic{Name: topicName})
			createSubscription(t, s, func(sub *pubsubpb.Subscription) {
				bare(sub)
				sub.PushConfig.PushEndpoint = url
				sub.EnableMessageOrdering = true
			})
			for _, text := range []string{"first", "second"} {
				m := &pubsubpb.PubsubMessage{Data: []byte(text), OrderingKey: "k"}
				must(t, s.Publish, &pubsubpb.PublishRequest{Topic: topicName, Messages: []*pubsubpb.PubsubMessage{m}})
			}
			want := []string{"first", "second"}
			if !acknowledges {
				want = []string{"first", "first", "second"}
			}
			for i, text := range want {
				if body := next(t, got).body; body != text {
					t.Fatalf("request %d is %q, want %q", i+1, body, text)
				}
			}
			if len(followed) > 0 {
				t.Error("the redirect was followed")
			}
		})
	}
}

// TestRawProcessing answers with a bare 102 and then breaks the connection.
func TestRawProcessing(t *testing.T) {
	url, got := receiver(t, func(w http.ResponseWriter, _ receipt) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 102 Processing\r\n\r\n")
	})
	s := newService(t, Config{})
	must(t, s.CreateTopic, &pubsubpb.Topic{Name: topicName})
	createSubscription(t, s, func(sub *pubsubpb.Subscription) {
		bare(sub)
		sub.PushConfig.PushEndpoint = url
		sub.EnableMessageOrdering = true
	})
	publish(t, s, "k:1", "k:2")
	for _, want := range []string{"k:1", "k:2"} {
		if body := next(t, got).body; body != want {
			t.Fatalf("got %q, want %q", body, want)
		}
	}
}

func TestReasons(t *testing.T) {
	refusing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing.Close()
	answering, _ := receiver(t, func(w http.ResponseWriter, _ receipt) {
		http.Error(w, "the token is for another audience\nsecond line", http.StatusUnauthorized)
	})
	for name, test := range map[string]struct {
		endpoint string
		signer   Signer
		want     string
	}{
		"unreachable": {"http://" + refusing.Addr().String(), &signer{}, `msg="delivery failed" target=http://` + refusing.Addr().String() + ` reason="dial tcp ` + refusing.Addr().String() + `: connect: connection refused" subscription=`},
		"refused":     {answering, &signer{}, `reason="the token is for another audience" status=401 subscription=`},
		"no signer":   {answering, nil, "no signer"},
		"signer":      {answering, &signer{err: errors.New("no key")}, "signing the ID token: no key"},
	} {
		t.Run(name, func(t *testing.T) {
			read, write := io.Pipe()
			s := newService(t, Config{Signer: test.signer, Logger: slog.New(slog.NewTextHandler(write, nil))})
			must(t, s.CreateTopic, &pubsubpb.Topic{Name: topicName})
			createSubscription(t, s, func(sub *pubsubpb.Subscription) {
				sub.PushConfig = &pubsubpb.PushConfig{
					PushEndpoint:         test.endpoint,
					AuthenticationMethod: &pubsubpb.PushConfig_OidcToken_{OidcToken: &pubsubpb.PushConfig_OidcToken{ServiceAccountEmail: "push@p"}},
				}
			})
			publish(t, s, "a")
			line := make([]byte, 4096)
			n, err := read.Read(line)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(strings.ReplaceAll(string(line[:n]), `\"`, `"`), test.want) {
				t.Errorf("logged %s", line[:n])
			}
		})
	}
}

func TestCloseGivesUpPushes(t *testing.T) {
	gone := make(chan struct{})
	url, got := receiver(t, func(_ http.ResponseWriter, r receipt) {
		<-r.Context().Done()
		close(gone)
	})
	s := New(Config{Clock: clock.New()})
	must(t, s.CreateTopic, &pubsubpb.Topic{Name: topicName})
	createSubscription(t, s, func(sub *pubsubpb.Subscription) {
		bare(sub)
		sub.PushConfig.PushEndpoint = url
	})
	publish(t, s, "a")
	next(t, got)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	next(t, gone)
	s.clock.Close()
}
