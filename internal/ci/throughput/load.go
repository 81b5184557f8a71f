package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	cloudtasks "cloud.google.com/go/cloudtasks/apiv2"
	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	parallel  = 16  // goroutines that create or post
	bodyBytes = 500 // of a task
	queues    = 64  // of 500 tasks a second each: more than any machine here creates
	location  = "projects/bench/locations/us-central1"
	account   = "sender@bench.iam.gserviceaccount.com"
)

// inParallel calls one from several goroutines until the time is over. It returns how often, and how long it took.
func inParallel(ctx context.Context, d time.Duration, one func(ctx context.Context, n int) error) (int, time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	began := time.Now()
	var n atomic.Int64
	var all sync.WaitGroup
	for range parallel {
		all.Go(func() {
			for time.Since(began) < d && ctx.Err() == nil {
				if err := one(ctx, int(n.Add(1)-1)); err != nil {
					cancel(err)
				}
			}
		})
	}
	all.Wait()
	return int(n.Load()), time.Since(began), context.Cause(ctx)
}

// load is Google's client of a server.
type load struct {
	client    *cloudtasks.Client
	url       string // of the receiver
	body      []byte
	audiences atomic.Int64 // that were used once
}

func newLoad(ctx context.Context, address, url string) (*load, error) {
	client, err := cloudtasks.NewClient(ctx,
		option.WithEndpoint(address),
		option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
	if err != nil {
		return nil, err
	}
	return &load{client: client, url: url, body: make([]byte, bodyBytes)}, nil
}

func queueName(n int) string { return fmt.Sprintf("%s/queues/q%d", location, n%queues) }

func (l *load) createQueues(ctx context.Context) error {
	for n := range queues {
		if _, err := l.client.CreateQueue(ctx, &cloudtaskspb.CreateQueueRequest{
			Parent: location,
			Queue:  &cloudtaskspb.Queue{Name: queueName(n), RateLimits: &cloudtaskspb.RateLimits{MaxDispatchesPerSecond: 500}},
		}); err != nil {
			return err
		}
	}
	return nil
}

// task is the n-th task. All have one audience unless distinct.
func (l *load) task(n int, distinct bool) *cloudtaskspb.CreateTaskRequest {
	audience := "https://receiver.example.com"
	if distinct {
		audience = fmt.Sprintf("https://receiver-%d.example.com", l.audiences.Add(1))
	}
	return &cloudtaskspb.CreateTaskRequest{Parent: queueName(n), Task: &cloudtaskspb.Task{
		MessageType: &cloudtaskspb.Task_HttpRequest{HttpRequest: &cloudtaskspb.HttpRequest{
			Url:  l.url,
			Body: l.body,
			AuthorizationHeader: &cloudtaskspb.HttpRequest_OidcToken{OidcToken: &cloudtaskspb.OidcToken{
				ServiceAccountEmail: account, Audience: audience,
			}},
		}},
	}}
}

// create creates tasks for a while and returns how many.
func (l *load) create(ctx context.Context, d time.Duration, distinct bool) (int, time.Duration, error) {
	return inParallel(ctx, d, func(ctx context.Context, n int) error {
		_, err := l.client.CreateTask(ctx, l.task(n, distinct))
		return err
	})
}

// createAndDeliver creates tasks for a while, waits until all have arrived, and returns how many a second that were.
func (l *load) createAndDeliver(ctx context.Context, r *receiver, d time.Duration, distinct bool) (float64, error) {
	before, began := r.arrived(), time.Now()
	n, _, err := l.create(ctx, d, distinct)
	if err == nil {
		err = r.waitFor(ctx, before+n)
	}
	return float64(n) / time.Since(began).Seconds(), err
}

var errFilled = errors.New("all are created")

// fill creates n tasks with bodies of 200 bytes, in batches, that are due on a day next week.
func (l *load) fill(ctx context.Context, n int) error {
	const batch = 100 // the service's limit
	first := time.Now().Add(7 * 24 * time.Hour)
	_, _, err := inParallel(ctx, time.Hour, func(ctx context.Context, number int) error {
		from := number * batch
		if from >= n {
			return errFilled
		}
		request := &cloudtaskspb.BatchCreateTasksRequest{Parent: queueName(number)}
		for i := from; i < min(from+batch, n); i++ {
			task := l.task(i, false).GetTask()
			task.GetHttpRequest().Body = l.body[:200]
			task.ScheduleTime = timestamppb.New(first.Add(time.Duration(i) * 24 * time.Hour / time.Duration(n)))
			request.Requests = append(request.Requests, &cloudtaskspb.CreateTaskRequest{Task: task})
		}
		// Once it has begun it is not broken off, though another batch may find that all are created.
		ctx = context.WithoutCancel(ctx)
		operation, err := l.client.BatchCreateTasks(ctx, request)
		if err != nil {
			return err
		}
		_, err = operation.Wait(ctx)
		return err
	})
	if errors.Is(err, errFilled) {
		return nil
	}
	return err
}

func (l *load) close() error { return l.client.Close() }

var errLate = errors.New("deliveries are missing after a minute")
