package pubsub

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
)

// rawEndpoint is a server that reads a request and then says whatever answer writes, until that
// returns or the test ends.
func rawEndpoint(t *testing.T, answer func(net.Conn) error) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	var mu sync.Mutex
	open := make(map[net.Conn]bool)
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[conn] = true
			mu.Unlock()
			serving.Go(func() {
				defer conn.Close()
				req, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return
				}
				if _, err := io.Copy(io.Discard, req.Body); err != nil {
					return
				}
				_ = answer(conn) // the client hangs up on it
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		mu.Lock()
		for conn := range open {
			conn.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return "http://" + listener.Addr().String()
}

// repeat writes before once, and then text until that fails.
func repeat(before, text string) func(net.Conn) error {
	return func(w net.Conn) error {
		_, err := io.WriteString(w, before)
		for err == nil {
			_, err = io.WriteString(w, text)
		}
		return err
	}
}

// says writes the text and hangs up.
func says(text string) func(net.Conn) error {
	return func(w net.Conn) error {
		_, err := io.WriteString(w, text)
		return err
	}
}

// TestHostileEndpointsHoldUpNobody pushes the same messages to slow, dead and lying endpoints, all of
// them at once, and to one that works: that gets them all, long before one of the others' ack
// deadlines is over.
func TestHostileEndpointsHoldUpNobody(t *testing.T) {
	const messages = 300
	wait := func(conn net.Conn) error { // until the client hangs up
		_, err := io.Copy(io.Discard, conn)
		return err
	}
	gone, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := "http://" + gone.Addr().String()
	gone.Close()
	full, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0") // nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { full.Close() })

	var endpoints []string
	for _, answer := range []func(net.Conn) error{
		wait, // slow: says nothing
		func(w net.Conn) error { // slow: says a byte, and then nothing
			if _, err := io.WriteString(w, "H"); err != nil {
				return err
			}
			return wait(w)
		},
		says("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"),                                       // closes midway
		says("HTTP/1.1 200 OK\r\nX: y"),                                                                  // closes in the headers
		repeat("HTTP/1.1 200 OK\r\n", "X-More: "+strings.Repeat("x", 1000)+"\r\n"),                       // headers without end
		repeat("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n", strings.Repeat("body ", 1000)),     // a body without end
		repeat("HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n", "5\r\nbody \r\n"),                // the same, of a refusal
		repeat("", "HTTP/1.1 102 Processing\r\n\r\n"),                                                    // never anything but that
		repeat("", "HTTP/1.1 100 Continue\r\n\r\n"),                                                      // or that
		says("HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), // redirects to itself
		repeat("", "\x16\x03\x01 no HTTP at all "),
	} {
		endpoints = append(endpoints, rawEndpoint(t, answer))
	}
	endpoints = append(endpoints, dead, "http://"+full.Addr().String(), "http://name.invalid/")
	works, got := receiver(t, func(http.ResponseWriter, receipt) {})

	s := newService(t, Config{})
	must(t, s.CreateTopic, &pubsubpb.Topic{Name: topicName})
	for i, url := range append(endpoints, works) {
		createSubscription(t, s, func(sub *pubsubpb.Subscription) {
			bare(sub)
			sub.Name = fmt.Sprintf("projects/p/subscriptions/sub-%d", i)
			sub.PushConfig.PushEndpoint = url
			sub.AckDeadlineSeconds = 600 // whoever waits for one of these to be over waits for the test's end
		})
	}
	seen := make(map[string]bool)
	for i := range messages {
		publish(t, s, fmt.Sprint(i))
	}
	for len(seen) < messages {
		seen[next(t, got).body] = true
	}
}
