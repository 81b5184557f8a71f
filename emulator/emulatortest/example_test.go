package emulatortest_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"

	"waybill.dev/emulator"
	"waybill.dev/emulator/emulatortest"
)

// A test of what happens when the receiver has done its work, and nobody learns of it.
func Example() {
	t := exampleTest() // in a test, its own *testing.T
	defer t.finish()

	e := emulatortest.Start(t, emulator.Config{
		Resources: emulator.Resources{Queues: []*cloudtaskspb.Queue{{
			Name:        "mails",
			RetryConfig: &cloudtaskspb.RetryConfig{MinBackoff: durationpb.New(10 * time.Minute)},
		}}},
		Logger: slog.New(slog.DiscardHandler), // by default, t.Log
	})
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println("delivered, retry", r.Header.Get("X-CloudTasks-TaskRetryCount"))
	}))
	t.Cleanup(receiver.Close)

	lost, err := e.AddFault(emulator.Fault{Queue: "mails", Drop: emulator.DropAnswer, Times: 1})
	if err != nil {
		t.Fatal(err)
	}
	send(t, e.Addr(), receiver.URL)
	if _, err := e.Skip(t.Context(), time.Hour); err != nil { // to the retry, in ten minutes
		t.Fatal(err)
	}
	if _, err := e.Skip(t.Context(), 0); err != nil { // waits for the delivery before it says:
		fmt.Println(err)
	}
	fmt.Println("answers lost:", lost.Hits())
	// Output:
	// delivered, retry 0
	// delivered, retry 1
	// emulator: nothing is due
	// answers lost: 1
}

// send creates a task by Google's own client.
func send(t testing.TB, addr, url string) {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := cloudtaskspb.NewCloudTasksClient(conn).CreateTask(t.Context(), &cloudtaskspb.CreateTaskRequest{
		Parent: "projects/waybill-local/locations/us-central1/queues/mails",
		Task:   &cloudtaskspb.Task{MessageType: &cloudtaskspb.Task_HttpRequest{HttpRequest: &cloudtaskspb.HttpRequest{Url: url}}},
	}); err != nil {
		t.Fatal(err)
	}
}

func exampleTest() *test {
	ctx, cancel := context.WithCancel(context.Background())
	return &test{ctx: ctx, end: cancel}
}
