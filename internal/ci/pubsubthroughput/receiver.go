package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// receiver is a local server that decodes pushes and acknowledges them.
type receiver struct {
	server *httptest.Server
	tally  atomic.Pointer[tally] // of the run, or nil
	sample atomic.Pointer[postOrder]
}

func newReceiver() *receiver {
	r := &receiver{}
	r.server = httptest.NewServer(r)
	return r
}

// envelope is what a handler of pushes reads of their body.
type envelope struct {
	Message struct {
		Data        []byte            `json:"data"`
		Attributes  map[string]string `json:"attributes"`
		MessageID   string            `json:"messageId"`
		PublishTime time.Time         `json:"publishTime"`
		OrderingKey string            `json:"orderingKey"`
	} `json:"message"`
	Subscription string `json:"subscription"`
}

// ServeHTTP implements [http.Handler].
func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	var e envelope
	if err == nil {
		err = json.Unmarshal(body, &e)
	}
	if err != nil || len(e.Message.Data) != messageBytes {
		http.Error(w, "that is no push of a message of this run", http.StatusBadRequest)
		return
	}
	if t := r.tally.Load(); t != nil {
		t.saw(e.Message.Data)
		if r.sample.Load() == nil && request.Header.Get("Authorization") != "" {
			r.sample.Store(&postOrder{URL: r.url(), Header: request.Header.Clone(), Body: body})
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// expect counts what arrives, until the returned function is called.
func (r *receiver) expect(t *tally) (end func()) {
	r.tally.Store(t)
	return func() { r.tally.Store(nil) }
}

func (r *receiver) url() string { return r.server.URL + "/push" }

func (r *receiver) close() { r.server.Close() }

// postOrder is what the posting process gets on its standard input.
type postOrder struct {
	URL    string
	Header http.Header // of a push, its token included
	Body   []byte
	Count  int
}

// posting lets another process post the body again and again, and returns how many a second it managed.
func (o postOrder) posting(ctx context.Context) (float64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	text, err := json.Marshal(o)
	if err != nil {
		return 0, err
	}
	command := exec.CommandContext(ctx, self, "-role", "post")
	command.Stderr = os.Stderr
	command.Stdin = bytes.NewReader(text)
	out, err := command.Output()
	if err != nil {
		return 0, fmt.Errorf("posting: %w", err)
	}
	return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
}

// postParallel is how many requests the posting process has outstanding.
const postParallel = 16

// post is the posting process. It prints how many a second it posted.
func post(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	var order postOrder
	if err := json.NewDecoder(stdin).Decode(&order); err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: postParallel, DisableCompression: true}}
	defer client.CloseIdleConnections()
	if _, err := order.send(ctx, client, order.Count/10); err != nil { // connections, caches
		return err
	}
	took, err := order.send(ctx, client, order.Count)
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, float64(order.Count)/took.Seconds())
	return nil
}

// send posts the body n times.
func (o postOrder) send(ctx context.Context, client *http.Client, n int) (time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	began := time.Now()
	var sent atomic.Int64
	var all sync.WaitGroup
	for range postParallel {
		all.Go(func() {
			for sent.Add(1) <= int64(n) && ctx.Err() == nil {
				if err := o.exchange(ctx, client); err != nil {
					cancel(err)
				}
			}
		})
	}
	all.Wait()
	return time.Since(began), context.Cause(ctx)
}

func (o postOrder) exchange(ctx context.Context, client *http.Client) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, o.URL, bytes.NewReader(o.Body))
	if err != nil {
		return err
	}
	request.Header = o.Header.Clone()
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // read to its end
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusNoContent {
		return fmt.Errorf("the receiver answered %s", response.Status)
	}
	return nil
}
