// Command bare does by hand what internal/ci/size/waybill does: it sends a task, an event and an authenticated request
// with Google's three clients, and verifies the tokens of what it receives. Its binary is what Waybill's is measured against.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	cloudtasks "cloud.google.com/go/cloudtasks/apiv2"
	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"cloud.google.com/go/pubsub/v2"
	"google.golang.org/api/idtoken"
)

type note struct{ Text string }

const (
	project = "my-project"
	url     = "https://service.example.com"
	account = "service@my-project.iam.gserviceaccount.com"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	tasks, err := cloudtasks.NewClient(ctx)
	if err != nil {
		return err
	}
	defer tasks.Close()
	events, err := pubsub.NewClient(ctx, project)
	if err != nil {
		return err
	}
	defer events.Close()
	calls, err := idtoken.NewClient(ctx, url)
	if err != nil {
		return err
	}
	publisher := events.Publisher("event")
	defer publisher.Stop()

	http.HandleFunc("POST /task", verified(func(ctx context.Context, body []byte) error {
		_, err := publisher.Publish(ctx, &pubsub.Message{Data: body}).Get(ctx)
		return err
	}))
	http.HandleFunc("POST /event", verified(func(ctx context.Context, body []byte) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/call", bytes.NewReader(body))
		if err != nil {
			return err
		}
		response, err := calls.Do(request)
		if err != nil {
			return err
		}
		return response.Body.Close()
	}))
	http.HandleFunc("POST /call", verified(func(ctx context.Context, body []byte) error {
		_, err := tasks.CreateTask(ctx, &cloudtaskspb.CreateTaskRequest{
			Parent: "projects/" + project + "/locations/europe-west1/queues/task",
			Task: &cloudtaskspb.Task{MessageType: &cloudtaskspb.Task_HttpRequest{HttpRequest: &cloudtaskspb.HttpRequest{
				Url: url + "/task", Body: body,
				AuthorizationHeader: &cloudtaskspb.HttpRequest_OidcToken{OidcToken: &cloudtaskspb.OidcToken{ServiceAccountEmail: account, Audience: url}},
			}}},
		})
		return err
	}))
	server := &http.Server{Addr: ":" + os.Getenv("PORT"), ReadHeaderTimeout: 10 * time.Second}
	return server.ListenAndServe()
}

// verified runs a handler for whoever has a good token.
func verified(handle func(context.Context, []byte) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if _, err := idtoken.Validate(r.Context(), token, url); err != nil {
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		var n note
		if err := json.NewDecoder(r.Body).Decode(&n); err != nil {
			http.Error(w, "bad request", http.StatusBadRequest)
			return
		}
		body, err := json.Marshal(n)
		if err == nil {
			err = handle(r.Context(), body)
		}
		if err != nil {
			http.Error(w, "failed", http.StatusInternalServerError)
		}
	}
}
