package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/grpc"
)

// serveNothing is the server of C: CreateTask returns an empty task.
func serveNothing(ctx context.Context, stdout io.Writer) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	defer context.AfterFunc(ctx, server.Stop)()
	cloudtaskspb.RegisterCloudTasksServer(server, nothing{})
	fmt.Fprintln(stdout, listener.Addr())
	return server.Serve(listener)
}

type nothing struct {
	cloudtaskspb.UnimplementedCloudTasksServer
}

func (nothing) CreateTask(context.Context, *cloudtaskspb.CreateTaskRequest) (*cloudtaskspb.Task, error) {
	return &cloudtaskspb.Task{}, nil
}

// postOrder is what the process of H gets on its standard input.
type postOrder struct {
	URL      string
	Header   http.Header // of a delivery, its token included
	Body     []byte
	Duration time.Duration
}

func (o postOrder) reader() io.Reader {
	text, err := json.Marshal(o)
	if err != nil {
		panic(err) // of strings and bytes alone
	}
	return bytes.NewReader(text)
}

// post is the process of H. It prints how many a second it posted.
func post(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	var order postOrder
	if err := json.NewDecoder(stdin).Decode(&order); err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: parallel, DisableCompression: true}}
	defer client.CloseIdleConnections()
	one := func(ctx context.Context, _ int) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, order.URL, bytes.NewReader(order.Body))
		if err != nil {
			return err
		}
		request.Header = order.Header.Clone()
		return exchange(client, request)
	}
	if _, _, err := inParallel(ctx, order.Duration/10, one); err != nil { // connections, caches
		return err
	}
	n, took, err := inParallel(ctx, order.Duration, one)
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, float64(n)/took.Seconds())
	return nil
}

// postFrom lets another process post for a while and returns how many a second it managed.
func postFrom(ctx context.Context, order postOrder) (float64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	command := exec.CommandContext(ctx, self, "-role", "post")
	command.Stderr = os.Stderr
	command.Stdin = order.reader()
	out, err := command.Output()
	if err != nil {
		return 0, fmt.Errorf("posting: %w", err)
	}
	return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
}

// exchange sends a request and reads the answer to its end.
func exchange(client *http.Client, request *http.Request) error {
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // read to its end
	_, err = io.Copy(io.Discard, response.Body)
	return err
}
